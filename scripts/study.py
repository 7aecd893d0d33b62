"""Runs the whole reference study: tunes six models, trains them with several seeds, and compares them.

glass study --data DATA --output RUN [--budget tiny|paper]

Tunes GLASS and the resize-only baseline on three backbones, and trains with the best settings and several seeds. Then
studies the number of crops and the baselines' memory, and writes RUN/study.html, .md and .json. If the study was
interrupted, the same command continues it; if it is finished, the command only writes its report again. On two free
cores, the budget tiny takes less than 25 minutes with the demo shards, whose global views are small. With 224-pixel
global views, the glass build default, the networks need three to twelve times as much computation.
"""

import time
from pathlib import Path

from shards.cli.command import CommandParser, printable, run_command
from shards.files.outputs import locked, make_folder
from shards.manifest.dataset import ShardDataset
from shards.optional import require_installed

from .arguments import EXIT_STOPPED, add_device, choose_device, require_one_process, script_parser

BUDGET_FILE = "budget.json"


def main(argv: list[str] | None = None) -> int:
    """Runs the study, or continues it, and writes the report. Returns the exit code."""
    options = parser().parse_args(argv)
    require_one_process("glass study")
    dataset = ShardDataset.open(options.data)
    for split in ("train", "valid", "test"):
        dataset.split_rows(split)
    choose_device(options.device)
    make_folder(options.output)
    if not (options.output / BUDGET_FILE).exists():
        from glass.studies.budgets import BUDGETS

        BUDGETS[options.budget].check(dataset)
    _check_same_study(options.output, options.budget, dataset)
    if (options.output / "study.json").is_file():
        _write_reports(options.output)
        print(printable(f"{options.output} is finished: see study.html in it"))
        return 0
    require_installed("optuna", "the search of the study")
    from glass.studies.budgets import BUDGETS
    from glass.studies.study import Study
    from glass.train.run import TrainingStopped
    from loaders.reading.open_shards import OpenShards

    start = time.monotonic()

    def report(line: str) -> None:
        print(printable(f"[{(time.monotonic() - start) / 60:5.1f} min] {line}"), flush=True)

    with locked(options.output, "study"), OpenShards(dataset) as data:
        budget = BUDGETS[options.budget]
        try:
            Study(data, budget, options.output, report).run()
        except TrainingStopped:
            print("stopped, with a checkpoint: run the same command to continue")
            return EXIT_STOPPED
    _write_reports(options.output)
    print(printable(f"wrote {options.output}/study.html, study.md and study.json"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("study", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--output", type=Path, required=True, help="folder of the study")
    parser.add_argument(
        "--budget",
        choices=("tiny", "paper"),
        default="paper",
        help="size of the study; default paper; tiny takes about 20 minutes on two cores",
    )
    add_device(parser)
    return parser


def _check_same_study(output: Path, budget: str, dataset: ShardDataset) -> None:
    """Records which study this folder contains. Raises ``InputError`` if it already contains another."""
    from glass.config.dataset_digest import dataset_json_sha256
    from glass.studies.plan import settle_plan

    digest = dataset_json_sha256(dataset.root)
    settle_plan(output / BUDGET_FILE, "a study", {"budget": budget, "data": digest})


def _write_reports(output: Path) -> None:
    from glass.report.study import study_html, study_markdown
    from glass.studies.study_documents import StudyDocument
    from shards.files.atomic import write_text_atomic
    from shards.files.documents import read_document

    remedy = "delete it and run the same command again: finished trainings are kept"
    document = read_document(output / "study.json", StudyDocument, "a study", remedy)
    write_text_atomic(output / "study.html", study_html(document))
    write_text_atomic(output / "study.md", study_markdown(document))


if __name__ == "__main__":
    run_command(main)
