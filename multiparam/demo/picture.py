"""What the demo printed at its end, as a picture for documents."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.console import CONSOLE_SVG_FORMAT, Console  # type: ignore[attr-defined]  # it has no __all__

__all__ = ["picture"]


def picture(*printed: Any, title: str) -> str:
    """An SVG of what a terminal shows.

    Args:
        *printed: what rich prints.
        title: of the terminal's window.
    """
    width = max(Console(width=500).measure(one).maximum for one in printed)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(*printed, sep="\n")
    # whoever looks at it has a font of his own, and asks no server for one
    own_fonts = re.sub(r"\s*@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title=title, code_format=own_fonts, unique_id="demo")
