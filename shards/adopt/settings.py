"""Settings for indexing tars made elsewhere."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shards.adopt.label_words import split_of_name
from shards.build.settings import DEFAULT_SPLIT, GlobalSize
from shards.build.split import parse_shares
from shards.errors import InputError
from shards.manifest.note import checked_note
from shards.manifest.schema import CLASS_NAMES, SPLITS
from shards.settings import Seed, check_settings
from shards.sources.words import parse_labels

__all__ = ["IndexSettings", "parse_values"]


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Settings of :func:`shards.adopt.adopt.index_tars`. Raises ``InputError`` naming any invalid setting."""

    split: str = "auto"
    """How splits are assigned.

    - ``name``: by the name of each tar or its folders.
    - Shares such as ``0.7,0.15,0.15``: at random, in these proportions.
    - ``auto``: like ``name`` if every tar's name indicates a split; otherwise at random, with the default shares.
    """
    split_seed: Seed = 606
    label_from: str | None = None
    """A rule from ``shards.adopt.label_rules`` or the path of a list. If ``None``, guessed from the first samples."""
    generator_from: str | None = None
    group_from: str | None = None
    values: dict[str, int] = field(default_factory=dict)
    """Maps lower-case texts to labels. Supplements or overrides 0, 1 and the words in ``shards.sources.words``."""
    skip: tuple[str, ...] = ()
    """Lower-case folder names. Images in folders with these names are skipped."""
    image_ext: tuple[str, ...] = ()
    """Extensions of the members to use as images, in order of preference. If empty, all known extensions are used."""
    last_dot: bool = False
    """Whether keys end at the last dot of a name. WebDataset ends them at the first."""
    global_size: GlobalSize = 224
    """Side length of the stored global views, in pixels; models are trained at this size."""
    note: str = ""
    """What everyone who reads a verdict must know about the data (see ``shards.manifest.note``). May be empty."""

    def __post_init__(self) -> None:
        check_settings(self, as_flags=True)
        if self.note:
            checked_note(self.note, "--note")
        if self.split not in ("auto", "name"):
            parse_shares(self.split)

    def shares(self, tars: Sequence[str]) -> dict[str, float] | None:
        """Returns a mapping from split to share, or ``None`` if the splits come from the tars' names.

        ``tars`` holds the tars' paths. Raises ``InputError`` if the splits must come from their names (``--split
        name``) but one of them indicates no split.
        """
        if self.split not in ("auto", "name"):
            return parse_shares(self.split)
        unnamed = [tar for tar in tars if split_of_name(tar) is None]
        if not unnamed:
            return None
        if self.split == "auto":
            return parse_shares(DEFAULT_SPLIT)
        raise InputError(
            f"--split name: {unnamed[0]} does not begin with the name of a split ({', '.join(SPLITS)}): rename it, or "
            f"give shares, such as --split {DEFAULT_SPLIT}"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values, plus the SHA-256 of the label list (``None`` if there is no list)."""
        fields = {**asdict(self), "image_ext": list(self.image_ext), "skip": list(self.skip)}
        if not self.skip:  # left out at its default, so that older plans are equal
            del fields["skip"]
        for name in ("last_dot", "note"):  # likewise
            if not fields[name]:
                del fields[name]
        listed = self.label_from is not None and Path(self.label_from).is_file()
        digest = hashlib.sha256(Path(str(self.label_from)).read_bytes()) if listed else None
        return {**fields, "list_sha256": digest.hexdigest() if digest else None}


def parse_values(real: Sequence[str], generated: Sequence[str], labels: Sequence[str] = ()) -> dict[str, int]:
    """Parses the values of ``--real``, ``--generated`` and ``--label``. Returns a mapping from text to label (0 or 1).

    Raises ``InputError`` if a text was given for both classes.
    """
    values = {text.strip().lower(): 0 for text in real}
    for text in generated:
        if values.setdefault(text.strip().lower(), 1) == 0:
            raise InputError(f"--real and --generated both name {text!r}: leave it out of one of them")
    for word, label in parse_labels(labels).items():
        if values.setdefault(word, label) != label:
            raise InputError(
                f"--label {word}={CLASS_NAMES[label]}: --{CLASS_NAMES[1 - label]} names {word!r} too: leave one of "
                "them out"
            )
    return values
