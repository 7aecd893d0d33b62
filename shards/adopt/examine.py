"""The first pass over a tar made elsewhere: finds and describes its images."""

import hashlib
import mmap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shards.adopt.label_evidence import LabelEvidence
from shards.adopt.label_guess import RuleChoice
from shards.adopt.label_rules import LabelRules, SampleTexts, TarLabels
from shards.adopt.label_words import LabelWords
from shards.adopt.listing import TarListing, TarMember, TarSample, is_image_name, list_tar
from shards.adopt.settings import IndexSettings
from shards.adopt.tar_names import NamedTar
from shards.build.packing import PackedSource
from shards.build.writer import Rejection
from shards.errors import InputError, require_sound_machine
from shards.files.patience import read_or_end
from shards.files.regular_file import map_regular
from shards.images.formats import FILE_SUFFIXES, sniff_format
from shards.images.rejection import RejectedImage

__all__ = ["ExaminedTar", "TarImage", "examine_tar", "guess_rules", "mapped_tar"]

_MAX_TEXT_BYTES = 1 << 24  # at most this much of a label member is read, in case it is an image


@dataclass(frozen=True, slots=True)
class TarImage:
    """An image in a tar. Its bytes have been hashed, but not decoded."""

    source: PackedSource
    """The image's description. Its ``split`` is ``""`` until a split is assigned, unless a label list gives one."""
    offset: int
    length: int


