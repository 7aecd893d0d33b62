"""Defines the reasons why an image is not included in a data set, and the exception that reports one."""

import re

__all__ = ["MAX_PIXELS", "REASONS", "RejectedImage", "explained"]

MAX_PIXELS = 200_000_000
"""Maximum number of pixels in an image. Larger images are rejected before they are decoded."""

REASONS = {
    "unreadable": "the file is missing or cannot be read",
    "io": "the disk or the network file system failed several times (left out by --reject-unreadable)",
    "file_name": "the file's name is not valid UTF-8",
    "empty_file": "the file has no bytes",
    "not_an_image": "the file is not in a supported image format",
    "unsupported_format": "this kind of image is not supported, or only with an extra",
    "unsupported_mode": "the pixels are of an unsupported type, such as floating point",
    "too_large": "more than 200 million pixels, or more bytes than GLASS_MAX_IMAGE_BYTES",
    "truncated": "the file ends before the image does",
    "corrupt": "the image cannot be decoded",
    "unmatched": "left out so that the files of both classes look alike (--equalise match)",
    "duplicate_conflict": "the same file is labelled both real and generated",
    "duplicate_split": "the same file is also in a split reserved for measuring",
    "duplicate_key": "several members of an archive have the same name",
    "unsafe_member": "a member of an archive is a link, a device or a sparse file, or its name leads out of it",
    "no_image": "the sample has no image with a wanted extension",
    "shared_key": "several images in the tar share a key, which ends at the first dot (see --last-dot of glass index)",
    "no_label": "nothing says whether the sample is real or generated",
}
"""Maps each reason to its meaning, in the order that summaries use."""


class RejectedImage(Exception):
    """Raised for an image that cannot be used. ``reason`` is a key of ``REASONS``; ``detail`` is text or empty."""

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail.encode("utf-8", "backslashreplace").decode()

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail or REASONS[self.reason]}"


def explained(rejection: str) -> str:
    """Returns the text of a :class:`RejectedImage` as a sentence for readers: what its reason means, and the detail in
    brackets, without the name of a Python exception.

    Text that begins with no reason is returned unchanged.
    """
    reason, _, detail = rejection.partition(": ")
    if reason not in REASONS:
        return rejection
    detail = "" if detail == REASONS[reason] else re.sub(r"^[\w.]*(Error|Exception): ?", "", detail)
    meaning = REASONS[reason].partition(" (")[0]  # brackets hold options of builds
    return f"{meaning} ({detail})" if detail else meaning
