"""The notebook in the documentation runs, and does what it says."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"


def code_cells() -> list[Any]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_it_runs_and_what_it_picks_agrees_with_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib comes with the extra 'docs'")
    matplotlib.use("Agg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {}

    for cell in code_cells():
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, cell {cell['id']}", "exec"), names)

    assert len(names["particles"]) == names["result"].counts.picks > 50
    assert names["result"].counts.f1 > 0.8
    assert len(names["ax"].patches) == len(names["particles"])
    assert len(names["everything"]) > len(names["particles"])
    (found,) = names["by_name"].values()
    assert found.to_structured().tolist() == names["particles"].to_structured().tolist()
    names["plt"].close("all")


def test_it_is_kept_without_what_a_run_leaves_in_it() -> None:
    assert code_cells()
    for cell in code_cells():
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
