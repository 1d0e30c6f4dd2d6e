"""`cryotx pick`, `convert` and `evaluate` on broken files: one clear line, the exit code, nothing written outside."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.coordinates.formats import read_particles
from hostile.odd_files import CSV_FILES, JPG_FILES, MRC_FILES, PNG_FILES, STAR_FILES, TIFF_FILES, trapped_cs
from hostile.valid_files import MICROGRAPHS, TABLES, mrc_bytes


def cryotx(folder, *arguments):
    command = [sys.executable, "-m", "cryotx_cli", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert "Traceback" not in done.stderr
    return done


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def noise(side=160):
    return np.random.default_rng(4).normal(20, 5, (side, side)).astype("f4")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.star", STAR_FILES["no y"][0], "no table with _rlnCoordinateX"),
        pytest.param("in.star", STAR_FILES["open quotes"][0], "quotation mark in line 7", marks=pytest.mark.slow),
        pytest.param(
            "in.csv", CSV_FILES["semicolons and decimal commas"][0], "line 2 has '812,25'", marks=pytest.mark.slow
        ),
        pytest.param("in.cs", "trap", "holds Python objects", marks=pytest.mark.slow),
    ],
    ids=["no y", "open quotes", "semicolons", "objects"],
)
def test_convert_says_what_is_wrong_in_one_line(tmp_path, name, content, said):
    sprung = tmp_path / "sprung"
    (tmp_path / name).write_bytes(trapped_cs(sprung, structured=True) if content == "trap" else content)

    done = cryotx(tmp_path, "convert", name, "out.txt")

    error, *hint = done.stderr.splitlines()
    assert done.returncode == 1
    assert error.startswith(f"Error: {name}: ")
    assert said in error
    assert len(hint) <= 1
    assert tree(tmp_path) == {name}


def test_convert_writes_nothing_outside_its_folder(tmp_path):
    inside = tmp_path / "a/b/project"
    inside.mkdir(parents=True)
    (inside / "in.star").write_bytes(STAR_FILES["paths that lead out"][0])

    done = cryotx(inside, "convert", "in.star", "out", "--to", "csv")

    assert done.returncode == 0, done.stderr
    assert all(path.startswith("a/b/project/") or path in ("a", "a/b", "a/b/project") for path in tree(tmp_path))
    assert sorted(map(len, read_particles(inside / "out").values())) == [1, 1]


@pytest.mark.slow
def test_evaluate_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / "picks.star").write_bytes(TABLES["a.star"])
    (tmp_path / "truth.box").write_bytes(b"1 2 -10 -10\n")

    done = cryotx(tmp_path, "evaluate", "picks.star", "truth.box", "--diameter", "40", "--pixel-size", "1")

    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("Error: truth.box: line 1 is '1 2 -10 -10'")


@pytest.mark.slow
def test_pick_names_every_broken_file_and_picks_the_whole_one(tmp_path):
    broken = {
        f"broken_{suffix[1:]}_{number}{suffix}": content
        for suffix, files in ((".mrc", MRC_FILES), (".tif", TIFF_FILES), (".png", PNG_FILES), (".jpg", JPG_FILES))
        for number, (content, expected) in enumerate(files.values())
        if isinstance(expected, str) and expected != "read"
    }
    (tmp_path / "mics").mkdir()
    for name, content in {**broken, "whole.mrc": mrc_bytes(noise())}.items():
        (tmp_path / "mics" / name).write_bytes(content)
    os.mkfifo(tmp_path / "mics/pipe.mrc")

    settings = ("--pixel-size", 1.5, "--diameter", 60, "--no-images", "--no-report", "--device", "cpu")
    done = cryotx(tmp_path, "pick", "mics", "--out", "out/p.star", *settings)

    assert done.returncode == 3, done.stderr
    assert len(broken) > 60
    assert [name for name in (*broken, "pipe.mrc") if name not in done.stderr] == []
    assert [path.name for path in (tmp_path / "out/p/relion").rglob("*_autopick.star")] == ["whole_autopick.star"]
    assert all(path.startswith(("mics", "out")) for path in tree(tmp_path))


@pytest.mark.slow
def test_pick_writes_nothing_outside_its_folder(tmp_path):
    project, outside = tmp_path / "a/project", tmp_path / "outside"
    for folder in (project, outside):
        folder.mkdir(parents=True)
        (folder / "m.mrc").write_bytes(mrc_bytes(noise()))
    listed = MICROGRAPHS.replace("mics/a.mrc", f"../../outside/m.mrc 1 1\n{Path(project, 'm.mrc')}")
    (project / "micrographs.star").write_text(listed)

    settings = ("--diameter", 60, "--no-images", "--no-report", "--device", "cpu")
    done = cryotx(project, "pick", "micrographs.star", "--out", "out/p.star", *settings)

    assert done.returncode == 3, done.stderr  # mics/b c.mrc is not there
    assert "mics/b c.mrc" in done.stderr
    assert tree(outside) == {"m.mrc"}
    assert {path.split("/")[0] for path in tree(project)} == {"m.mrc", "micrographs.star", "out"}
    assert len(list((project / "out/p/relion").rglob("*m_autopick.star"))) == 2
