"""Averages of the picks at the end of a run and while a session goes on; whatever becomes of them, the picks stay."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.averages import kept_crops, of_run
from cryotx_cli.averages.choice import read_classes
from cryotx_cli.averages.classes import Class, Classes
from cryotx_cli.config import ClassesConfig, PickConfig, ThresholdConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.picking import class_averages, overview
from cryotx_cli.runs import arrivals
from cryotx_cli.workflows import pick as workflow
from cryotx_cli.workflows.classes import classes
from cryotx_cli.workflows.pick import PickRun, start_pick
from cryotx_cli.workflows.threshold import threshold
from quick_picker import QuickPicker

CONFIG = PickConfig(diameter=40.0, threshold=0.3, decoys=0, images=False)


def micrographs(folder: Path, count: int = 3, first: int = 0) -> Path:
    """Noise; `QuickPicker` finds 30 candidates in each, some 20 of which are picks."""
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        with mrcfile.new(folder / f"m{number}.mrc", overwrite=True) as mrc:
            mrc.set_data(np.random.default_rng(number).normal(size=(300, 320)).astype(np.float32))
            mrc.voxel_size = 2.0
    return folder


def pick(folder: Path, config: PickConfig = CONFIG, picker: QuickPicker | None = None) -> tuple[PickRun, list[str]]:
    told: list[str] = []
    run = start_pick(
        [folder / "mics"], folder / "p.star", config, picker or QuickPicker(), lambda e: told.append(e.text)
    )
    list(run)
    return run, told


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def no_averaging(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ClassesConfig, int | None]]:
    """In place of sorting picks into classes, which takes seconds: every second pick is in each of two."""
    calls = []

    def sorted_into_classes(crops, trains, rings, classes, seed, device, scores, whole):
        image, curve = np.zeros((64, 64)), np.zeros(32)
        found = [Class(image, curve, 1.0, 10, (9, 11)), Class(image, curve, 0.1, None)]
        numbers, zeros = np.arange(len(crops)) % 2, np.zeros(len(crops))
        return Classes(found, numbers, zeros, np.zeros((len(crops), 2)), zeros, 0.5, np.zeros(32), 28)

    def average_run(run, config, exposures, tell=lambda _: None, read=lambda: None, most=None):
        calls.append((sum(row.picks for row in run.picked), config, most))
        return real(run, config, exposures, tell, read, most)

    real = of_run.average_run
    monkeypatch.setattr(of_run, "sorted_into_classes", sorted_into_classes)
    monkeypatch.setattr(class_averages, "average_run", average_run)
    return calls


@pytest.fixture
def run(tmp_path: Path, no_averaging: list) -> Path:
    """A finished run."""
    micrographs(tmp_path / "mics")
    run, told = pick(tmp_path)
    assert run.summary.classes == "1 of 2 are more than noise; 1 of too few picks to tell"
    counts = run.summary.class_counts
    assert (counts.made, counts.more_than_noise, counts.too_few, counts.resolution) == (2, 1, 1, None)
    assert counts.picks == run.summary.particles
    assert told[-1].startswith("Averaging the picks in classes. All else is written: Ctrl-C")
    no_averaging.clear()
    return tmp_path


@pytest.mark.slow
def test_noise_is_called_noise_and_without_micrographs_the_classes_are_the_same(tmp_path: Path) -> None:
    micrographs(tmp_path / "mics")
    run, _ = pick(tmp_path, replace(CONFIG, classes=2))
    assert run.summary.classes == "0 of 2 are more than noise; 2 of too few picks to tell"
    before = bytes_of(tmp_path / "p" / "classes")
    shutil.rmtree(tmp_path / "p" / "classes")
    shutil.rmtree(tmp_path / "mics")

    classes(tmp_path / "p", ClassesConfig(classes=2, sample=2000))

    assert bytes_of(tmp_path / "p" / "classes") == before


def test_a_run_with_a_report_has_classes_of_all_its_picks(run: Path) -> None:
    stored, picks = read_classes(run / "p"), read_particles_star(run / "p.star")

    assert len(stored.rows) == 2
    assert sum(map(len, stored.numbers.values())) == sum(map(len, picks.values())) > 30
    about = json.loads((run / "p" / "classes" / "classes.json").read_text())
    assert (about["micrographs"], about["micrographs_with_phases_flipped"], about["seed"]) == (3, 0, 1)


def test_a_run_that_finds_nothing_says_so_and_nothing_of_averages(tmp_path: Path, no_averaging: list) -> None:
    micrographs(tmp_path / "mics")
    _, told = pick(tmp_path, replace(CONFIG, threshold=1.0))

    assert not any(map(len, read_particles_star(tmp_path / "p.star").values()))
    assert not no_averaging
    assert not [text for text in told if "averag" in text]


@pytest.mark.parametrize("without", [{"no_classes": True}, {"report": False}])
def test_without_them_or_without_a_report_nothing_is_averaged(
    tmp_path: Path, no_averaging: list, without: dict
) -> None:
    micrographs(tmp_path / "mics")

    run, told = pick(tmp_path, replace(CONFIG, **without))

    assert not no_averaging
    assert run.summary.classes is None
    assert not (tmp_path / "p" / "crops").exists()
    assert not any("verag" in line for line in told)


def test_a_micrograph_for_whose_crops_there_is_no_room_is_picked(
    tmp_path: Path, no_averaging: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a disk that is nearly full has room for is the picks: they are written before the crops."""
    there = []

    @contextmanager
    def full(path: Path) -> Iterator[None]:
        there.append(
            {part for part in ("candidates", "relion", "box") if [*(tmp_path / "p" / part).rglob(f"{path.stem}*")]}
        )
        raise OSError(28, "No space left on device", str(path))
        yield

    micrographs(tmp_path / "mics")
    monkeypatch.setattr(kept_crops, "whole_binary_file", full)

    run, _ = pick(tmp_path)

    assert not run.summary.skipped
    assert run.summary.classes is not None
    assert there[:3] == [{"candidates", "relion", "box"}] * 3


