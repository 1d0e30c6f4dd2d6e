"""A run read back from its folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.runs.candidates import Candidates, write_candidates
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.settled import settle
from cryotx_cli.runs.stored import file_of_picks, read_run, run_of_picks


@pytest.fixture
def star(tmp_path: Path) -> Path:
    """A run of three micrographs in the order b, a, c; c was skipped, and the candidates of a are lost."""
    folder = PickFolder(tmp_path / "p.star")
    settled = settle(PickConfig(diameter=40.0, threshold=0.5), lambda: 0.0, lambda diameter: False)
    settled.save(folder.config)
    rows = [
        LedgerRow(1, "a.mrc", "/data/a.mrc", "a", "key", picks=1),
        LedgerRow(0, "b.mrc", "/data/b.mrc", "b", "key", picks=1),
        LedgerRow(2, "c.mrc", "/data/c.mrc", "c", "key", error="c.mrc: truncated"),
    ]
    folder.ledger.start(rows)
    # 40 Å at 2 Å/px: centres closer than 10 px are one particle; the last one lies outside the image.
    found = Particles(np.array([[20, 20], [25, 20], [60, 20], [99, 20]]), [0.9, 0.8, 0.3, 0.7], np.full(4, 20.0), 2.0)
    folder.outputs("b").candidates.parent.mkdir()
    write_candidates(folder.outputs("b").candidates, Candidates(found, 48, 64), "its key")
    (tmp_path / "p.star").touch()
    return tmp_path / "p.star"


@pytest.mark.parametrize("named", ["p.star", "p"])
def test_a_run_is_named_by_its_file_or_by_its_folder(star: Path, named: str) -> None:
    run = read_run(star.with_name(named))
    assert run.folder.star == star
    assert run.settled.diameter == 40.0
    assert list(run.rows) == ["b.mrc", "a.mrc", "c.mrc"]
    assert [row.micrograph for row in run.picked] == ["b.mrc", "a.mrc"]
    assert [row.micrograph for row in run.skipped] == ["c.mrc"]
    assert file_of_picks(star.with_name(named)) == star


def test_a_folder_that_holds_a_run_and_nothing_else_stands_for_it(star: Path) -> None:
    assert file_of_picks(star.parent) == star
    (star.parent / "more").mkdir()
    assert file_of_picks(star.parent) == star.parent
    (star.parent / "more").rmdir()
    (star.parent / "more.star").touch()
    assert file_of_picks(star.parent) == star.parent


def test_candidates_come_with_their_key_and_as_a_threshold_chooses_among_them(star: Path) -> None:
    run = read_run(star)
    key, candidates = run.candidates(run.rows["b.mrc"])
    assert (key, len(candidates.particles)) == ("its key", 4)
    available, whole = run.available(run.rows["b.mrc"])
    assert available.scores.tolist() == [0.9, 0.3]
    assert (whole.height, whole.width) == (48, 64)
    for lost in ("a.mrc", "c.mrc"):
        assert run.candidates(run.rows[lost]) is None
        assert run.available(run.rows[lost]) is None


def test_picks_of_other_programs_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other.star").touch()
    for path in (tmp_path / "other", tmp_path / "other.star", tmp_path / "nowhere"):
        assert run_of_picks(path) is None
        assert file_of_picks(path) == path
        with pytest.raises(CryotxError, match="not a run of cryotx pick"):
            read_run(path)


def test_a_line_of_another_version_is_left_out(star: Path) -> None:
    ledger = star.with_suffix("") / "ledger.jsonl"
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join([*lines[:2], json.dumps({"index": 3, "name": "d.mrc"}), lines[2][:-9]]))
    assert list(read_run(star).rows) == ["b.mrc", "a.mrc"]
