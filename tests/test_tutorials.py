"""The tutorials run as they stand, from the first cell to the last, and their stored outputs are those of a whole run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "tutorials"


def number_of(path: Path) -> int:
    """Return the number at the beginning of a notebook's name."""
    return int(path.stem.partition("_")[0])


TUTORIALS = sorted(FOLDER.glob("*.ipynb"), key=number_of)


def test_they_are_all_here():
    numbers = [number_of(path) for path in TUTORIALS]
    assert len(set(numbers)) == len(numbers) and set(numbers) == {*range(1, 12)}


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_each_tells_a_story_and_keeps_its_outputs(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) > len(code) / 2
    assert all(output.output_type != "error" and output.get("name") != "stderr" for cell in code for output in cell.outputs)
    assert notebook.cells[0].source.startswith(f"# {number_of(path)}. ")
    assert notebook.cells[-1].cell_type == "markdown" and len(notebook.cells[-1].source) > 200  # what was found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_each_runs(path):
    notebook = nbformat.read(path, 4)
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=1500, kernel_name="python3", resources=resources).execute()
