"""The verdict page: collects its contents while images are scored, and writes them at the end as one HTML file.

Each image has a row with its verdict and a thumbnail. Windows, crops and heat maps are kept only for the
highest-scoring images, up to a size limit, so a page with a thousand images stays below 15 MB. If there are very many
images, there are no thumbnails, and only the highest-scoring images have a row.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path

from markupsafe import Markup

from glass.predict.heatmaps import ATTENTION_SCALE, DenseMap
from glass.predict.image_sources import ImageSource, LoadedImage
from glass.predict.prediction_files import page_record
from glass.predict.verdict_lines import WARNING, data_note_line, learnt_line
from glass.predict.verdicts import ImageVerdict
from glass.report import template
from glass.verdict_page.page_facts import PageFacts
from glass.verdict_page.pictures import Details, WatchedSource, picture_of
from glass.verdict_page.rows import Row, edges_of, edges_text, row_of
from glass.verdict_page.sentences import score_name
from shards.cli.wording import counted
from shards.files.atomic import write_text_atomic

__all__ = ["VerdictPage"]

MOST_ROWS = 5_000
MOST_THUMBNAILS = 2_000
CLAIMS_NOTE = "Claims do not change the verdict, and a missing claim proves nothing."


@dataclass
class VerdictPage:
    """A verdict page for ``num_images`` images, each of which is added as soon as it has been scored."""

    facts: PageFacts
    num_images: int
    _verdicts: list[ImageVerdict] = field(default_factory=list)
    _thumbnails: list[str] = field(default_factory=list)
    _details: Details = field(default_factory=Details)

    def watched(self, sources: Sequence[ImageSource]) -> Sequence[ImageSource]:
        """Wraps ``sources`` so that each keeps a thumbnail of its image for the page.

        Returns them unwrapped if the page shows no thumbnails, that is, for a single image or more than
        ``MOST_THUMBNAILS``. Wrapped sources decode their images whole.
        """
        return [WatchedSource(source) for source in sources] if 1 < self.num_images <= MOST_THUMBNAILS else sources

    def wants_picture(self, verdict: ImageVerdict) -> bool:
        """Whether the page would show this image's windows. The highest-scoring images take precedence."""
        return verdict.margin is not None and self._details.wants(verdict.margin)

    def add(
        self,
        verdict: ImageVerdict,
        source: ImageSource,
        loaded: LoadedImage | None = None,
        dense: DenseMap | None = None,
    ) -> None:
        """Adds the verdict on the next image, whose ``source`` comes from :meth:`watched`.

        If ``loaded`` is given, the page can show the image with its windows; if ``dense`` is given, too, it can also
        show the heat map.
        """
        number = len(self._verdicts)
        self._verdicts.append(verdict)
        thumbnail = ""
        if isinstance(source, WatchedSource):
            thumbnail, source.thumbnail = source.thumbnail, ""
        self._thumbnails.append(thumbnail)
        if loaded is not None and verdict.margin is not None:
            self._details.add(verdict.margin, number, picture_of(loaded, verdict, dense, self.num_images))

    def write(self, path: Path, written: Sequence[str] = ()) -> None:
        """Writes the page with all images added so far to ``path``. ``written`` names the prediction's other files."""
        write_text_atomic(path, self.html(written))

    def html(self, written: Sequence[str] = ()) -> str:
        """The page as HTML text. ``written`` names the prediction's other files."""
        head, pictures = self.facts.head, self._details.pictures
        shown = self._shown()
        rows = [row_of(n, self._verdicts[n], self.facts, self._thumbnails[n], pictures.get(n)) for n in shown]
        learnt = learnt_line(self._verdicts)
        learnt_text = learnt.removeprefix("note: ").removeprefix(WARNING)
        facts = [*self.facts.facts, ("Learnt from", learnt_text)]
        facts += [("Also written", ", ".join(written))] if written else []
        return template.render(
            "verdicts.html.j2",
            title=self._title(),
            single=rows[0] if self.num_images == 1 else None,
            note=self._note(),
            data_notes=[data_note_line(note) for note in head["data_notes"]],
            left_out=_left_out(self.num_images, len(self._verdicts), len(rows)),
            looked="Where the model looked" if any(len(self._verdicts[n].windows) for n in shown) else "The images",
            rows=rows,
            folder=_folder([row.verdict.path for row in rows]),
            thumbnails=any(row.thumbnail for row in rows),
            has_claims=any(row.claims is not None for row in rows),
            claims_note=CLAIMS_NOTE,
            shown_text=_shown_text(rows),
            head=head,
            score_name=score_name(head),
            edges=edges_of(head),
            edges_text=edges_text(head),
            stability_text=_stability_text(self._verdicts),
            learnt_text=learnt_text,
            learnt_is_bad=learnt.startswith(WARNING),
            attention_scale=ATTENTION_SCALE,
            facts=facts,
            warnings=self.facts.warnings,
            record=Markup(page_record(head, self._verdicts)),
            script=Markup(_script()),
            script_digest=Markup(_digest(_script())),
        )

    def _shown(self) -> list[int]:
        """Returns, in ascending order, the indices of the images that get a row.

        If there are more than ``MOST_ROWS`` images, these are the highest-scoring ones.
        """
        numbers = range(len(self._verdicts))
        if len(numbers) <= MOST_ROWS:
            return list(numbers)
        margins = [verdict.margin for verdict in self._verdicts]
        unread = [n for n in numbers if margins[n] is None]
        ranked = sorted((n for n in numbers if margins[n] is not None), key=lambda n: -(margins[n] or 0.0))
        return sorted([*ranked, *unread][:MOST_ROWS])

    def _title(self) -> str:
        if self.num_images == 1:
            return f"Is {self._verdicts[0].path} generated?" if self._verdicts else "Is this image generated?"
        counts = Counter(verdict.verdict or "unreadable" for verdict in self._verdicts)
        parts = [
            f"{counts[word]:,} {word}" for word in ("generated", "uncertain", "real", "unreadable") if counts[word]
        ]
        return f"{counted(len(self._verdicts), 'image')}: {', '.join(parts)}"

    def _note(self) -> str:
        missing = self.num_images - len(self._verdicts)
        if not missing:
            return ""
        return f"Stopped early: {counted(missing, 'image')} of {self.num_images:,} were not scored."


