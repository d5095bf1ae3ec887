"""The notebooks of docs/notebooks/, run from start to end at small size."""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SMALLER = {"parameters": "epochs = 1"}


def cells_of(file):
    return json.loads(file.read_text("utf-8"))["cells"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_kept_without_results_and_its_links_lead_somewhere(file):
    cells = cells_of(file)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert "https://colab.research.google.com/" in texts[0]
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", "".join(texts)):
        assert "://" in target or (file.parent / target).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    book = nbformat.read(file, as_version=4)
    for cell in book.cells:
        for tag in cell.metadata.get("tags", ()):
            cell.source = SMALLER.get(tag, cell.source)
    os.makedirs(tmp_path / "work")
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path / "work")}}).execute()
    printed = "".join(output.get("text", "") for cell in book.cells for output in cell.get("outputs", ()))
    assert "%" in printed
