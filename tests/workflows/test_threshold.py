"""Choosing the picks of a run anew: the same files as picking with those settings, without network or torch."""

import json
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig, ThresholdConfig, load_config, save_config
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.cryosparc import read_cs
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import ConfigError, CryotxError, ParticleFileError
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from quick_picker import PickerWithoutNetwork

CONFIG = PickConfig(diameter=60.0, threshold=0.5, no_classes=True)


class StubPicker(PickerWithoutNetwork):
    """Thirty candidates that depend on the pixels alone."""

    fingerprint = "stub"

    def __init__(self):
        self.seen = []

    def locate(self, prepared, micrograph):
        self.seen.append(micrograph.source.name)
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        centres = rng.uniform((0, 0), prepared.shape[::-1], (30, 2))
        return Located(Particles(centres, rng.uniform(0, 1, 30), np.full(30, 30.0), micrograph.pixel_size))

    def estimate_diameter(self, micrographs):
        return 60.0


def write_mrc(path, seed=0, shape=(96, 128)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))
        mrc.voxel_size = 2.0


@pytest.fixture
def mics(tmp_path):
    for seed, name in enumerate(["m10.mrc", "m2.mrc", "sub/m3 x.mrc"]):
        write_mrc(tmp_path / "mics" / name, seed)
    return tmp_path / "mics"


def pick(mics, out, config=CONFIG, picker=None):
    run = start_pick([mics], out, config, picker or StubPicker())
    return list(run), run


def choose(run, **settings):
    done = threshold(run, ThresholdConfig(**settings))
    return list(done), done


def contents(folder):
    """Bytes of every result but times, without the name of the folder."""
    found = {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for path in folder.rglob("*")
        if path.is_file()
    }
    rows = [json.loads(line) for line in found.pop("p/ledger.jsonl").decode().splitlines()]
    rows = [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in rows]
    return found, sorted(rows, key=lambda row: row["index"])


