"""The notebook in docs/examples is stored without outputs, and runs from its first cell to its last."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runs.short_runs import ROOT

NOTEBOOK = ROOT / "docs/examples/sixty_images.ipynb"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_of(cell: Any) -> str:
    """Returns what a notebook cell printed, followed by its value, as text."""
    printed = [output.get("text", "") for output in cell["outputs"]]
    values = [output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]
    return "".join(printed + values)


def test_it_is_kept_without_outputs() -> None:
    cells = code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    assert len(cells) > 3
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert {cell["execution_count"] for cell in cells} == {None}


@pytest.fixture
def command_glass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a command ``glass`` that runs this source tree, as ``pip install -e .`` would, and directs temporary
    files to ``tmp_path``."""
    program = tmp_path / "bin/glass"
    program.parent.mkdir()
    lines = (f"#!{sys.executable}", "from scripts.console import run", "if __name__ == '__main__':", "    run()")
    program.write_text("\n".join(lines))  # as pip writes it: processes of a pool import it once more
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute of work; shared machines have been seen to need ten
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_it_runs_and_its_verdicts_are_right(command_glass: None, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra [dev-slow] is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the extra [dev-slow] is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    cells = code_cells(notebook)
    try:
        nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()
    except nbclient.exceptions.CellExecutionError as error:  # often the fault of a command in an earlier cell
        raise AssertionError("\n".join(text_of(cell) for cell in cells)) from error
    texts = [text_of(cell) for cell in cells]
    assert any("built " in text and "60 samples" in text for text in texts)
    assert any("finished: best epoch" in text for text in texts)
    assert "['real', 'generated']" in texts[-1]
    pictures = [output for cell in cells for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
