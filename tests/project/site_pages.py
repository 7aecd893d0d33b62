"""Parses a page of the site that MkDocs built, and the Markdown file from which it was built."""

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["STRUCTURE", "SitePage", "structure_by_commonmark"]

STRUCTURE = ("h1", "h2", "h3", "li", "table", "tr", "pre", "blockquote", "img", "strong", "em")
"""HTML elements that are counted. If two renderers produced different numbers of them, a reader would notice."""
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


@dataclass
class SitePage(HTMLParser):
    """A page of the built site, parsed when it is created."""

    path: Path
    loaded: list[str] = field(default_factory=list)
    """Addresses that a browser fetches without a click."""
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    structure: Counter[str] = field(default_factory=Counter)
    """Number of elements of each kind in the page's own text, without the theme's menus."""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[bool] = []  # whether the text begins in this element, of all that are open
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if any(self._open):
            self.structure[tag] += 1
        if tag not in VOID:
            self._open.append(given.get("role") == "main")
        if (address := given.get(LOADED.get(tag, ""))) is not None:
            self.loaded.append(address)
        if tag == "a" and (target := given.get("href")):
            self.links.append(target)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self._open:
            self._open.pop()


def structure_by_commonmark(path: Path) -> Counter[str]:
    """Returns the number of HTML elements of each kind in a Markdown file by the CommonMark rules that GitHub follows.
    Raw HTML in the file is not counted."""
    counts: Counter[str] = Counter()
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        for part in (token, *(token.children or ())):
            if part.nesting >= 0 and part.tag:
                counts["pre" if part.type in ("fence", "code_block") else part.tag] += 1
    return counts