@dataclass
class ExaminedTar:
    """The result of the first pass over a tar."""

    num_bytes: int = 0
    sha256: str = ""
    images: list[TarImage] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    num_samples: int = 0
    passed_over: int = 0
    """Number of files that do not belong to any sample."""
    unread: list[str] = field(default_factory=list)
    """Notes on faults at the end of the tar (see ``shards.adopt.listing.TarListing``)."""
    evidence: LabelEvidence = field(default_factory=LabelEvidence)
    further: Counter[str] = field(default_factory=Counter)
    """Maps each extension to the number of images left out because another image was chosen for their sample."""
    folded: str = ""
    """Name of the first image left out because several images share a key; ``""`` if there is none."""
    folders: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Maps each folder that is not skipped, as a tuple of names, to the number of images directly in it."""
    keys: set[str] = field(default_factory=set)
    """Keys of the samples whose images were accepted. Filled only if labels come from a list."""


@contextmanager
def mapped_tar(path: Path) -> Iterator[mmap.mmap]:
    """Context manager that yields a tar as a memory map. Raises ``InputError`` if the tar cannot be read."""
    try:
        with read_or_end(path, lambda: map_regular(path)) as data:
            yield data
    except OSError as error:
        require_sound_machine(error, path)
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _reader(data: mmap.mmap) -> Callable[[TarMember], bytes]:
    def read(member: TarMember) -> bytes:
        return data[member.offset : member.offset + min(member.length, _MAX_TEXT_BYTES)]

    return read


def guess_rules(tars: Iterable[NamedTar], settings: IndexSettings) -> LabelRules:
    """Chooses the rules by looking at the first samples (see :class:`shards.adopt.label_guess.RuleChoice`).

    Raises ``InputError`` if no sample has an image, or if ``RuleChoice`` raises it.
    """
    words = LabelWords(dict(settings.values), frozenset(settings.skip))
    choice = RuleChoice(settings.label_from, settings.generator_from, settings.group_from, words)
    without: str = ""
    for tar in tars:
        samples = list_tar(tar.path, settings.last_dot).samples
        if not samples:
            without = without or f"{tar.path} holds no samples: a sample's files are named KEY.jpg, KEY.cls and so on"
            continue
        with mapped_tar(tar.path) as data:
            for sample in samples:
                try:
                    _choose_image(sample, settings.image_ext)
                except RejectedImage as error:
                    without = f"no image was accepted: {tar.name}, sample {sample.key!r}: "
                    without += error.detail
                    continue
                choice.look_at(SampleTexts(sample, _reader(data)), tar)
                if choice.has_seen_enough:
                    return choice.rules()
    if not choice.has_seen_any:
        raise InputError(without)
    return choice.rules()


def _choose_image(sample: TarSample, image_ext: Sequence[str]) -> TarMember:
    """Returns the member to use as the sample's image: the one whose extension comes first in ``image_ext``.

    If ``image_ext`` is empty, returns the only member with a known image extension, and raises ``InputError`` if there
    are several. Raises ``RejectedImage`` if there is no such member.
    """
    found = [e for e in image_ext if e in sample.members] if image_ext else []
    if not image_ext:
        found = [extension for extension in sample.members if f".{extension}" in FILE_SUFFIXES]
        if len(found) > 1:
            raise InputError(
                f"sample {sample.key!r} has several images ({', '.join(found)}): choose one with --image-ext"
            )
    if found:
        return sample.members[found[0]]
    detail = f"its members: {', '.join(sample.members)[:200]}"
    images = [extension for extension in sample.members if is_image_name(extension)]
    if images:
        detail += f": choose its image with --image-ext {images[0][:60]}, or let keys end at the last"
        detail += " dot of a name with --last-dot"
    shared = len(images) > 1 and not image_ext
    raise RejectedImage("shared_key" if shared else "no_image", detail)


def examine_tar(tar: NamedTar, rules: LabelRules, settings: IndexSettings) -> ExaminedTar:
    """Reads a tar once to find each sample's image and label, and to hash each image with SHA-256.

    Raises ``InputError`` if the file is not a tar, or if a label means neither real nor generated.
    """
    listing: TarListing = list_tar(tar.path, settings.last_dot)
    found = ExaminedTar(num_samples=len(listing.samples), passed_over=listing.passed_over, unread=listing.unread)
    for bad in listing.bad:
        where = f"{tar.name}/{bad.name}"
        found.rejected.append(Rejection(where, None, None, bad.reason, bad.detail))
    labels = TarLabels(rules, tar)
    with mapped_tar(tar.path) as data:
        found.num_bytes, found.sha256 = len(data), hashlib.sha256(data).hexdigest()
        for sample in listing.samples:
            try:
                member = _choose_image(sample, settings.image_ext)
                texts = SampleTexts(sample, _reader(data))
                found.images.append(_examine(texts, member, data, tar, labels, found))
            except RejectedImage as error:
                lost = list(_rejections(sample, error, tar))
                found.rejected += lost
                if error.reason == "shared_key":
                    found.folded = found.folded or lost[0].source_path
                continue
            others = [e for e, m in sample.members.items() if m is not member and is_image_name(e)]
            found.further.update(others)
            if rules.label == "list":
                found.keys.add(sample.key)
    return found


def _rejections(sample: TarSample, error: RejectedImage, tar: NamedTar) -> Iterator[Rejection]:
    """Yields the rejections to record for a sample that failed with ``error``.

    If no image could be chosen, there is one rejection per image in the sample. If an image was chosen, or the sample
    has no images, there is one rejection for the whole sample.
    """
    names = [sample.key]
    if error.reason in ("shared_key", "no_image"):
        names = [m.name for e, m in sample.members.items() if is_image_name(e)] or names
    for name in names:
        yield Rejection(f"{tar.name}/{name}", None, None, error.reason, error.detail)


def _examine(
    texts: SampleTexts, member: TarMember, data: mmap.mmap, tar: NamedTar, labels: TarLabels, found: ExaminedTar
) -> TarImage:
    labels.require_wanted(texts.sample.key)
    found.folders[tuple(texts.sample.key.split("/")[:-1])] += 1
    described = labels.describe(texts)
    content = data[member.offset : member.offset + member.length]
    if not content:
        raise RejectedImage("empty_file", member.name)
    kind = sniff_format(content)
    if kind is None:
        raise RejectedImage("not_an_image", f"{member.name} begins with {content[:8]!r}")
    where = f"{tar.name}/{member.name}"
    found.evidence.add(where, described, labels.hints(texts))
    source = PackedSource(
        where,
        hashlib.sha256(content).digest(),
        kind,
        described.label,
        described.generator,
        described.group,
        described.split,
    )
    return TarImage(source, member.offset, member.length)
