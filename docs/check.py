"""Checks a built site: every link, anchor and picture within it leads somewhere, and nothing is fetched from elsewhere.

python docs/check.py build/site
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class _Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.update(value for name in ("id", "name") if (value := found.get(name)))
        target = found.get("href" if tag == "a" else FETCHED.get(tag, ""))
        if target:
            self.links.append((tag, target))


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


def main() -> int:
    """Prints what is wrong; 1 if something is."""
    found = list(problems(Path(sys.argv[1])))
    sys.stderr.writelines(f"{one}\n" for one in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