def _stability_text(verdicts: Sequence[ImageVerdict]) -> str:
    tried = [verdict.unstable for verdict in verdicts if verdict.unstable is not None]
    if not tried:
        return "It was not tested whether harmless changes would flip a verdict."
    if not any(tried):
        return "No verdict is unstable: harmless changes to the images do not flip it."
    return f"{sum(tried):,} of {len(tried):,} verdicts are unstable: a harmless change to the image would flip them."


def _folder(paths: Sequence[str]) -> str:
    """The folder that all ``paths`` share, with a trailing slash; empty if there is none."""
    # A tar member is followed by where it came from: ``a.tar/KEY (real/x.jpg)``.
    folders = zip(*(path.partition(" (")[0].split("/")[:-1] for path in paths), strict=False)
    shared = takewhile(lambda names: len(set(names)) == 1, folders)
    return "".join(f"{names[0]}/" for names in shared)


def _left_out(asked: int, images: int, rows: int) -> str:
    said = []
    if images > rows:
        said.append(
            f"This page shows {rows:,} of {counted(images, 'image')}, those with the highest scores; --csv FILE and "
            "--json FILE write them all."
        )
    if asked > MOST_THUMBNAILS:
        said.append(f"It has no thumbnails, because there are more than {counted(MOST_THUMBNAILS, 'image')}.")
    return " ".join(said)


def _shown_text(rows: Sequence[Row]) -> str:
    """States for how many images the page shows pictures; empty if for none."""
    scored, pictures = sum(not row.verdict.reason for row in rows), [row.picture for row in rows if row.picture]
    what = "its windows and crops" if any(picture.windows for picture in pictures) else "a larger picture"
    if not pictures:
        return ""
    if len(pictures) == scored:
        return f"Each image with {what}."
    return (
        f"The {counted(len(pictures), 'image')} with the highest scores, each with {what}, because a page has room "
        "for no more. For any other image, run glass predict MODEL IMAGE --html FILE."
    )


@cache
def _script() -> str:
    return (Path(template.__file__).parent / "verdict_table.js").read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
