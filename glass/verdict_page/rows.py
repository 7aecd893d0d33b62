"""What the page template shows for each image: sentences about the verdict, positions on the score scale, and
pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from glass.claims.read import claims_sentence
from glass.predict.prediction_files import PredictionHead
from glass.predict.verdicts import ImageVerdict
from glass.verdict_page.page_facts import PageFacts
from glass.verdict_page.pictures import Picture
from glass.verdict_page.sentences import (
    figure,
    learnt_sentence,
    seen_sentence,
    stability_sentence,
    value_of,
    verdict_sentence,
)

__all__ = ["Change", "Edge", "Row", "edges_of", "edges_text", "row_of"]


@dataclass(frozen=True)
class Edge:
    """A score, 0 … 1, at which the verdict changes."""

    place: float
    """The value's position on the scale, in percent."""
    text: str

    @property
    def side(self) -> str:
        """See :func:`_side`."""
        return _side(self.place)


@dataclass(frozen=True)
class Change:
    """The verdict on the image after a harmless change, or on the unchanged image."""

    name: str
    shown: str
    verdict: str
    turned: bool
    """Whether this verdict differs from that on the unchanged image."""


@dataclass(frozen=True)
class Row:
    """An image's row on the page. If the image could not be read, ``verdict`` is the reason, and only ``number``,
    ``verdict`` and ``claims`` are set.
    """

    number: int
    verdict: ImageVerdict
    thumbnail: str = ""
    picture: Picture | None = None
    claims: str | None = None
    """The file's claims as readable text; None if not requested."""
    shown: str = ""
    place: float = 0.0
    """The score's position on the scale, in percent."""
    sentence: str = ""
    stability: str = ""
    seen: str = ""
    learnt: str = ""
    changes: Sequence[Change] = ()

    @property
    def side(self) -> str:
        """See :func:`_side`."""
        return _side(self.place)

    @property
    def hidden_crops(self) -> int:
        """Number of crops whose pixels are not shown."""
        return 0 if self.picture is None else sum(not window.crop for window in self.picture.windows)

    @property
    def claims_cell(self) -> str:
        """Text for the "claims" table cell."""
        if self.claims is None:
            return ""
        return self.claims.removeprefix("the file says: ") if self.verdict.claims else "no claim found"

    @property
    def stable_word(self) -> str:
        """Text for the "stability" table cell."""
        return {None: "" if self.verdict.reason else "not tested", True: "unstable", False: "stable"}[
            self.verdict.unstable
        ]

    @property
    def stable_key(self) -> str:
        """Sort key for the "stability" column; puts unstable verdicts first."""
        return {True: "1", False: "2", None: "3"}[self.verdict.unstable]

    @property
    def turned(self) -> list[str]:
        """The changes that flip the verdict, each with the resulting verdict, as texts."""
        return [f"{change.name} → {change.verdict}" for change in self.changes if change.turned]


def row_of(number: int, verdict: ImageVerdict, facts: PageFacts, thumbnail: str, picture: Picture | None) -> Row:
    """Returns the row for the image with index ``number``."""
    head = facts.head
    said = None if verdict.claims is None else claims_sentence(verdict.claims)
    if verdict.reason is not None:
        return Row(number, verdict, claims=said)
    value, edges = value_of(verdict), (head["real_below"], head["threshold"])
    return Row(
        number,
        verdict,
        thumbnail,
        picture,
        said,
        shown=figure(value, *edges),
        place=round(100 * value, 2),
        sentence=verdict_sentence(verdict, head),
        stability=stability_sentence(verdict),
        seen=seen_sentence(verdict, head, facts.global_size),
        learnt=learnt_sentence(verdict),
        changes=_changes(verdict, edges),
    )


def _changes(verdict: ImageVerdict, edges: tuple[float, float]) -> list[Change]:
    if not verdict.change_verdicts:
        return []
    values = verdict.change_probabilities or verdict.change_scores
    as_it_is = Change("as it is", figure(value_of(verdict), *edges), str(verdict.verdict), turned=False)
    return [
        as_it_is,
        *(
            Change(name, figure(values[name], *edges), word, turned=word != verdict.verdict)
            for name, word in verdict.change_verdicts.items()
        ),
    ]


def edges_of(head: PredictionHead) -> list[Edge]:
    """Returns the scores at which the verdict changes: two, or only one if there is no band of doubt."""
    low, high = head["real_below"], head["threshold"]
    low_text, high_text = figure(low, high), figure(high, low)
    if low == high:
        return [Edge(round(100 * high, 2), f"real below {high_text}, generated from {high_text} on")]
    return [
        Edge(round(100 * high, 2), f"generated from {high_text} on"),
        Edge(round(100 * low, 2), f"real below {low_text}, uncertain from here"),
    ]


def edges_text(head: PredictionHead) -> str:
    """Returns a clause that states each verdict's score range."""
    low, high = head["real_below"], head["threshold"]
    said = f"generated from {figure(high, low)} on, real below {figure(low, high)}"
    return said if low == high else f"{said}, uncertain between the two"


def _side(place: float) -> str:
    """The side of ``place`` (percent of the scale) with more room for a label: ``before`` or ``after``."""
    return "after" if place < 50 else "before"
