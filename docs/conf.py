"""How Sphinx builds the site: `make docs`. Nothing is fetched, and every warning is an error there."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version as installed
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import multiparam

project = "multiparam"
copyright = "the authors of multiparam"  # noqa: A001 - Sphinx's name for it
version = release = installed("multiparam")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design"]
exclude_patterns = ["generated/*.md", "**/.ipynb_checkpoints"]  # parts, which pages include
root_doc = "index"

html_theme = "furo"
html_title = f"multiparam {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}

nitpicky = True
# type variables
nitpick_ignore = [("py:class", f"multiparam.adapter.{name}") for name in ("by_identity.Kept", "base.C")]
nb_execution_mode = "off"  # the notebooks come with their outputs
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"exclude-members": "__init__"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # which would be called variables
python_maximum_signature_line_length = 88

# aliases of types, which are text
ALIASES = frozenset(("Array", "FilePath", "Patterns", "Rename", "Sampler", "Selection", "Shape", "Target"))
# what annotations name of other packages and of Python, whose inventories would have to be fetched
FOREIGN = re.compile(r"(abc|builtins|collections|contextlib|enum|ml_dtypes|numpy|os|pathlib|typing)(\.|$)")


def setup(app: Sphinx) -> None:
    """Registers what docstrings need to become pages."""
    app.connect("autodoc-process-docstring", mark_code)
    app.connect("autodoc-process-signature", without_factories)
    app.connect("missing-reference", at_its_public_place)


def mark_code(app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Turns single backticks, which mean code in docstrings, into links to public names and into code."""
    # an adapter's `run` is another thing than `multiparam.run`
    linked = not name.startswith(tuple(f"multiparam.{one}." for one in ("adapter", "plugin", "table", "formats")))
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            marked = re.compile(r"(?<![`:\\])`([^`]+)`(?!`)")
            lines[number] = marked.sub(lambda found: _code(found, linked), _escape(line))


def _code(found: re.Match[str], linked: bool) -> str:
    text, before = found[1], found.string[: found.start()]
    bare = text.removeprefix("multiparam.")
    public = bare in multiparam.__all__ and not isinstance(getattr(multiparam, bare), ModuleType)
    # a group of entry points may be called as a function is
    return f":py:obj:`~multiparam.{bare}`" if public and linked and not before.endswith("group ") else f"``{text}``"


def without_factories(
    app: Sphinx, what: str, name: str, of: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Writes a default that a dataclass makes as Python can read it."""
    return signature and signature.replace("<factory>", "..."), returned


def _escape(line: str) -> str:
    """A star before a word, as in `(batch, channels, *spatial)`, begins no emphasis; within backticks it stays."""
    parts = re.split(r"(`+[^`]*`+)", line)
    star = re.compile(r"(?<![\\*\w`])\*(?=\w+[,)])")
    return "".join(part if number % 2 else star.sub(r"\\*", part) for number, part in enumerate(parts))


def at_its_public_place(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Resolves what an annotation calls by the module that it is in to where it is documented.

    A name of another package stays text; any other that is documented nowhere is an error.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    if FOREIGN.match(target) or target in ALIASES:
        return content
    thing = _imported(target)
    domain = env.domains["py"]
    for name in list(domain.objects):
        if name.rpartition(".")[2] == target.rpartition(".")[2] and thing is not None and _imported(name) is thing:
            builder = app.builder
            assert builder is not None
            return domain.resolve_xref(env, node["refdoc"], builder, "obj", name, node, content)
    return None


def _imported(target: str) -> Any:
    """The object of a dotted name, or None."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None) if module else None
    except ImportError:
        return None
