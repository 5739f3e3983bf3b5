"""The command line as `python -m multiparam`."""

import sys

from .cli import main

sys.exit(main())
