"""Defines a prediction's output files, and checks that they can be written without losing earlier verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from glass.predict.earlier_predictions import require_none_lost
from glass.predict.partial_rows import partial_path, require_no_partial
from glass.predict.prediction_files import PredictionHead, check_csv_target, check_json_target, check_page_target
from shards.errors import InputError
from shards.files.outputs import check_new_folder, require_different

__all__ = ["Outputs"]


@dataclass(frozen=True)
class Outputs:
    """Paths of the files and the folder that ``predict`` writes; None for those not requested."""

    json: Path | None
    csv: Path | None
    html: Path | None
    heatmaps: Path | None
    """The folder for heat maps."""

    @property
    def files(self) -> dict[str, Path]:
        """Maps command-line options to the requested files."""
        given = {"--json": self.json, "--csv": self.csv, "--html": self.html}
        return {option: path for option, path in given.items() if path is not None}

    @property
    def names(self) -> list[str]:
        """Paths of all requested outputs, as the user typed them."""
        return [str(path) for path in (*self.files.values(), self.heatmaps) if path is not None]

    def check(self, resume: bool) -> None:
        """Checks all outputs before any image is scored, and creates the folder for heat maps.

        Raises ``InputError`` if two outputs have the same path; if an output cannot be written, exists but is not from
        ``predict``, or has a partial file from another run, unless that run is to be continued (``resume``); or if the
        folder for heat maps is not empty.
        """
        partial = {f"{option} (while it is written)": partial_path(path) for option, path in self.files.items()}
        require_different(self.files | partial)
        checks = {"--json": check_json_target, "--csv": check_csv_target, "--html": check_page_target}
        for option, path in self.files.items():
            checks[option](path)
        if not (resume and self.json and partial_path(self.json).exists()):
            resumable = not resume and self.json is not None and self.html is None and self.heatmaps is None
            for path in self.files.values():
                require_no_partial(path, resumable)
        if self.heatmaps is None:
            return
        check_new_folder(self.heatmaps, "a new folder for the heat maps")
        try:
            self.heatmaps.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create the folder {self.heatmaps}: {error.strerror or error}") from error

    def check_earlier(self, head: PredictionHead, names: Iterable[str]) -> list[Path]:
        """Returns the existing files that will be replaced.

        Raises ``InputError`` if verdicts in them would be lost (see
        :func:`glass.predict.earlier_predictions.require_none_lost`).
        """
        require_none_lost(self.json, self.csv, self.html, head, names)
        return [path for path in self.files.values() if path.exists()]

    def remove_partial(self) -> None:
        """Deletes the partial files, once all outputs are written."""
        for path in self.files.values():
            partial_path(path).unlink(missing_ok=True)