CHANGES = [
    {"threshold": 0.8},
    {"threshold": "auto"},
    {"percentile": 40.0},
    {"expected_count": 3},
    {"max_per_micrograph": 2},
    {"expected_count": 5, "max_per_micrograph": 2},
    {"min_distance": 90.0, "edge": 20.0},
    {"threshold": 0.1, "formats": ("cbox", "csv", "eman", "topaz")},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_files_are_those_of_picking_with_these_settings(mics, tmp_path, change):
    pick(mics, tmp_path / "one/p.star")
    redrawn, done = choose(tmp_path / "one/p.star", **change)
    assert [picture.error for picture in redrawn] == [None] * 3
    wanted = {"threshold": "auto"} if change.keys() & {"percentile", "expected_count"} else {}
    wanted |= {"boxes": False} if "formats" in change else {}
    results, _ = pick(mics, tmp_path / "two/p.star", replace(CONFIG, **wanted, **change))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert done.after == sum(len(result.particles) for result in results)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_stricter_cut_drops_picks_and_says_so(mics, tmp_path):
    results, _ = pick(mics, tmp_path / "p.star")
    _, done = choose(tmp_path / "p.star", threshold=0.9)
    picks = read_particles_star(tmp_path / "p.star")
    assert (done.micrographs, done.before) == (3, sum(len(result.particles) for result in results))
    assert done.after == sum(map(len, picks.values())) < done.before
    assert all((one.scores >= 0.9).all() for one in picks.values())
    for result in results:
        best = result.particles.above(0.9)
        assert len(read_particles(tmp_path / "p/relion/autopick.star")[result.file.name]) == len(best)
    _, done = choose(tmp_path / "p.star", threshold=0.5)
    assert done.after == sum(len(result.particles) for result in results)


def test_what_is_not_given_stays(mics, tmp_path):
    pick(mics, tmp_path / "p.star", replace(CONFIG, edge=20.0, formats=("csv",), images=False))
    choose(tmp_path / "p", expected_count=4)
    assert load_config(PickConfig, tmp_path / "p/config.toml") == replace(
        CONFIG, threshold="auto", expected_count=4, edge=20.0, formats=("csv",), images=False, contrast="dark"
    )
    choose(tmp_path / "p", edge=0.0)
    assert load_config(PickConfig, tmp_path / "p/config.toml").expected_count == 4


def test_picking_again_takes_the_new_picks_for_its_own(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    choose(tmp_path / "p.star", threshold=0.8)
    picker = StubPicker()
    _, run = pick(mics, tmp_path / "p.star", replace(CONFIG, threshold=0.8), picker)
    assert run.summary.resumed == 3
    _, run = pick(mics, tmp_path / "p.star", CONFIG, picker)
    assert run.summary.resumed == 0
    assert picker.seen == []  # the stored candidates suffice
    pick(mics, tmp_path / "fresh/p.star")
    assert (tmp_path / "p.star").read_bytes() == (tmp_path / "fresh/p.star").read_bytes()


def _exposures(path, names, shape, pixel_size=0.0):
    rows = np.zeros(
        len(names),
        [
            ("uid", "u8"),
            ("micrograph_blob/path", "S9"),
            ("micrograph_blob/shape", "u4", 2),
            ("micrograph_blob/psize_A", "f4"),
        ],
    )
    rows["micrograph_blob/path"], rows["micrograph_blob/shape"] = names, shape
    rows["micrograph_blob/psize_A"] = pixel_size
    with path.open("wb") as file:
        np.save(file, rows)
    return path


def test_exposures_in_other_pixels_are_told_and_other_images_refused_before_anything_changes(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    written = {path: path.read_bytes() for path in (tmp_path / "p").rglob("*.*")}
    cropped = _exposures(tmp_path / "e.cs", [b"m2.mrc"], (96, 64))
    with pytest.raises(ParticleFileError, match="the exposure has 64 x 96 px"):
        choose(tmp_path / "p", exposures=cropped)
    assert {path: path.read_bytes() for path in (tmp_path / "p").rglob("*.*")} == written
    twice = _exposures(tmp_path / "e.cs", [b"m2.mrc"], (192, 256))
    _, done = choose(tmp_path / "p", exposures=twice)
    assert any("Picks in particles.cs are rescaled by 2" in event.text for event in done.events)
    here = read_particles_star(tmp_path / "p.star")[str(mics / "m2.mrc")]
    (there,) = read_cs(tmp_path / "p/cryosparc/particles.cs").values()
    assert np.allclose(there.centres, 2 * here.centres + 0.5, atol=0.01)


def test_exposures_add_a_cs_file_and_formats_leave_no_old_ones(mics, tmp_path):
    _exposures(tmp_path / "e.cs", [b"J1/m2.mrc", b"m10.mrc"], (96, 128))
    pick(mics, tmp_path / "p.star")
    _, done = choose(tmp_path / "p", exposures=tmp_path / "e.cs", formats=("topaz",))
    picks = read_particles_star(tmp_path / "p.star")
    in_cs = read_cs(tmp_path / "p/cryosparc/particles.cs")
    assert {name: len(one) for name, one in in_cs.items()} == {
        "m10.mrc": len(picks[str(mics / "m10.mrc")]),
        "J1/m2.mrc": len(picks[str(mics / "m2.mrc")]),
    }
    assert [str(event) for event in done.events] == ["1 not among the exposures, left out of particles.cs."]
    assert len(read_particles(tmp_path / "p/topaz/particles.txt")) == 3
    assert [path for kind in ("relion", "box") for path in (tmp_path / "p" / kind).rglob("*.*")] == []


def test_pictures_are_redrawn_only_where_the_micrographs_still_are(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    old = {path.name: path.read_bytes() for path in (tmp_path / "p/png").rglob("*.png")}
    (mics / "m10.mrc").unlink()
    write_mrc(mics / "m2.mrc", shape=(64, 64))
    redrawn, _ = choose(tmp_path / "p.star", threshold=0.9)
    errors = {Path(picture.micrograph).name: picture.error for picture in redrawn}
    assert "m10.mrc" in errors["m10.mrc"]
    assert "has changed" in errors["m2.mrc"]
    assert errors["m3 x.mrc"] is None
    (left,) = (tmp_path / "p/png").rglob("*.png")
    assert left.name == "m3 x.png"
    assert left.read_bytes() != old["m3 x.png"]
    assert len(read_particles_star(tmp_path / "p.star")) == 3


def test_a_picture_is_not_drawn_of_another_micrograph_of_the_same_size(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    content = (mics / "sub/m3 x.mrc").read_bytes()
    (mics / "m2.mrc").write_bytes(content)
    shutil.copyfile(mics / "m10.mrc", tmp_path / "copy")
    (mics / "m10.mrc").unlink()
    shutil.copyfile(tmp_path / "copy", mics / "m10.mrc")
    redrawn, _ = choose(tmp_path / "p.star", threshold=0.9)
    errors = {Path(picture.micrograph).name: picture.error for picture in redrawn}
    assert "has changed" in errors.pop("m2.mrc")
    assert set(errors.values()) == {None}


def test_without_pictures_the_old_ones_go(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    redrawn, done = choose(tmp_path / "p.star", threshold=0.9, images=False)
    assert redrawn == []
    assert "Pictures are left out" in str(next(iter(done.events)))
    assert not list((tmp_path / "p/png").rglob("*.png"))
    pick(mics, tmp_path / "p.star", replace(CONFIG, threshold=0.9))
    assert len(list((tmp_path / "p/png").rglob("*.png"))) == 3


def test_skipped_micrographs_stay_skipped(mics, tmp_path):
    (mics / "bad.mrc").write_text("no image")
    pick(mics, tmp_path / "p.star")
    _, done = choose(tmp_path / "p.star", threshold=0.9)
    rows = [json.loads(line) for line in (tmp_path / "p/ledger.jsonl").read_text().splitlines()]
    assert [row["error"] is None for row in rows] == [True, True, True, False]
    assert done.micrographs == 3


def test_a_run_stopped_half_way_keeps_what_it_has(mics, tmp_path):
    class Stopped(StubPicker):
        def locate(self, prepared, micrograph):
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().locate(prepared, micrograph)

    with pytest.raises(KeyboardInterrupt):
        pick(mics, tmp_path / "p.star", picker=Stopped())
    _, done = choose(tmp_path / "p.star", threshold=0.9)
    assert done.micrographs == 2
    _, run = pick(mics, tmp_path / "p.star", replace(CONFIG, threshold=0.9))
    assert (run.summary.resumed, run.summary.micrographs) == (2, 3)


def test_a_kill_half_way_loses_nothing(mics, tmp_path, monkeypatch):
    from cryotx_cli.workflows import threshold as workflow

    pick(mics, tmp_path / "one/p.star")
    write, calls = workflow.write_coordinates, []

    def killed(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(workflow, "write_coordinates", killed)
    with pytest.raises(KeyboardInterrupt):
        threshold(tmp_path / "one/p.star", ThresholdConfig(threshold=0.9))
    monkeypatch.undo()
    shutil.copytree(tmp_path / "one", tmp_path / "again")
    # Whichever command comes next, the old picks are taken for nobody's.
    picker = StubPicker()
    _, run = pick(mics, tmp_path / "one/p.star", CONFIG, picker)
    assert (run.summary.resumed, picker.seen) == (0, [])
    pick(mics, tmp_path / "fresh/p.star")
    assert contents(tmp_path / "one") == contents(tmp_path / "fresh")
    choose(tmp_path / "again/p.star", threshold=0.9)
    pick(mics, tmp_path / "fresh9/p.star", replace(CONFIG, threshold=0.9))
    assert contents(tmp_path / "again") == contents(tmp_path / "fresh9")


def test_a_run_may_be_named_by_folder_or_star_file_and_moved(mics, tmp_path):
    pick(mics, tmp_path / "my.run.star")
    assert choose(tmp_path / "my.run.star", threshold=0.9)[1].star == tmp_path / "my.run.star"
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "my.run", tmp_path / "moved/other")
    _, done = choose(tmp_path / "moved/other", threshold=0.5)
    assert done.star == tmp_path / "moved/other.star"
    assert len(read_particles_star(done.star)) == 3


def test_what_is_no_run_is_refused(mics, tmp_path):
    for run in ("nowhere", "nowhere.star", "mics"):
        with pytest.raises(CryotxError, match="not a run of cryotx pick"):
            threshold(tmp_path / run, ThresholdConfig())
    pick(mics, tmp_path / "p.star")
    before = contents(tmp_path)
    candidates = tmp_path / "p/candidates/m2.csv"
    whole = candidates.read_bytes()
    candidates.write_text("cut off")
    with pytest.raises(CryotxError, match=r"m2\.csv: the candidates of .*m2\.mrc are missing"):
        threshold(tmp_path / "p.star", ThresholdConfig(threshold=0.9))
    candidates.write_bytes(whole)
    assert contents(tmp_path) == before
    (tmp_path / "p/ledger.jsonl").write_text("")
    with pytest.raises(CryotxError, match="no micrograph of this run is finished"):
        threshold(tmp_path / "p.star", ThresholdConfig())


def test_a_ledger_cannot_lead_out_of_the_folder(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    ledger = tmp_path / "p/ledger.jsonl"
    for stem in ("../../escaped", "/escaped", ""):
        rows = [json.loads(line) | {"stem": stem} for line in ledger.read_text().splitlines()]
        ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(CryotxError, match="not the name of an output of this run"):
            threshold(tmp_path / "p.star", ThresholdConfig(threshold=0.9))


def test_picks_of_the_original_program_cannot_be_cut_by_probability(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    save_config(PickConfig(diameter=60.0, selection="legacy"), tmp_path / "p/config.toml")
    with pytest.raises(ConfigError, match="as the original program does"):
        threshold(tmp_path / "p.star", ThresholdConfig(threshold=0.5))


def test_it_runs_without_torch(mics, tmp_path):
    pick(mics, tmp_path / "p.star")
    script = (
        "import sys\nfrom cryotx_cli.config import ThresholdConfig\n"
        "from cryotx_cli.workflows.threshold import threshold\n"
        f"list(threshold({str(tmp_path / 'p.star')!r}, ThresholdConfig(threshold=0.9)))\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
