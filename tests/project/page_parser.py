"""Parses a page of verdicts into the elements, texts and addresses that a browser would find in it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Page"]


@dataclass
class Row:
    """A row of the table of verdicts: the texts and sort keys of its cells, its number of pictures, and whether it is
    hidden."""

    cells: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    pictures: int = 0
    hidden: bool = False


class Page(HTMLParser):
    """A page of verdicts, parsed when it is created."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[Row] = []
        """Rows of the table of verdicts."""
        self.scripts: list[tuple[str | None, str]] = []
        """(type, content) of each script."""
        self.text = ""
        self._in: list[str] = []
        self._in_verdicts = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._in.append(tag)
        if tag == "table":
            self._in_verdicts = "sortable" in (given.get("class") or "")
        elif tag == "script":
            self.scripts.append((given.get("type"), ""))
        elif self._in_verdicts and "tbody" in self._in:
            if tag == "tr":
                self.rows.append(Row(hidden="hidden" in given))
            elif tag in ("td", "th"):
                self.rows[-1].cells.append("")
                self.rows[-1].keys.append(given.get("data-key"))
            elif tag == "img":
                self.rows[-1].pictures += 1
        if tag in ("meta", "link", "img", "input", "br"):
            self._in.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._in.pop() == tag, f"</{tag}> closes another element"
        if tag == "table":
            self._in_verdicts = False

    def handle_data(self, data: str) -> None:
        if self._in and self._in[-1] == "script":
            kind, content = self.scripts[-1]
            self.scripts[-1] = (kind, content + data)
        elif "style" not in self._in:
            self.text += data
            if self._in_verdicts and self.rows and self.rows[-1].cells and ("td" in self._in or "th" in self._in):
                self.rows[-1].cells[-1] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Returns the attributes of each element called ``tag`` that has all the given ``attributes``."""
        return [a for name, a in self.tags if name == tag and attributes.items() <= a.items()]

    @property
    def words(self) -> str:
        """All text of the page, with single spaces between words."""
        return " ".join(self.text.split())