def test_a_finished_run_is_not_averaged_again_and_one_that_has_grown_is(run: Path, no_averaging: list) -> None:
    again, _ = pick(run)
    assert not no_averaging
    assert again.summary.classes == "1 of 2 are more than noise; 1 of too few picks to tell"

    pick(run, replace(CONFIG, classes=3))
    micrographs(run / "mics", 1, first=3)
    pick(run, replace(CONFIG, classes=3))
    assert [config.classes for _, config, _ in no_averaging] == [3, 3]
    assert no_averaging[1][0] > no_averaging[0][0]


def test_phases_are_flipped_where_the_star_file_knows_the_defocus(
    tmp_path: Path, no_averaging: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    micrographs(tmp_path / "mics")
    columns = ("MicrographName", "OpticsGroup", "DefocusU", "DefocusV", "DefocusAngle")
    of_optics = ("OpticsGroup", "Voltage", "SphericalAberration", "AmplitudeContrast")
    optics, header = (
        f"data_{block}\nloop_\n" + "".join(f"_rln{column}\n" for column in names)
        for block, names in (("optics", of_optics), ("micrographs", columns))
    )
    rows = "mics/m0.mrc 1 15000 14000 20\nmics/m1.mrc 1 nan nan nan\nmics/m2.mrc 1 9000 9000 0\n"
    Path("m.star").write_text(f"{optics}1 300 2.7 0.1\n\n{header}{rows}")

    list(start_pick(["m.star"], "p.star", CONFIG, QuickPicker()))

    about = json.loads(Path("p/classes/classes.json").read_text())
    assert (about["micrographs"], about["micrographs_with_phases_flipped"]) == (3, 2)
    lines = [json.loads(line) for line in Path("p/ledger.jsonl").read_text().splitlines()]
    assert [line["ctf"] and line["ctf"]["defocus_v"] for line in lines] == [14000, None, 9000]
    no_averaging.clear()
    list(start_pick(["mics"], "p.star", CONFIG, QuickPicker()))  # the defocus is known no more
    assert len(no_averaging) == 1


def test_cryosparc_gets_classes_where_its_exposures_are_known(
    tmp_path: Path, no_averaging: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    micrographs(tmp_path / "mics", 2)
    fields = {
        "uid": ("<u8", [5, 6]), "micrograph_blob/path": ("S16", [b"mics/m0.mrc", b"mics/m1.mrc"]),
        "micrograph_blob/shape": ("2<u4", [(300, 320)] * 2), "micrograph_blob/psize_A": ("<f4", [2.0, 2.0]),
    }  # fmt: skip
    rows = np.zeros(2, [(name, kind) for name, (kind, _) in fields.items()])
    for name, (_, values) in fields.items():
        rows[name] = values
    with Path("e.cs").open("wb") as file:
        np.save(file, rows)

    list(start_pick(["e.cs"], "p.star", CONFIG, QuickPicker()))

    found = np.load("p/classes/particles.cs")
    assert set(found["location/micrograph_uid"].tolist()) == {5, 6}
    assert set(found["alignments2D/class"].tolist()) == {0, 1}
    assert sorted(found["uid"]) == sorted(np.load("p/cryosparc/particles.cs")["uid"])


def test_averages_are_never_picked_from(run: Path) -> None:
    (run / "p").rename(run / "mics" / "p")
    (run / "p.star").rename(run / "mics" / "p.star")

    again = start_pick([run / "mics"], run / "mics" / "p.star", CONFIG, QuickPicker())

    assert len(again) == 3
    list(again)


def test_averages_of_a_changed_threshold_need_no_micrograph_that_had_them(run: Path, no_averaging: list) -> None:
    for crops in (run / "p" / "crops").iterdir():
        os.utime(crops, (1, 1))

    pick(run, replace(CONFIG, threshold=0.5))
    assert [crops.stat().st_mtime for crops in (run / "p" / "crops").iterdir()] == [1, 1, 1]
    pick(run, replace(CONFIG, threshold=0.1))
    assert [crops.stat().st_mtime > 1 for crops in (run / "p" / "crops").iterdir()] == [True] * 3
    assert len(no_averaging) == 2


def test_too_few_picks_are_one_line(tmp_path: Path) -> None:
    micrographs(tmp_path / "mics", 1)

    run, told = pick(tmp_path)

    assert run.summary.classes is None
    assert len([line for line in told if "averag" in line]) == 1
    assert told[-1].startswith("No class averages: ")
    assert "too few" in told[-1]
    assert not (tmp_path / "p" / "classes").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "Interrupted while the picks were averaged: the run is whole but for that, which cryotx"),
        (ValueError("of a bug\nwith lines"), "No class averages (ValueError: of a bug); the picks are whole."),
        (MemoryError(), "No class averages (MemoryError: ); the picks are whole."),
    ],
)
def test_whatever_happens_to_averages_the_run_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    micrographs(tmp_path / "mics")

    def fails(*_: object, **__: object) -> None:
        assert (tmp_path / "p.star").exists()
        assert (tmp_path / "p" / "report.html").exists()
        raise error

    monkeypatch.setattr(class_averages, "average_run", fails)

    run, told = pick(tmp_path)

    assert run.summary.micrographs == 3
    assert run.summary.classes is None
    assert told[-1].startswith(said)
    assert told[-1].count("cryotx classes ") == 1


