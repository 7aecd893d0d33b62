"""Takes a model out of a run: glass export RUN [--to DIR] [--push ID] [--onnx FILE]

--to writes config.json, model.safetensors, calibration.json and a model card into a new folder; --push uploads the same
files to the Hugging Face hub; --onnx writes one file for other runtimes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from shards.cli.command import CommandParser, printable, run_command
from shards.errors import InputError
from shards.files.outputs import check_new_folder

from .arguments import script_parser


def main(argv: list[str] | None = None) -> int:
    """Exports the model to the chosen targets; returns exit code 0."""
    arguments = _parse(argv)
    _check_targets(arguments.to, arguments.onnx)
    from glass.config.unfinished_run import unfinished_warning
    from glass.export.card_file import read_model_card
    from glass.model.hub import model_folder, publish

    folder = model_folder(arguments.run)
    card = read_model_card(folder)  # before torch is imported, which takes seconds
    if warning := unfinished_warning(folder):
        print(printable(warning), file=sys.stderr)
    from glass.export.model_folder import load_model
    from glass.share.bundle import bundle_files, write_bundle

    model, config = load_model(folder, "cpu")  # finds all faults in the files
    try:
        as_files = arguments.to is not None or arguments.push is not None
        parts = bundle_files(folder, arguments.audit, arguments.learnt) if as_files else {}
        if arguments.onnx is not None:  # first: it may need an extra, and nothing is written yet
            from glass.share.onnx_export import export_onnx

            export_onnx(arguments.onnx, model, config, card)
            print(printable(f"wrote {arguments.onnx}"))
        if arguments.to is not None:
            write_bundle(arguments.to, parts)
            print(printable(f"wrote {arguments.to}"))
        if arguments.push is not None:
            with tempfile.TemporaryDirectory() as temporary:
                write_bundle(Path(temporary), parts)
                where = publish(Path(temporary), arguments.push, private=not arguments.public)
            print(printable(f"published {where}"))
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror or error}") from error
    return 0


def _check_targets(to: Path | None, onnx: Path | None) -> None:
    """Raises ``InputError``, before any work, if an output already exists or cannot be written."""
    if to is not None:
        check_new_folder(to)
    if onnx is not None:
        if onnx.exists():
            raise InputError(f"{onnx} exists: give a new file name")
        if not onnx.parent.is_dir():
            raise InputError(f"the folder {onnx.parent} does not exist: create it first")


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("export", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("run", metavar="RUN", help="folder of a run or of an exported model")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write the model and its card to this new folder")
    parser.add_argument("--push", metavar="USER/NAME", help="upload the same files to the Hugging Face hub")
    parser.add_argument("--public", action="store_true", help="with --push: make the repository public")
    parser.add_argument(
        "--onnx", type=Path, metavar="FILE", help="write the model to this new file, for other runtimes"
    )
    parser.add_argument(
        "--audit",
        type=Path,
        metavar="JSON",
        help="findings of glass audit, for the model card (default: audit.json of the data set that"
        " the run was trained on)",
    )
    parser.add_argument(
        "--with-learnt-ids",
        action="store_true",
        dest="learnt",
        help="add the ids of the images that the model learnt from: with them, others can check that they test it on "
        "none of these, and the owner of an image can check whether it was among them",
    )
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = parser()
    arguments = command.parse_args(argv)
    if not (arguments.to or arguments.push or arguments.onnx):
        command.error("give at least one output: --to DIR, --push USER/NAME or --onnx FILE")
    return arguments


if __name__ == "__main__":
    run_command(main)
