"""Picking many micrographs with a picker that is quick and deterministic: files, resuming, bad input, interruptions."""

import json
import shutil
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import cv2
import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig, load_config
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.box import read_box
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import ConfigError, CryotxError, DeviceError, MicrographError, ParticleFileError
from cryotx_cli.micrographs.micrograph import read_header
from cryotx_cli.picking import micrograph_work
from cryotx_cli.runs.ledger import Ledger
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork

CONFIG = PickConfig(diameter=60.0, threshold=0.5, no_classes=True)


class StubPicker(PickerWithoutNetwork):
    """Candidates that depend on the pixels alone; counts its calls."""

    fingerprint = "stub"

    def __init__(self, fail_on=(), error=None):
        self.seen = []
        self.fail_on, self.error = fail_on, error

    def locate(self, prepared, micrograph):
        if micrograph.source.name in self.fail_on:
            raise self.error
        self.seen.append(micrograph.source.name)
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        height, width = prepared.shape
        centres = rng.uniform((0, 0), (width, height), (30, 2))
        diameters = 60.0 / micrograph.pixel_size * rng.uniform(0.9, 1.1, 30)
        return Located(Particles(centres, rng.uniform(0, 1, 30), diameters, micrograph.pixel_size))

    def estimate_diameter(self, micrographs):
        return 60.0 + 10 * float(np.mean([micrograph.image.mean() for micrograph in micrographs]))


class FixedPicker(StubPicker):
    """The same candidates on every micrograph."""

    def __init__(self, rows):
        super().__init__()
        self.table = np.array(rows, float)

    def locate(self, prepared, micrograph):
        return Located(
            Particles(self.table[:, :2], self.table[:, 2], np.full(len(self.table), 30.0), micrograph.pixel_size)
        )


def write_mrc(path, seed=0, shape=(96, 128), pixel_size=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))
        mrc.voxel_size = pixel_size
    return path


def folder_of(tmp_path, names=("m1.mrc", "m2.mrc", "m3.mrc")):
    for seed, name in enumerate(names):
        write_mrc(tmp_path / "mics" / name, seed)
    return tmp_path / "mics"


def run(inputs, out, config=CONFIG, picker=None):
    started = start_pick(inputs, out, config, picker or StubPicker())
    return list(started), started