def test_a_run_that_is_interrupted_is_not_averaged(tmp_path: Path, no_averaging: list) -> None:
    micrographs(tmp_path / "mics")
    started = start_pick([tmp_path / "mics"], tmp_path / "p.star", CONFIG, QuickPicker())

    results = iter(started)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)

    assert not no_averaging


@dataclass
class Slow(QuickPicker):
    seconds: float = 0.05


def test_a_session_is_averaged_now_and_then_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_averaging: list
) -> None:
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)
    monkeypatch.setattr(workflow, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(overview, "_AVERAGE_SECONDS", 0.05)
    micrographs(tmp_path / "mics", 8)

    pick(tmp_path, replace(CONFIG, watch=True, stop_after=0.5), Slow())

    assert [most for _, _, most in no_averaging[:-1]] == [4000] * (len(no_averaging) - 1)
    assert len(no_averaging) > 1
    assert all(picks >= 30 for picks, _, _ in no_averaging)
    # At the end there is nothing to do where all picks were averaged just before it.
    assert no_averaging[-1][0] == sum(map(len, read_particles_star(tmp_path / "p.star").values()))


def test_a_session_goes_on_when_averaging_fails_and_says_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)
    monkeypatch.setattr(workflow, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(overview, "_AVERAGE_SECONDS", 0.0)
    calls = []

    def fails(*_: object, **__: object) -> None:
        calls.append(1)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(class_averages, "average_run", fails)
    micrographs(tmp_path / "mics", 6)

    run, told = pick(tmp_path, replace(CONFIG, watch=True, stop_after=0.5), Slow())

    assert run.summary.micrographs == 6
    assert len(calls) > 2
    assert [line for line in told if "for now" in line] == ["No class averages for now: RuntimeError: out of memory"]


@pytest.mark.slow
def test_processes_of_several_devices_cut_the_crops_of_one(tmp_path: Path, no_averaging: list) -> None:
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        (tmp_path / name).mkdir()
        micrographs(tmp_path / name / "mics")
        pick(tmp_path / name, replace(CONFIG, device=device))

    one, two = (bytes_of(tmp_path / name / "p" / "crops") for name in ("one", "two"))
    assert sorted(one) == ["m0.npz", "m1.npz", "m2.npz"]
    assert {path: len(content) for path, content in one.items()} == {path: len(two[path]) for path in one}
    assert no_averaging[0][1].device == no_averaging[1][1].device == "cpu"


def test_dropping_brings_no_line_and_more_picks_do(run: Path) -> None:
    few = threshold(run / "p.star", ThresholdConfig(drop_classes="1"))
    assert not any("of the picks before" in event.text for event in few.events)

    more = threshold(run / "p.star", ThresholdConfig(drop_classes="none", threshold=0.1))

    (line,) = [event.text for event in more.events if "in no class" in event.text]
    without = more.after - sum(map(len, read_classes(run / "p").numbers.values()))
    assert without > 0
    told = (
        f"Class averages are those of the picks before: {without} of {more.after} picks are in no class. Anew: cryotx"
    )
    assert line.startswith(told)
    fewer = threshold(run / "p.star", ThresholdConfig(threshold=0.6))
    gone = sum(map(len, read_classes(run / "p").numbers.values())) - fewer.after
    assert any(f"before: {gone} in classes are no picks any more. " in event.text for event in fewer.events)
