"""The command line as `python -m multiparam`."""

import sys

from .cli.commands import main

sys.exit(main())