def contents(folder):
    """Bytes of every result but the ledger, which holds times; RELION's list names the folder that it lies in."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for path in folder.rglob("*")
        if path.is_file() and path.name != "ledger.jsonl"
    }


def ledger(out):
    return [json.loads(line) for line in (out.with_suffix("") / "ledger.jsonl").read_text().splitlines()]


# ---- what is written -------------------------------------------------------------------------------------------------


def test_one_run_writes_every_file_of_every_micrograph(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "out" / "particles.star"
    results, started = run([mics], out)
    assert [result.file.path.name for result in results] == ["m1.mrc", "m2.mrc", "m3.mrc"]
    assert len(started) == 3
    merged = read_particles_star(out)
    for result in results:
        assert result.error is None
        stem = result.file.path.stem
        np.testing.assert_allclose(merged[result.file.name].centres, result.particles.centres, atol=1e-3)
        one = read_particles_star(out.parent / f"particles/relion/{stem}_autopick.star")[f"{stem}_autopick"]
        np.testing.assert_allclose(one.scores, result.particles.scores, atol=1e-6)
        boxes = read_box(out.parent / f"particles/box/{stem}.box")
        np.testing.assert_allclose(boxes.centres, result.particles.centres, atol=0.51)
        assert boxes.box_px == 46  # 1.5 x 60 Å / 2 Å = 45 px, made even
        assert cv2.imread(str(out.parent / f"particles/png/{stem}.png")).shape[1] == 128
        candidates = np.loadtxt(out.parent / f"particles/candidates/{stem}.csv", delimiter=",", skiprows=2)
        assert candidates.shape == (30, 4)
    assert load_config(PickConfig, out.parent / "particles/config.toml") == replace(CONFIG, contrast="dark")
    rows = ledger(out)
    assert [row["micrograph"] for row in rows] == [result.file.name for result in results]
    assert [row["picks"] for row in rows] == [len(result.particles) for result in results]
    summary = started.summary
    assert (summary.micrographs, summary.resumed, summary.skipped) == (3, 0, ())
    assert summary.particles == sum(len(particles) for particles in merged.values())
    assert not list(tmp_path.rglob("*.tmp"))


def test_pictures_and_boxes_can_be_left_out(tmp_path):
    out = tmp_path / "p.star"
    run([folder_of(tmp_path)], out, replace(CONFIG, images=False, boxes=False, report=False))
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "candidates",
        "config.toml",
        "ledger.jsonl",
        "relion",
    ]


def exposures_of_b(shape, psize):
    kinds = [("uid", "u8"), ("micrograph_blob/path", "S9"), ("micrograph_blob/shape", "u4", 2)]
    rows = np.zeros(1, [*kinds, ("micrograph_blob/psize_A", "f4")])
    rows[0] = (1, b"J1/b.mrc", shape, psize)
    with Path("e.cs").open("wb") as file:
        np.save(file, rows)
    return Path("e.cs")


def test_exposures_in_other_pixels_than_the_micrographs(tmp_path, monkeypatch):
    folder_of(tmp_path, ["b.mrc"])
    monkeypatch.chdir(tmp_path)
    size = read_header("mics/b.mrc").pixel_size
    config = replace(CONFIG, exposures=exposures_of_b((48, 64), 2 * size), images=False)
    ((result,), started) = run(["mics"], "p.star", config)
    assert any("Picks in particles.cs are rescaled by 0.5" in event.text for event in started.events)
    read = read_particles("p/cryosparc/particles.cs")["J1/b.mrc"]
    assert read.shape == (48, 64)
    np.testing.assert_allclose(read.centres, (result.particles.centres + 0.5) / 2 - 0.5, atol=1e-4)
    with pytest.raises(ParticleFileError, match=r"128 x 96 px.*, and the exposure has 64 x 96 px"):
        run(["mics"], "q.star", replace(config, exposures=exposures_of_b((96, 64), size)))
    assert not Path("q.star").exists()


def test_every_format_that_is_asked_for_in_a_folder_of_its_own(tmp_path, monkeypatch):
    folder_of(tmp_path, ["a 1.mrc", "sub/b.mrc"])
    monkeypatch.chdir(tmp_path)
    exposures = np.zeros(
        2,
        [
            ("uid", "u8"),
            ("micrograph_blob/path", "S9"),
            ("micrograph_blob/shape", "u4", 2),
            ("micrograph_blob/psize_A", "f4"),
        ],
    )
    exposures["micrograph_blob/path"], exposures["micrograph_blob/shape"] = [b"J1/b.mrc", b"c.mrc"], (96, 128)
    with Path("e.cs").open("wb") as file:
        np.save(file, exposures)
    every = ("relion", "box", "cbox", "csv", "eman", "topaz")
    config = replace(CONFIG, formats=every, exposures=Path("e.cs"), images=False)
    results, started = run(["mics"], "p.star", config)
    (said,) = [event.text for event in started.events if "1 not among the exposures" in event.text]
    assert "mics/a 1.mrc" in said
    picks = {result.file.name: result.particles for result in results}
    files = '"p/relion/mics/a 1_autopick.star"', "p/relion/mics/sub/b_autopick.star"
    index = f'\n"mics/a 1.mrc" {files[0]}\nmics/sub/b.mrc {files[1]}\n'
    assert index in Path("p/relion/autopick.star").read_text()
    names = {"relion": "_autopick.star", "box": ".box", "cbox": ".cbox", "csv": ".csv", "eman/info": "_info.json"}
    for folder, ending in names.items():
        read = read_particles(Path("p", folder))
        assert len(read) == 2
        assert Path("p", folder, f"{'mics/' if folder == 'relion' else ''}sub/b{ending}").exists()
        for name, particles in read.items():
            expected = picks[next(pick for pick in picks if name.removesuffix(".mrc") in pick)]
            np.testing.assert_allclose(particles.centres, expected.centres, atol=0.51 if folder == "box" else 1e-3)
    assert set(read_particles("p/topaz/particles.txt")) == {"a 1", "b"}
    assert len(read_particles("p/cryosparc/particles.cs")["J1/b.mrc"]) == len(picks["mics/sub/b.mrc"])
    _, started = run(["mics"], "p.star", config)
    assert started.summary.resumed == 2
    Path("p/cbox/sub/b.cbox").unlink()
    _, started = run(["mics"], "p.star", config)
    assert started.summary.resumed == 1
    run(["mics"], "p.star", replace(config, formats=(), exposures=None, threshold=0.6))
    left = {path.name for path in Path("p").rglob("*") if path.is_file()}
    assert left == {"a 1.csv", "b.csv", "config.toml", "ledger.jsonl", "report.html", "a 1.jpg", "b.jpg"}


def test_what_a_format_cannot_hold_is_said_before_the_work(tmp_path):
    write_mrc(tmp_path / "mics/a/same.mrc", 1)
    write_mrc(tmp_path / "mics/b/same.mrc", 2)
    np.save(tmp_path / "e.npy", np.zeros(1))
    picker = StubPicker()
    for change, reason in (
        ({"formats": ("topaz",)}, r"a/same\.mrc and .*b/same\.mrc"),
        ({"exposures": tmp_path / "nowhere.cs"}, r"nowhere\.cs"),
        ({"exposures": tmp_path / "e.npy"}, "not a table"),
    ):
        with pytest.raises(CryotxError, match=reason):
            start_pick([tmp_path / "mics"], tmp_path / "p.star", replace(CONFIG, **change), picker)
    assert not (tmp_path / "p").exists()
    assert picker.seen == []


def test_no_path_of_a_micrograph_leads_out_of_the_folder(tmp_path, monkeypatch):
    write_mrc(tmp_path / "one/deep/a.mrc", 1)
    write_mrc(tmp_path / "two/b.mrc", 2)
    (tmp_path / "one/deep/here").mkdir()
    monkeypatch.chdir(tmp_path / "one/deep/here")
    run(["../a.mrc", "../../../two/b.mrc", "../here/../../../one/deep/../deep/a.mrc"], "p.star")
    assert sorted(path.name for path in tmp_path.rglob("*.box")) == ["a.box", "b.box"]
    inside = tmp_path / "one/deep/here"
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and inside not in path.parents]
    assert sorted(path.name for path in outside) == ["a.mrc", "b.mrc"]


def test_same_stem_in_two_folders_and_in_one(tmp_path):
    files = [tmp_path / "mics" / name for name in ("a/same.mrc", "b/same.mrc", "b/twin.mrc", "b/twin.mrcs")]
    for number, file in enumerate(files):
        write_mrc(file, number)
    results, _ = run(files, tmp_path / "p.star")
    boxes = sorted(str(path.relative_to(tmp_path / "p/box")) for path in (tmp_path / "p/box").rglob("*.box"))
    assert boxes == ["a/same.box", "b/same.box", "b/twin.mrc.box", "b/twin.mrcs.box"]
    assert [result.error for result in results] == [None] * 4
    assert len(read_particles_star(tmp_path / "p.star")) == 4


def test_a_star_list_keeps_its_names_and_pixel_size_exactly(tmp_path):
    names = ["MotionCorr/job002/mics/20210903_106_a.mrc", "MotionCorr/job002/mics/with space.mrc"]
    for seed, name in enumerate(names):
        write_mrc(tmp_path / name, seed, pixel_size=1.0)  # unknown to the header
    star = tmp_path / "micrographs_ctf.star"
    star.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 3.0\n\n"
        "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n"
        + "".join(f'"{name}" 1\n' for name in names)
    )
    results, _ = run([star], tmp_path / "p.star")
    assert [result.file.name for result in results] == names
    assert list(read_particles_star(tmp_path / "p.star")) == names
    assert {result.particles.pixel_size for result in results} == {3.0}
    assert (tmp_path / "p/box/with space.box").exists()


@pytest.mark.parametrize("name", ["with space.mrc", "Größe_µ_粒子.mrc", "two.dots.mrc"])
def test_odd_names(tmp_path, name):
    results, _ = run([folder_of(tmp_path, [name])], tmp_path / "p.star")
    assert list(read_particles_star(tmp_path / "p.star")) == [results[0].file.name]
    assert (tmp_path / "p/png" / name.replace(".mrc", ".png")).stat().st_size > 1000


def test_a_micrograph_without_picks_is_not_an_error(tmp_path):
    results, started = run([folder_of(tmp_path)], tmp_path / "p.star", replace(CONFIG, threshold=1.0))
    assert [len(result.particles) for result in results] == [0, 0, 0]
    assert started.summary.micrographs == 3
    assert (tmp_path / "p.star").exists()


# ---- how picks are chosen --------------------------------------------------------------------------------------------


def test_threshold_distance_and_edge(tmp_path):
    rows = [
        (60, 40, 0.9),
        (64, 40, 0.8),  # 8 Å from the first: closer than half of 60 Å
        (60, 56, 0.6),  # 32 Å from the first: far enough
        (5, 40, 0.7),  # 11 Å from the border
        (100, 20, 0.2),  # below the threshold
        (130, 40, 0.95),  # outside the image of 128 px
    ]
    picker = FixedPicker(rows)
    mics = folder_of(tmp_path, ["m.mrc"])
    results, started = run([mics], tmp_path / "p.star", CONFIG, picker)
    assert results[0].particles.scores.tolist() == [0.9, 0.7, 0.6]
    assert (started.summary.dropped_at_border, started.summary.dropped_beside_better) == (1, 1)
    results, started = run([mics], tmp_path / "p.star", replace(CONFIG, edge=20.0, min_distance=4.0), picker)
    assert results[0].particles.scores.tolist() == [0.9, 0.8, 0.6]
    assert (started.summary.dropped_at_border, started.summary.dropped_beside_better) == (2, 0)
    results, started = run([mics], tmp_path / "p.star", replace(CONFIG, max_per_micrograph=2), picker)
    assert results[0].particles.scores.tolist() == [0.9, 0.7]
    best_two = replace(CONFIG, threshold="auto", expected_count=2)
    results, _ = run([mics], tmp_path / "p.star", best_two, picker)
    assert results[0].particles.scores.tolist() == [0.9, 0.7]  # two picks, not two minus a duplicate or one outside
    half = replace(CONFIG, threshold="auto", percentile=50.0)
    results, _ = run([mics], tmp_path / "p.star", half, picker)
    assert results[0].particles.scores.tolist() == [0.9, 0.7]


def test_duplicates_do_not_count_when_the_threshold_is_chosen(tmp_path):
    # Expected F1 with the duplicates: 12 x 0.3 more particles to find, and 0.3 would pay (2.7 / 5.5 > 2.4 / 5.5).
    alone, near = [(30, 30, 0.9), (90, 60, 0.3)], [(30.5, 30, 0.3)] * 12
    results, _ = run(
        [folder_of(tmp_path, ["m.mrc"])], tmp_path / "p.star", PickConfig(diameter=60.0), FixedPicker(alone + near)
    )
    assert results[0].particles.scores.tolist() == [0.9]


def test_order_of_the_input_does_not_matter(tmp_path):
    mics = folder_of(tmp_path)
    paths = sorted(mics.iterdir())
    run(paths, tmp_path / "one" / "p.star")
    run(paths[::-1], tmp_path / "two" / "p.star")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert list(read_particles_star(tmp_path / "two" / "p.star")) == [str(path) for path in paths[::-1]]
    for in_order in ("p.star", "p/relion/autopick.star", "p/report.html"):
        del one[in_order], two[in_order]
    assert one == two


def test_automatic_diameter_is_the_same_for_any_order_and_passes_over_bad_files(tmp_path):
    paths = sorted(folder_of(tmp_path, [f"m{i:02}.mrc" for i in range(25)]).iterdir())
    paths[4].write_bytes(b"not a micrograph")
    auto = PickConfig(diameter="auto", threshold=0.5)
    forward = start_pick(paths, tmp_path / "p.star", auto, StubPicker())
    backward = start_pick(paths[::-1], tmp_path / "q.star", auto, StubPicker())
    assert forward.estimate == backward.estimate
    spread_over_the_set = [0, 2, 6, 8, 10, 12, 14, 16, 18, 20]
    alone = [60 + 10 * float(np.random.default_rng(i).normal(0, 1, (96, 128)).mean()) for i in spread_over_the_set]
    assert forward.estimate.tried == 10
    np.testing.assert_allclose(forward.estimate.each, sorted(alone), rtol=1e-5)
    assert forward.diameter == pytest.approx(np.median(alone), rel=1e-6)
    assert load_config(PickConfig, tmp_path / "p" / "config.toml").diameter == forward.diameter


def test_an_estimated_diameter_stays_when_micrographs_are_added(tmp_path):
    mics, auto = folder_of(tmp_path), replace(CONFIG, diameter="auto")
    _, first = run([mics], tmp_path / "p.star", auto)
    write_mrc(mics / "m4.mrc", 4)
    results, again = run([mics], tmp_path / "p.star", auto)
    assert again.diameter == first.diameter
    assert [result.resumed for result in results] == [True, True, True, False]
    _, anew = run([mics], tmp_path / "p.star", replace(auto, restart=True))
    assert anew.diameter != first.diameter
    others = StubPicker()
    others.fingerprint = "other weights"
    _, weights = run([mics], tmp_path / "p.star", auto, others)
    assert weights.estimate.tried == 4


def test_micrographs_that_disagree_about_the_diameter_are_counted(tmp_path, monkeypatch):
    said = iter([100.0, MicrographError("nothing seen"), 110.0, 160.0, 104.0])

    def estimate(self, micrographs):
        one = next(said)
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(StubPicker, "estimate_diameter", estimate)
    mics = folder_of(tmp_path, [f"m{i}.mrc" for i in range(5)])
    run = start_pick([mics], tmp_path / "p.star", replace(CONFIG, diameter="auto"), StubPicker())
    assert run.diameter == 107.0
    assert str(run.estimate) == "3 of 5 agree within 15%, alone they say 100 to 160 Å; 1 shows too little alone"


def test_particles_too_faint_for_one_micrograph_are_looked_for_in_all(tmp_path, monkeypatch):
    def estimate(self, micrographs):
        if len(micrographs) == 1:
            raise MicrographError("nothing seen")
        return 123.0

    monkeypatch.setattr(StubPicker, "estimate_diameter", estimate)
    run = start_pick([folder_of(tmp_path)], tmp_path / "p.star", replace(CONFIG, diameter="auto"), StubPicker())
    assert run.diameter == 123.0


@pytest.mark.parametrize(
    ("given", "confident", "warns"),
    [
        (60.0, 200, False),
        (50.0, 200, False),
        (74.0, 200, False),
        (40.0, 200, True),
        (90.0, 200, True),
        (90.0, 9, False),
    ],
)
def test_a_given_diameter_that_the_particles_do_not_have_is_said(tmp_path, given, confident, warns):
    # Two stray sizes and many of 60 Å; low scores do not count.
    rows = [(5 + i % 100, 5 + i // 100, 0.9 if i < confident else 0.1, 60.0 if i > 1 else 500.0) for i in range(400)]

    class Sized(FixedPicker):
        def locate(self, prepared, micrograph):
            return Located(
                Particles(self.table[:, :2], self.table[:, 2], self.table[:, 3] / 2.0, micrograph.pixel_size)
            )

    config = replace(CONFIG, diameter=float(given), threshold=0.0, min_distance=0.001)
    mics = folder_of(tmp_path, ["m.mrc"])
    for _ in ("anew", "resumed"):
        _, started = run([mics], tmp_path / "p.star", config, Sized(rows))
        warnings = [message for message in map(str, started.events) if "measure about" in message]
        assert len(warnings) == warns
        assert not warns or f"60 Å, not {given:.0f} Å" in warnings[0]
    _, started = run([mics], tmp_path / "q.star", replace(config, diameter="auto"), Sized(rows))
    assert not any("measure about" in message for message in map(str, started.events))


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Data array contains NaN values")
def test_bad_micrographs_are_skipped_with_their_reasons(tmp_path):
    mics = folder_of(tmp_path, ["good1.mrc", "good2.mrc"])
    whole = (mics / "good1.mrc").read_bytes()
    (mics / "truncated.mrc").write_bytes(whole[: len(whole) // 2])
    (mics / "text.mrc").write_text("<Error>AccessDenied</Error>")
    for name, data in {
        "constant.mrc": np.ones((64, 64), np.float32),
        "nan.mrc": np.full((64, 64), np.nan, np.float32),
        "stack.mrc": np.random.default_rng(0).normal(0, 1, (3, 64, 64)).astype(np.float32),
    }.items():
        with mrcfile.new(mics / name) as mrc:
            mrc.set_data(data)
            mrc.voxel_size = 2.0
    out = tmp_path / "p.star"
    results, started = run([mics], out)
    skipped = {result.file.path.name: result.error for result in results if result.error}
    assert sorted(skipped) == ["constant.mrc", "nan.mrc", "stack.mrc", "text.mrc", "truncated.mrc"]
    assert all(name in reason for name, reason in skipped.items())
    assert len(set(skipped.values())) == 5
    assert {result.file.path.name for result in started.summary.skipped} == set(skipped)
    assert [Path(name).name for name in read_particles_star(out)] == ["good1.mrc", "good2.mrc"]
    assert sum(row["error"] is not None for row in ledger(out)) == 5
    assert len(list((tmp_path / "p/box").iterdir())) == 2


def test_a_picker_that_gives_up_on_one_micrograph_does_not_stop_the_others(tmp_path):
    picker = StubPicker(["m2.mrc"], DeviceError("out of memory on m2.mrc", "Use --device cpu."))
    results, _ = run([folder_of(tmp_path)], tmp_path / "p.star", CONFIG, picker)
    assert {result.file.path.name: result.error for result in results} == {
        "m1.mrc": None,
        "m2.mrc": "out of memory on m2.mrc",
        "m3.mrc": None,
    }


def test_a_micrograph_that_vanishes_is_reported(tmp_path):
    mics = folder_of(tmp_path)
    started = start_pick([mics], tmp_path / "p.star", CONFIG, StubPicker())
    (mics / "m2.mrc").unlink()
    errors = {result.file.path.name: result.error for result in started}
    assert "m2.mrc" in errors.pop("m2.mrc")
    assert list(errors.values()) == [None, None]


def test_a_full_disk_is_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    write = micrograph_work.write_annotated_image

    def full_for_m2(path, *args):
        if path.name == "m2.png":
            raise OSError(28, "No space left on device")
        write(path, *args)

    monkeypatch.setattr(micrograph_work, "write_annotated_image", full_for_m2)
    results, started = run([folder_of(tmp_path)], tmp_path / "p.star")
    assert [result.error for result in results if result.error] == [f"{tmp_path}/mics/m2.mrc: No space left on device"]
    assert started.summary.micrographs == 2
    assert len(read_particles_star(tmp_path / "p.star")) == 2
    monkeypatch.undo()
    results, started = run([tmp_path / "mics"], tmp_path / "p.star")
    assert (started.summary.micrographs, started.summary.resumed) == (3, 2)


@pytest.mark.parametrize("kind", ["thumbnails", "candidates", "relion", "box", "png"])
def test_a_disk_that_is_full_for_one_file_loses_that_micrograph_and_no_other(tmp_path, monkeypatch, kind):
    rename = Path.replace

    def full_for_m2(self, target):
        if Path(target).parent.name == kind and Path(target).name.startswith("m2"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", full_for_m2)
    results, started = run([folder_of(tmp_path)], tmp_path / "out/p.star")
    assert [result.file.path.name for result in results if result.error] == ["m2.mrc"]
    assert "No space left on device" in started.summary.skipped[0].error
    assert [Path(name).name for name in read_particles_star(tmp_path / "out/p.star")] == ["m1.mrc", "m3.mrc"]
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    _, started = run([tmp_path / "mics"], tmp_path / "out/p.star")
    assert (started.summary.micrographs, started.summary.resumed) == (3, 2)
    run([tmp_path / "mics"], tmp_path / "fresh/p.star")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_ledger_without_room_skips_and_does_not_stop(tmp_path, monkeypatch):
    append = Ledger.append

    def full_for_m2(self, row):
        if row.micrograph.endswith("m2.mrc"):
            raise OSError(28, "No space left on device")
        append(self, row)

    monkeypatch.setattr(Ledger, "append", full_for_m2)
    results, _ = run([folder_of(tmp_path)], tmp_path / "p.star")
    assert [result.error for result in results if result.error] == [f"{tmp_path}/mics/m2.mrc: No space left on device"]
    assert not list((tmp_path / "p/box").glob("m2*"))


def test_a_name_that_star_cannot_hold_costs_one_micrograph(tmp_path):
    results, _ = run([folder_of(tmp_path, ["a.mrc", 'quoted".mrc'])], tmp_path / "p.star")
    assert {result.file.path.name: "quotes" in (result.error or "") for result in results} == {
        "a.mrc": False,
        'quoted".mrc': True,
    }
    assert len(read_particles_star(tmp_path / "p.star")) == 1


def test_nothing_readable_at_all(tmp_path):
    (tmp_path / "mics").mkdir()
    for name in ("a.mrc", "b.mrc"):
        (tmp_path / "mics" / name).write_text("no image")
    results = []
    with pytest.raises(MicrographError, match=r"none of the 2 .*a\.mrc"):
        results.extend(start_pick([tmp_path / "mics"], tmp_path / "p.star", CONFIG, StubPicker()))
    assert not (tmp_path / "p.star").exists()
    with pytest.raises(MicrographError, match="no micrograph can be read"):
        start_pick([tmp_path / "mics"], tmp_path / "p.star", PickConfig(diameter="auto"), StubPicker())


def test_no_micrographs_found_says_where(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MicrographError, match="empty"):
        start_pick([tmp_path / "empty"], tmp_path / "p.star", CONFIG, StubPicker())
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("there_before", [False, True])
def test_without_a_pixel_size_a_run_fails_before_it_begins_and_leaves_nothing(tmp_path, there_before):
    out, said = tmp_path / "out" / "p.star", []
    write_mrc(tmp_path / "m.mrc", pixel_size=1.0)
    if there_before:
        out.parent.mkdir()

    with pytest.raises(MicrographError, match="does not know its pixel size"):
        start_pick([tmp_path / "m.mrc"], out, replace(CONFIG, diameter="auto"), StubPicker(), said.append)

    assert said == []
    assert out.parent.exists() == there_before


def test_a_start_that_fails_removes_only_folders_that_it_made_and_left_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(StubPicker, "estimate_diameter", Mock(side_effect=MicrographError("nothing there")))
    write_mrc(tmp_path / "m.mrc")
    (tmp_path / "out").mkdir()
    (tmp_path / "kept" / "p").mkdir(parents=True)

    for out in ("out/below/p.star", "kept/p.star"):
        with pytest.raises(MicrographError, match="nothing there"):
            start_pick([tmp_path / "m.mrc"], tmp_path / out, replace(CONFIG, diameter="auto"), StubPicker())

    assert [*(tmp_path / "out").iterdir()] == []
    assert (tmp_path / "kept" / "p").is_dir()


def test_a_missing_pixel_size_names_the_flag(tmp_path):
    write_mrc(tmp_path / "m.mrc", pixel_size=1.0)
    with pytest.raises(MicrographError) as caught:
        list(start_pick([tmp_path / "m.mrc"], tmp_path / "p.star", CONFIG, StubPicker()))
    assert "--pixel-size" in caught.value.message + caught.value.hint
    results, _ = run([tmp_path / "m.mrc"], tmp_path / "p.star", replace(CONFIG, pixel_size=2.5))
    assert results[0].particles.pixel_size == 2.5


def test_an_output_folder_that_cannot_be_written_stops_before_any_work(tmp_path):
    mics = folder_of(tmp_path)
    (tmp_path / "file").write_text("")
    picker = StubPicker()
    for out in (tmp_path / "file" / "p.star", tmp_path / "file" / "deeper" / "p.star"):
        with pytest.raises(CryotxError, match="cannot write"):
            start_pick([mics], out, CONFIG, picker)
    (tmp_path / "p").write_text("a file where the folder would be")
    with pytest.raises(CryotxError, match="cannot write"):
        start_pick([mics], tmp_path / "p.star", CONFIG, picker)
    assert picker.seen == []


@pytest.mark.parametrize("out", ["picks", "picks.txt", "folder.star"])
def test_out_must_be_a_star_file(tmp_path, out):
    (tmp_path / "folder.star").mkdir()
    with pytest.raises(ConfigError, match="STAR"):
        start_pick([folder_of(tmp_path)], tmp_path / out, CONFIG, StubPicker())


def test_the_input_is_never_overwritten(tmp_path):
    star = tmp_path / "list.star"
    star.write_text("data_\nloop_\n_rlnMicrographName #1\nmics/m1.mrc\n")
    folder_of(tmp_path)
    with pytest.raises(ConfigError, match="input"):
        start_pick([star], star, CONFIG, StubPicker())


# ---- carrying on -----------------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing_again_and_gives_the_same_bytes(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "out" / "p.star"
    run([mics], out)
    before = contents(tmp_path / "out")
    picker = StubPicker()
    results, started = run([mics], out, CONFIG, picker)
    assert picker.seen == []
    assert [result.resumed for result in results] == [True] * 3
    assert started.summary.resumed == 3
    assert contents(tmp_path / "out") == before
    assert len(ledger(out)) == 3
    assert any("earlier run" in message for message in map(str, started.events))


def test_a_stopped_run_carries_on_to_the_same_bytes(tmp_path):
    mics = folder_of(tmp_path, [f"m{i}.mrc" for i in range(6)])
    run([mics], tmp_path / "whole" / "p.star")
    out = tmp_path / "stopped" / "p.star"
    for stop_after in (2, 1):
        taken = iter(start_pick([mics], out, CONFIG, StubPicker()))
        for _ in range(stop_after):
            next(taken)
        taken.close()
    done = len(read_particles_star(out))
    assert 2 <= done < 6
    picker = StubPicker()
    results, _ = run([mics], out, CONFIG, picker)
    assert len(picker.seen) == 6 - done
    assert sum(result.resumed for result in results) == done
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


@pytest.mark.parametrize("where", ["picker", "loop"])
def test_an_interrupted_run_keeps_what_is_done(tmp_path, where):
    mics, out = folder_of(tmp_path, [f"m{i}.mrc" for i in range(6)]), tmp_path / "p.star"
    picker = StubPicker(["m4.mrc"] if where == "picker" else [], KeyboardInterrupt())

    def work():
        for count, _ in enumerate(start_pick([mics], out, CONFIG, picker), 1):
            if where == "loop" and count == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    names = [Path(name).name for name in read_particles_star(out)]
    assert names == [f"m{i}.mrc" for i in range(len(names))]
    assert len(names) == 4 if where == "picker" else 2 <= len(names) < 6
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_defect_stops_the_run_but_keeps_what_is_done(tmp_path):
    picker = StubPicker(["m3.mrc"], TypeError("a defect"))
    with pytest.raises(TypeError, match="a defect"):
        list(start_pick([folder_of(tmp_path)], tmp_path / "p.star", CONFIG, picker))
    assert len(read_particles_star(tmp_path / "p.star")) == 2


def test_restart_picks_everything_again(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "p.star"
    run([mics], out)
    picker = StubPicker()
    results, _ = run([mics], out, replace(CONFIG, restart=True), picker)
    assert len(picker.seen) == 3
    assert not any(result.resumed for result in results)


@pytest.mark.parametrize("change", ["diameter", "pixel_size", "weights"])
def test_what_changes_the_candidates_is_noticed(tmp_path, change):
    mics, out = folder_of(tmp_path), tmp_path / "p.star"
    run([mics], out)
    picker = StubPicker()
    changes = {"diameter": {"diameter": 70.0}, "pixel_size": {"pixel_size": 3.0}, "weights": {}}[change]
    if change == "weights":
        picker.fingerprint = "others"
    _, started = run([mics], out, replace(CONFIG, **changes), picker)
    assert len(picker.seen) == 3
    assert any("changed" in message for message in map(str, started.events))
    run([mics], tmp_path / "fresh" / "p.star", replace(CONFIG, **changes), StubPicker())
    assert out.read_bytes() == (tmp_path / "fresh" / "p.star").read_bytes()


def test_a_changed_threshold_needs_no_network_and_leaves_no_old_picks(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "out" / "p.star"
    run([mics], out)
    picker = StubPicker()
    changed = replace(CONFIG, threshold=0.8, min_distance=50.0)
    results, started = run([mics], out, changed, picker)
    assert picker.seen == []
    assert not any(result.resumed for result in results)
    assert any("changed" in message for message in map(str, started.events))
    run([mics], tmp_path / "fresh" / "p.star", changed)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    run([mics], out, replace(CONFIG, images=False), picker)
    assert not list((tmp_path / "out/p/png").iterdir())  # pictures of another threshold
    run([mics], out, CONFIG, picker)
    assert len(list((tmp_path / "out/p/png").iterdir())) == 3
    assert picker.seen == []


def test_a_changed_or_damaged_file_is_done_again(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "p.star"
    run([mics], out)
    write = mics / "m2.mrc"
    write.unlink()
    write_mrc(write, seed=77)
    (tmp_path / "p/candidates/m3.csv").write_text("cut off")
    picker = StubPicker()
    run([mics], out, CONFIG, picker)
    assert picker.seen == ["m2.mrc", "m3.mrc"]
    run([mics], tmp_path / "fresh" / "p.star")
    assert out.read_bytes() == (tmp_path / "fresh" / "p.star").read_bytes()


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "out" / "p.star"
    run([mics], out)
    before = contents(tmp_path / "out")
    for name in (".p.star.4711.tmp", "p/box/.m1.box.4711.tmp", "p/png/.m1.png.4711.tmp", "p/.ledger.jsonl.4711.tmp"):
        (tmp_path / "out" / name).write_text("half")
    (tmp_path / "out" / ".other.star.4711.tmp").write_text("of another run")
    run([mics], out)
    (tmp_path / "out" / ".other.star.4711.tmp").unlink()
    assert contents(tmp_path / "out") == before


def test_a_ledger_row_tells_everything(tmp_path):
    results, _ = run([folder_of(tmp_path)], tmp_path / "p.star")
    for row, result in zip(ledger(tmp_path / "p.star"), results, strict=True):
        parts = [row[f"{name}_seconds"] for name in ("read", "prepare", "pick", "write")]
        assert all(part >= 0 for part in parts)
        assert row["write_seconds"] > 0
        assert row["seconds"] == pytest.approx(sum(parts), abs=1e-6)
        assert result.seconds == row["seconds"]
        assert row["candidates"] == 30
        assert row["picks"] == len(result.particles)
        assert row["error"] is None


def test_a_ledger_cut_off_in_the_middle_of_a_line(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "p.star"
    run([mics], out)
    path = tmp_path / "p" / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    results, _ = run([mics], out)
    assert [result.resumed for result in results] == [True, True, False]
    assert len(ledger(out)) == 3


def test_a_micrograph_that_went_bad_loses_its_old_picks(tmp_path):
    mics, out = folder_of(tmp_path), tmp_path / "p.star"
    run([mics], out)
    (mics / "m2.mrc").write_text("overwritten by accident")
    results, _ = run([mics], out)
    assert [result.file.path.name for result in results if result.error] == ["m2.mrc"]
    assert len(read_particles_star(out)) == 2
    assert sorted(path.name for path in (tmp_path / "p/box").iterdir()) == ["m1.box", "m3.box"]


def test_own_pictures_are_not_picked(tmp_path):
    mics = folder_of(tmp_path)
    run([mics], mics / "p.star")
    results, _ = run([mics], mics / "p.star")
    assert sorted(result.file.path.name for result in results) == ["m1.mrc", "m2.mrc", "m3.mrc"]
    shutil.rmtree(mics / "p" / "candidates")
    results, _ = run([mics], mics / "p.star")
    assert len(results) == 3


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_tree_for_relion_is_that_of_its_own_picker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("job002/Movies/m1.mrc", "job002/Movies/sub/m2.mrc", "job005/Movies/m3.mrc")):
        write_mrc(Path("MotionCorr", name), number)
    own = ["Movies/m1_autopick.star", "Movies/m3_autopick.star", "Movies/sub/m2_autopick.star", "autopick.star"]
    run(["MotionCorr"], "p.star")
    assert files_in(Path("p/relion")) == own
    run([str(tmp_path / "MotionCorr")], "absolute.star")
    assert files_in(Path("absolute/relion")) == own
    # RELION itself would write one file for both.
    write_mrc(Path("MotionCorr/job005/Movies/m1.mrc"), 4)
    results, _ = run(["MotionCorr"], "p.star")
    both = ["job002/Movies/m1_autopick.star", "job005/Movies/m1_autopick.star"]
    assert files_in(Path("p/relion")) == sorted(own[1:] + both)
    read = read_particles(Path("p/relion/autopick.star"))
    assert {name: len(one) for name, one in read.items()} == {one.file.name: len(one.particles) for one in results}


def test_a_run_with_another_tree_for_relion_goes_on_with_one_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in (1, 2):
        write_mrc(Path(f"Movies/Movies/m{i}.mrc" if i == 2 else "Movies/m1.mrc"), i)
    run(["Movies"], "p.star")
    whole = {path: Path("p/relion", path).read_bytes() for path in files_in(Path("p/relion"))}
    assert list(whole) == ["Movies/Movies/m2_autopick.star", "Movies/m1_autopick.star", "autopick.star"]
    # Earlier versions left out what the folders have in common; the old place of m2 here is one of m1's folder.
    Path("p/relion/Movies/m1_autopick.star").rename("p/relion/m1_autopick.star")
    Path("p/relion/Movies/Movies/m2_autopick.star").rename("p/relion/Movies/m2_autopick.star")
    ledger = Path("p/ledger.jsonl")
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "relion"}) + "\n" for row in rows))
    results, _ = run(["Movies"], "p.star")
    assert all(result.error is None for result in results)
    assert {path: Path("p/relion", path).read_bytes() for path in files_in(Path("p/relion"))} == whole
    assert [json.loads(line)["relion"] for line in ledger.read_text().splitlines()] == ["Movies/Movies/m2", "Movies/m1"]


def test_another_run_is_not_picked_from_whatever_its_name(tmp_path):
    mics = folder_of(tmp_path)
    run([mics], mics / "first.star")
    pictures = mics / "first" / "png"
    for given in ([mics], [str(mics / "**/*.*")], [mics / "m1.mrc", mics / "m2.mrc", mics / "m3.mrc", pictures]):
        config = replace(CONFIG, pixel_size=1.5)
        picked = start_pick(given, tmp_path / "second.star", config, StubPicker())
        assert sorted(file.file.path.name for file in picked) == ["m1.mrc", "m2.mrc", "m3.mrc"]
        assert [str(event) for event in picked.events if "earlier run of cryotx" in str(event)] == [
            f"Left out the pictures in {mics / 'first'}, where an earlier run of cryotx has written."
        ]
    for given in (pictures, mics / "first", pictures / "m1.png"):
        with pytest.raises(MicrographError, match=r"no micrographs found in .* but the pictures in .*first, where"):
            start_pick([given], tmp_path / "third.star", CONFIG, StubPicker())
    # A run may lie around the micrographs themselves, which stay what they are.
    run([mics], tmp_path / f"{mics.name}.star")
    results, _ = run([mics], tmp_path / f"{mics.name}.star")
    assert sorted(result.file.path.name for result in results) == ["m1.mrc", "m2.mrc", "m3.mrc"]


def test_the_best_version_of_a_micrograph_is_picked_and_the_others_named(tmp_path):
    for i in (1, 2):
        for version in ("", "_DW", "_DWS", "_PS"):
            write_mrc(tmp_path / f"mics/m{i}{version}.mrc", i)
    picked = start_pick([tmp_path / "mics"], tmp_path / "p.star", CONFIG, StubPicker())
    assert [result.file.path.name for result in picked] == ["m1_DW.mrc", "m2_DW.mrc"]
    (left,) = [str(event) for event in picked.events if "other versions" in str(event)]
    assert left.startswith("Left out 6 files")
    assert "m1.mrc" in left
    assert "taken: m1_DW.mrc, m2_DW.mrc" in left
    named = [tmp_path / "mics/m1.mrc", tmp_path / "mics/m1_DW.mrc"]
    picked = start_pick(named, tmp_path / "q.star", CONFIG, StubPicker())
    assert [result.file.path for result in picked] == named
    assert any("named in several versions, such as m1.mrc, m1_DW.mrc" in str(event) for event in picked.events)


# ---- contrast, and the check at the end ------------------------------------------------------------------------------


class ContrastPicker(StubPicker):
    """Knows bright particles by the sign of the mean."""

    def is_inverted(self, micrographs, diameter):
        return float(np.mean([micrograph.image.mean() for micrograph in micrographs])) > 0

    def prepare(self, micrograph, diameter):
        assert micrograph.image.mean() < 0
        return micrograph.image


def offset_mrc(path, offset):
    with mrcfile.new(path) as mrc:
        mrc.set_data((np.random.default_rng(3).normal(0, 1, (96, 128)) + offset).astype(np.float32))
        mrc.voxel_size = 2.0
    return path


@pytest.mark.parametrize(("offset", "noticed"), [(9, True), (-9, False)])
def test_inverted_micrographs_are_picked_as_such(tmp_path, offset, noticed):
    run = start_pick([offset_mrc(tmp_path / "m.mrc", offset)], tmp_path / "out.star", CONFIG, ContrastPicker())
    assert any("bright" in message for message in map(str, run.events)) is noticed
    (result,) = run
    assert result.error is None


def test_the_contrast_can_be_said(tmp_path):
    micrograph = offset_mrc(tmp_path / "m.mrc", 9)
    run = start_pick([micrograph], tmp_path / "out.star", replace(CONFIG, contrast="bright"), ContrastPicker())
    assert not len(run.events)
    assert len(list(run)) == 1
    other = FixedPicker([(50, 40, 0.9)])
    again = start_pick([micrograph], tmp_path / "out.star", replace(CONFIG, contrast="dark"), other)
    assert [result.resumed for result in again] == [False]


def test_what_an_import_would_lose_is_said_at_the_end(tmp_path):
    picker = FixedPicker([(4, 40, 0.9), (60, 48, 0.8)])
    run = start_pick([write_mrc(tmp_path / "m.mrc")], tmp_path / "out.star", CONFIG, picker)
    list(run)
    (message,) = [message for message in map(str, run.events) if "Check of out.star" in message]
    assert "1 of 2 picks" in message
    assert "edge" in message


def test_micrographs_that_get_no_picks_are_counted(tmp_path):
    guesses = FixedPicker([(x, 40, 0.3) for x in range(10, 110, 30)])
    run = start_pick([write_mrc(tmp_path / "m.mrc")], tmp_path / "out.star", replace(CONFIG, threshold="auto"), guesses)
    (result,) = run
    assert len(result.particles) == 0
    assert any("1 of 1 micrograph shows" in message for message in map(str, run.events))


# ---- beside a GPU ----------------------------------------------------------------------------------------------------


class BusyPicker(StubPicker):
    """Prepares only while others prepare, too, if it is on a GPU; counts the micrographs that wait for the network."""

    def __init__(self, device):
        super().__init__()
        self.device, self.together = device, threading.Barrier(2 if device.startswith("cuda") else 1)
        self.waiting, self.most = 0, 0
        self.counting = threading.Lock()

    def prepare(self, micrograph, diameter):
        self.together.wait(10)
        with self.counting:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        return super().prepare(micrograph, diameter)

    def locate(self, prepared, micrograph):
        time.sleep(0.02)  # readers get far ahead if nothing holds them
        with self.counting:
            self.waiting -= 1
        return super().locate(prepared, micrograph)


def test_a_gpu_is_fed_by_several_readers_with_the_bytes_and_the_memory_of_one(tmp_path):
    folder = folder_of(tmp_path, [f"m{number:02}.mrc" for number in range(12)])
    config = replace(CONFIG, contrast="dark")
    pickers = {name: BusyPicker(device) for name, device in (("one", "cpu"), ("several", "cuda:0"))}
    for name, picker in pickers.items():
        (tmp_path / name).mkdir()
        results, _ = run([folder], tmp_path / name / "p.star", config, picker)
        assert [result.file.name for result in results] == sorted(str(path) for path in folder.iterdir())
    assert contents(tmp_path / "one") == contents(tmp_path / "several")
    assert pickers["one"].most <= 3
    assert pickers["several"].most <= 6


# ---- CryoSPARC's exposures as the input ------------------------------------------------------------------------------


def write_exposures(path, names, **fields):
    kinds = [(name.replace("__", "/"), kind) for name, (kind, _) in fields.items()]
    rows = np.zeros(
        len(names),
        [
            ("uid", "u8"),
            ("micrograph_blob/path", "S80"),
            ("micrograph_blob/shape", "u4", 2),
            ("micrograph_blob/psize_A", "f4"),
            *kinds,
        ],
    )
    rows["uid"] = range(7, 7 + len(names))
    rows["micrograph_blob/path"], rows["micrograph_blob/shape"] = [name.encode() for name in names], (96, 128)
    rows["micrograph_blob/psize_A"] = 2.5
    for name, (_, values) in fields.items():
        rows[name.replace("__", "/")] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, rows)
    return path


@pytest.mark.parametrize("mark", ["", ">"])
def test_exposures_are_an_input_with_names_pixel_sizes_and_defoci(tmp_path, mark):
    project = tmp_path / "P1"
    names = [f"J2/motioncorrected/00000000000000000000{i}_m{i}_patch_aligned.mrc" for i in (2, 1)]
    for number, name in enumerate(names):
        write_mrc(project / name, number)
    given = [mark + name for name in names]
    exposures = write_exposures(project / "J3/curated_exposures.cs", given, ctf__df1_A=("f4", [9000, 0]))
    results, _ = run([exposures], tmp_path / "p.star", replace(CONFIG, images=False))
    assert [(one.file.name, one.file.pixel_size, one.file.defocus) for one in results] == [
        (names[0], 2.5, 9000.0),
        (names[1], 2.5, None),
    ]
    assert [one.file.path for one in results] == [project / name for name in names]
    assert list(read_particles_star(tmp_path / "p.star")) == names
    locations = np.load(tmp_path / "p/cryosparc/particles.cs")
    assert set(
        zip(locations["location/micrograph_path"].tolist(), locations["location/micrograph_uid"], strict=True)
    ) == {
        (names[0].encode(), 7),
        (names[1].encode(), 8),
    }
    assert load_config(PickConfig, tmp_path / "p/config.toml").exposures == exposures


def test_exposures_without_their_project_say_where_it_is_looked_for(tmp_path):
    exposures = write_exposures(tmp_path / "e.cs", ["J2/m1.mrc"])
    with pytest.raises(
        MicrographError, match=r"e\.cs: none of its 1 micrograph is there, for example J2/m1\.mrc"
    ) as caught:
        run([exposures], tmp_path / "p.star")
    assert "project" in caught.value.hint
