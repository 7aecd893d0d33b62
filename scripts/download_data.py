"""Downloads the study's images from Kaggle: 12,000 images, real and generated.

glass download-data OUT

Needs the extra `kaggle` (pip install -e ".[kaggle]") and an internet connection. OUT then contains real/ and generated/
for glass build: links to the downloaded folders or, with --copy, copies.
"""

import shutil
from pathlib import Path
from typing import Any

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.shown_url import safe_text
from shards.errors import InputError
from shards.files.outputs import refuse_address

from .arguments import script_parser

DATASET = "tristanzhang32/ai-generated-images-vs-real-images"
ADDRESS = f"https://www.kaggle.com/datasets/{DATASET}"
FOLDER, CLASSES = "test", {"real": "real", "fake": "generated"}
"""``FOLDER`` is the data set's folder that the study uses. ``CLASSES`` maps the data set's class names to this
project's."""


def main(argv: list[str] | None = None) -> int:
    """Downloads the images, and links or copies them to OUT. Returns exit code 0."""
    options = parser().parse_args(argv)
    out: Path = options.output
    refuse_address(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder: give a new folder")
    source = options.source or _download()
    found = _find(source)
    try:
        for ours, folder in found.items():
            target = out / ours
            target.parent.mkdir(parents=True, exist_ok=True)
            if options.copy:
                shutil.copytree(folder, target)
            else:
                target.symlink_to(folder.resolve(), target_is_directory=True)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror or error}") from error
    counts = {name: sum(1 for _ in folder.iterdir()) for name, folder in found.items()}
    print(printable(f"{out}: {', '.join(f'{n:,} {name}' for name, n in counts.items())} images"))
    print(printable(f"next: glass build {out} SHARDS"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("download_data", __doc__)
    parser.add_argument("output", type=Path, metavar="OUT", help="new folder for the images")
    parser.add_argument("--source", type=Path, help="folder of the unpacked data set, if you downloaded it by hand")
    parser.add_argument("--copy", action="store_true", help="copy the images instead of linking to the download cache")
    return parser


def _by_hand() -> str:
    """Tells the user how to download by hand if this command cannot."""
    return (
        f"download {ADDRESS} by hand, unpack it to SOURCE/{FOLDER}/real and SOURCE/{FOLDER}/fake, and give --source "
        "SOURCE"
    )


def _download() -> Path:
    """Downloads the data set with kagglehub; returns its folder. Raises ``InputError`` if that fails."""
    try:
        hub: Any = __import__("kagglehub")
    except ImportError:
        raise InputError(f'kagglehub is not installed: pip install -e ".[kaggle]", or {_by_hand()}') from None
    try:
        return Path(hub.dataset_download(DATASET))
    except Exception as error:  # requests', kagglehub's and file errors have no common ancestor
        raise InputError(
            f"Kaggle's data set {DATASET} cannot be downloaded ({safe_text(error)}): without"
            f" network or credentials {_by_hand()}"
        ) from error


def _find(source: Path) -> dict[str, Path]:
    """Returns the image folders below ``source``, keyed by this project's class names. Raises ``InputError`` if one is
    missing or empty.
    """
    for root in (source / FOLDER, source):
        if all((root / theirs).is_dir() for theirs in CLASSES):
            folders = {ours: root / theirs for theirs, ours in CLASSES.items()}
            for folder in folders.values():
                if not any(entry.is_file() for entry in folder.rglob("*")):
                    raise InputError(f"{folder} contains no files: {_by_hand()}")
            return folders
    raise InputError(f"{source} lacks {FOLDER}/real or {FOLDER}/fake: {_by_hand()}")


if __name__ == "__main__":
    run_command(main)
