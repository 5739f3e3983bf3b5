"""Checks a built site: every link, anchor and picture within it leads somewhere, and nothing is fetched from elsewhere.

Every picture says in words what it shows, and no mathematics stands there as LaTeX, which nothing on the site sets.

python docs/check.py build/site
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
AS_IT_IS = ("code", "pre", "script", "style")  # whose text is what a program reads
WITHIN_LINES = ("a", "b", "em", "i", "span", "strong", "sub", "sup")
LATEX = re.compile(
    r"(?<![\\\w])\$(?=\S)[^$]{1,300}(?<=\S)\$(?!\w)|\\\(.{1,300}?\\\)|\\\[.{1,300}?\\\]|\\begin\{", re.DOTALL
)
A_PATH = re.compile(r"\S*(/\S*|\.(gif|jpe?g|png|svg|webp))$")


class _Page(HTMLParser):
    """What a page links to, what can be linked to in it, its text, and its pictures' alternative texts."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.text = [""]
        self.pictures: list[tuple[str, str]] = []
        self._as_it_is = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.update(value for name in ("id", "name") if (value := found.get(name)))
        target = found.get("href" if tag == "a" else FETCHED.get(tag, ""))
        if target:
            self.links.append((tag, target))
        # a theme's logo is beside the name of the project
        if tag == "img" and not {"only-light", "only-dark"} & set((found.get("class") or "").split()):
            self.pictures.append((target or "", (found.get("alt") or "").strip()))
        self._as_it_is += tag in AS_IT_IS
        self._part(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._as_it_is -= tag in AS_IT_IS

    def handle_endtag(self, tag: str) -> None:
        self._as_it_is -= tag in AS_IT_IS
        self._part(tag)

    def handle_data(self, data: str) -> None:
        if not self._as_it_is:
            self.text[-1] += data

    def _part(self, tag: str) -> None:
        """Begins another part of the text, where the tag does."""
        if tag not in (*WITHIN_LINES, *AS_IT_IS):
            self.text.append("")


def problems(site: Path) -> Iterator[str]:
    """What is wrong, a line for each."""
    pages: dict[Path, _Page] = {}
    for path in sorted(site.rglob("*.html")):
        pages[path.resolve()] = page = _Page()
        page.feed(path.read_text("utf-8"))
    if not pages:
        yield f"{site} has no pages"
    for path, page in pages.items():
        for tag, link in page.links:
            yield from (f"{path.relative_to(site.resolve())}: {why}" for why in _wrong(path, tag, link, pages))
        yield from (f"{path.relative_to(site.resolve())}: {why}" for why in _unread(page))


def _wrong(path: Path, tag: str, link: str, pages: dict[Path, _Page]) -> Iterator[str]:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        if tag != "a" and parts.scheme != "data":
            yield f"{link} would be fetched from elsewhere"
        return
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        yield f"{link} leads nowhere"
    elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        yield f"{link}: the page has no such anchor"


def _unread(page: _Page) -> Iterator[str]:
    """What a reader of the page would not understand."""
    for part in page.text:
        if found := LATEX.search(part):
            yield f"{found[0]!r} is LaTeX"
    for source, words in page.pictures:
        if not words or A_PATH.match(words):
            yield f"the picture {source[:80]} has {words or 'nothing'!r} as its alternative text"


def main() -> int:
    """Prints what is wrong; 1 if something is."""
    found = list(problems(Path(sys.argv[1])))
    sys.stderr.writelines(f"{one}\n" for one in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
