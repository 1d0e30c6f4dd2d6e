"""Runs that are compared with noise: cuts that follow from it, a stated rate of false picks, the same bytes always."""

import json
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.micrographs.image import normalise
from cryotx_cli.runs.jobs import checksum_of
from cryotx_cli.workflows.pick import PickRun, start_pick
from cryotx_cli.workflows.threshold import threshold
from quick_picker import PickerWithoutNetwork

DIAMETER, PIXEL_SIZE, SIDE = 48.0, 2.0, 480  # 24 px a particle


class BlobPicker(PickerWithoutNetwork):
    """Dark blobs, scored by how much darker they are than their surroundings; sees blobs in noise, too."""

    fingerprint = "blobs"
    compares_with_noise = True

    def __init__(self) -> None:
        self.located: list[str] = []

    def prepare(self, micrograph, diameter):
        return normalise(micrograph.image)

    def locate(self, prepared, micrograph):
        self.located.append(micrograph.source.name)
        smooth = -gaussian_filter(prepared, 5)
        smooth /= 0.056  # deviation of white noise after this filter
        peaks = np.argwhere((smooth == maximum_filter(smooth, 25)) & (smooth > 0.5))
        scores = 1 / (1 + np.exp(-1.5 * (smooth[tuple(peaks.T)] - 4.5)))
        return Located(
            Particles(peaks[:, ::-1], scores, np.full(len(peaks), 24.0), micrograph.pixel_size).sorted_by_score()
        )


def write(folder: Path, name: str, blobs: int, contrast: float = 3.0, seed: int = 0, side: int = SIDE) -> np.ndarray:
    rng = np.random.default_rng([seed, len(name), blobs])
    image = rng.standard_normal((side, side))
    grid = np.stack(np.meshgrid(np.arange(30, side - 30, 48), np.arange(30, side - 30, 48)), -1).reshape(-1, 2)
    centres = grid[rng.permutation(len(grid))[:blobs]]
    y, x = np.mgrid[:side, :side]
    for cx, cy in centres:
        image -= contrast * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 6**2))
    folder.mkdir(exist_ok=True)
    with mrcfile.new(folder / name, overwrite=True) as mrc:
        mrc.set_data(image.astype(np.float32))
        mrc.voxel_size = PIXEL_SIZE
    return centres


def pick(folder: Path, out: Path, picker: BlobPicker | None = None, **settings) -> PickRun:
    config = PickConfig(diameter=DIAMETER, contrast="dark", images=False, report=False, **settings)
    run = start_pick([folder], out, config, picker or BlobPicker())
    for _ in run:
        pass
    return run


def ledger(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out.with_suffix("") / "ledger.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mics") / "clear"
    for number in range(4):
        write(folder, f"m{number}.mrc", blobs=20, seed=number)
    return folder


def test_clear_particles_are_kept_and_noise_is_not(micrographs, tmp_path):
    run = pick(micrographs, tmp_path / "p.star")

    picked = read_particles_star(tmp_path / "p.star")
    assert [len(one) for one in picked.values()] == pytest.approx([20] * 4, abs=2)
    assert run.summary.expected_false is not None
    assert run.summary.expected_false < 0.1 * run.summary.particles


def test_faint_micrographs_of_a_run_keep_their_particles(tmp_path):
    for number in range(3):
        write(tmp_path / "mics", f"clear{number}.mrc", blobs=20, seed=number)
    write(tmp_path / "mics", "faint.mrc", blobs=20, contrast=1.6, seed=9)

    pick(tmp_path / "mics", tmp_path / "p.star")

    lowest = {Path(name).name: one.scores.min() for name, one in read_particles_star(tmp_path / "p.star").items()}
    counts = {row["micrograph"].rsplit("/", 1)[-1]: row["picks"] for row in ledger(tmp_path / "p.star")}
    assert counts["faint.mrc"] == pytest.approx(20, abs=4)
    assert lowest.pop("faint.mrc") < min(lowest.values())


@pytest.mark.slow
def test_noise_alone_gets_no_picks_and_says_so(tmp_path):
    for number in range(2):
        write(tmp_path / "mics", f"m{number}.mrc", blobs=0, seed=number, side=320)

    run = pick(tmp_path / "mics", tmp_path / "p.star")

    assert run.summary.particles == 0
    assert any("no more candidates than in noise" in event.text for event in run.events)


def test_the_rate_stands_in_ledger_and_star_header(micrographs, tmp_path):
    run = pick(micrographs, tmp_path / "p.star")

    rows = ledger(tmp_path / "p.star")
    assert sum(row["expected_false"] for row in rows) == pytest.approx(run.summary.expected_false)
    first = (tmp_path / "p.star").read_text().splitlines()[0]
    assert first.startswith("# False discovery rate: ")
    assert f"of {run.summary.particles} picks" in first


def test_a_run_and_its_resumption_agree_to_the_byte(micrographs, tmp_path):
    pick(micrographs, tmp_path / "whole.star")
    run = iter(
        start_pick(
            [micrographs],
            tmp_path / "p.star",
            config := PickConfig(diameter=DIAMETER, contrast="dark", images=False, report=False),
            BlobPicker(),
        )
    )
    next(run)
    run.close()
    resumed = BlobPicker()
    for _ in start_pick([micrographs], tmp_path / "p.star", config, resumed):
        pass

    assert (tmp_path / "p.star").read_bytes() == (tmp_path / "whole.star").read_bytes()
    assert len(resumed.located) < 4  # what had been looked at is not looked at again


def test_a_second_run_does_not_use_the_network(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star")
    before = (tmp_path / "p.star").read_bytes()
    again = BlobPicker()
    pick(micrographs, tmp_path / "p.star", again)

    assert again.located == []
    assert (tmp_path / "p.star").read_bytes() == before


def test_where_all_is_clear_a_few_decoys_are_enough(micrographs, tmp_path):
    picker = BlobPicker()
    pick(micrographs, tmp_path / "p.star", picker)

    assert 4 + 3 <= len(picker.located) <= 4 + 4


def faint_run(folder: Path, contrast: float = 1.0) -> Path:
    for number in range(2):
        write(folder, f"m{number:02}.mrc", blobs=6, contrast=contrast, seed=number)
    return folder


def decoys(run: Path) -> list[int]:
    """How many decoys each micrograph has that was compared."""
    heads = (file.read_text().splitlines()[0].removeprefix("#") for file in sorted((run / "decoys").iterdir()))
    return [json.loads(head)["height"] // SIDE for head in heads]


def test_what_noise_nearly_explains_has_more_decoys_of_no_more_micrographs_than_asked_for(tmp_path):
    folder = faint_run(tmp_path / "mics", contrast=0.6)
    pick(folder, tmp_path / "doubtful.star")
    pick(folder, tmp_path / "few.star", decoys=1)

    assert 6 <= sum(decoys(tmp_path / "doubtful")) <= 40
    assert decoys(tmp_path / "few") == [4]


class LastBit(BlobPicker):
    """As on another machine, which rounds otherwise."""

    def prepare(self, micrograph, diameter):
        return np.nextafter(super().prepare(micrograph, diameter), np.float32(9))


def test_decoys_do_not_hang_on_the_last_bit(tmp_path):
    folder = faint_run(tmp_path / "mics")
    pick(folder, tmp_path / "here.star")
    pick(folder, tmp_path / "there.star", LastBit())

    for file in (tmp_path / "here/decoys").iterdir():
        here, there = (
            np.loadtxt(tmp_path / run / "decoys" / file.name, delimiter=",", skiprows=2) for run in ("here", "there")
        )
        assert len(here) > 100
        np.testing.assert_allclose(here, there, atol=1e-3)


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_decoys_go_on_where_they_were_interrupted(tmp_path, stop_after):
    class Interrupted(BlobPicker):
        def locate(self, prepared, micrograph):
            if len(self.located) == stop_after:
                raise KeyboardInterrupt
            return super().locate(prepared, micrograph)

    folder, resumed, whole = faint_run(tmp_path / "mics"), BlobPicker(), BlobPicker()
    pick(folder, tmp_path / "whole.star", whole)
    with pytest.raises(KeyboardInterrupt):
        pick(folder, tmp_path / "p.star", Interrupted())
    pick(folder, tmp_path / "p.star", resumed)

    assert (tmp_path / "p.star").read_bytes() == (tmp_path / "whole.star").read_bytes()
    for file in (tmp_path / "whole/decoys").iterdir():
        assert (tmp_path / "p/decoys" / file.name).read_bytes() == file.read_bytes()
    assert len(resumed.located) == len(whole.located) - stop_after


@pytest.mark.slow
def test_a_large_run_makes_few_decoys_and_knows_many_micrographs(tmp_path):
    for number in range(24):
        write(tmp_path / "mics", f"m{number:02}.mrc", blobs=8, contrast=1.2, seed=number, side=320)
    picker = BlobPicker()
    pick(tmp_path / "mics", tmp_path / "p.star", picker)

    assert 2 <= len(picker.located) - 24 <= 3
    assert len(list((tmp_path / "p/decoys").iterdir())) == 10


class Guessing(BlobPicker):
    """Is never sure; at sizes other than `sees`, as multiples of the one of the run, all looks alike to it."""

    def __init__(self, sees: tuple[float, ...]) -> None:
        super().__init__()
        self.sees, self.blind = sees, False

    def prepare(self, micrograph, diameter):
        self.blind = not any(diameter == pytest.approx(one * DIAMETER) for one in self.sees)
        return super().prepare(micrograph, diameter)

    def locate(self, prepared, micrograph):
        particles = super().locate(prepared, micrograph).particles
        scores = np.full(len(particles), 0.15) if self.blind else 0.45 * particles.scores
        return Located(replace(particles, scores=scores))


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mics") / "doubtful"
    write(folder, "m0.mrc", blobs=14, contrast=2.0, seed=1)
    return folder


@pytest.mark.parametrize(("sees", "picks"), [((0.93, 1.0, 1.07), 14), ((1.0, 1.07), 14), ((1.0,), 0)])
def test_guesses_count_where_most_sizes_near_the_given_one_show_them(doubtful, tmp_path, sees, picks):
    run = pick(doubtful, tmp_path / "p.star", Guessing(sees))

    assert run.summary.particles == pytest.approx(picks, abs=2)
    assert (tmp_path / "p/sizes.json").exists()


def test_what_other_sizes_say_is_kept_for_the_threshold_and_the_next_run(doubtful, tmp_path):
    pick(doubtful, tmp_path / "p.star", Guessing((1.0,)))
    first, again = (tmp_path / "p.star").read_bytes(), Guessing((1.0,))

    threshold(tmp_path / "p.star", ThresholdConfig(threshold=0.2))
    assert (tmp_path / "p.star").read_bytes() != first
    threshold(tmp_path / "p.star", ThresholdConfig(threshold="auto"))
    assert (tmp_path / "p.star").read_bytes() == first
    pick(doubtful, tmp_path / "p.star", again)
    assert (tmp_path / "p.star").read_bytes() == first
    assert again.located == []


def test_other_sizes_of_another_micrograph_of_the_same_name_are_looked_at_anew(doubtful, tmp_path):
    shutil.copytree(doubtful, tmp_path / "mics")
    pick(tmp_path / "mics", tmp_path / "p.star", Guessing((1.0,)))
    before = (tmp_path / "p/sizes.json").read_bytes()
    write(tmp_path / "mics", "m0.mrc", blobs=14, contrast=2.0, seed=5)
    pick(tmp_path / "mics", tmp_path / "p.star", Guessing((0.93, 1.0)))
    pick(tmp_path / "mics", tmp_path / "anew.star", Guessing((0.93, 1.0)))

    assert (tmp_path / "p/sizes.json").read_bytes() != before
    assert (tmp_path / "p.star").read_bytes() == (tmp_path / "anew.star").read_bytes()


def test_other_sizes_are_not_looked_at_where_all_is_clear(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star")

    assert not (tmp_path / "p/sizes.json").exists()


def test_a_copy_of_a_micrograph_has_no_decoys_of_its_own(tmp_path):
    for name in ("a.mrc", "copy.mrc"):
        write(tmp_path / "mics", name, blobs=20, seed=1)
    (tmp_path / "mics/copy.mrc").write_bytes((tmp_path / "mics/a.mrc").read_bytes())
    write(tmp_path / "mics", "other.mrc", blobs=20, seed=2)

    pick(tmp_path / "mics", tmp_path / "p.star", decoys=2)

    assert len(list((tmp_path / "p/decoys").iterdir())) == 2
    assert len({file.read_bytes().split(b"\n", 1)[1] for file in (tmp_path / "p/decoys").iterdir()}) == 2


def test_a_rate_that_rests_on_one_decoy_says_so(tmp_path):
    for number in range(20):
        write(tmp_path / "mics", f"m{number}.mrc", blobs=6, seed=number, side=320)

    one, ten = (pick(tmp_path / "mics", tmp_path / f"p{count}.star", decoys=count, fdr=0.1) for count in (1, 10))

    assert "rests on 1 decoy alone" in " ".join(event.text for event in one.events)
    assert "rests on" not in " ".join(event.text for event in ten.events)


def test_with_fewer_decoys_those_of_an_earlier_run_do_not_count(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star", fdr=0.1)
    pick(micrographs, tmp_path / "p.star", fdr=0.1, decoys=1)
    before = (tmp_path / "p.star").read_bytes()
    pick(micrographs, tmp_path / "fresh.star", fdr=0.1, decoys=1)
    threshold(tmp_path / "p", ThresholdConfig(fdr=0.1))

    assert len(list((tmp_path / "p/decoys").iterdir())) == 1
    assert (tmp_path / "p.star").read_bytes() == before == (tmp_path / "fresh.star").read_bytes()


@pytest.mark.slow
def test_restart_picks_all_anew_and_gives_the_same(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star")
    before, again = (tmp_path / "p.star").read_bytes(), BlobPicker()
    pick(micrographs, tmp_path / "p.star", again, restart=True)

    assert {f"m{number}.mrc" for number in range(4)} == set(again.located)
    assert (tmp_path / "p.star").read_bytes() == before


def test_threshold_back_to_auto_is_the_run_itself(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star")
    before = (tmp_path / "p.star").read_bytes()
    threshold(tmp_path / "p", ThresholdConfig(threshold=0.05))
    assert (tmp_path / "p.star").read_bytes() != before

    threshold(tmp_path / "p", ThresholdConfig(threshold="auto"))

    assert (tmp_path / "p.star").read_bytes() == before


def test_a_run_that_was_never_compared_is_told_as_such(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star")
    for file in (tmp_path / "p/decoys").iterdir():
        file.unlink()

    alone = threshold(tmp_path / "p", ThresholdConfig(threshold="auto"))
    given = threshold(tmp_path / "p", ThresholdConfig(threshold=0.3))

    assert sum("was not compared with noise" in event.text for event in alone.events) == 1
    assert not any("was not compared with noise" in event.text for event in given.events)


@pytest.mark.parametrize("rate", [0.02, pytest.param(0.3, marks=pytest.mark.slow)])
def test_threshold_by_rate_is_pick_by_rate(micrographs, tmp_path, rate):
    pick(micrographs, tmp_path / "a.star")
    done = threshold(tmp_path / "a", ThresholdConfig(fdr=rate))
    run = pick(micrographs, tmp_path / "b.star", fdr=rate)

    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()
    assert done.expected_false == pytest.approx(run.summary.expected_false)


@pytest.mark.slow
def test_a_higher_rate_keeps_more(micrographs, tmp_path):
    strict = pick(micrographs, tmp_path / "a.star", fdr=0.02).summary
    lax = pick(micrographs, tmp_path / "b.star", fdr=0.5).summary

    assert lax.particles > strict.particles
    assert lax.expected_false > strict.expected_false


def test_a_rate_needs_decoys(micrographs, tmp_path):
    pick(micrographs, tmp_path / "p.star", decoys=0)

    assert "expected_false" in ledger(tmp_path / "p.star")[0]
    assert ledger(tmp_path / "p.star")[0]["expected_false"] is None
    assert not (tmp_path / "p/decoys").exists()
    with pytest.raises(ConfigError, match="no decoys"):
        threshold(tmp_path / "p", ThresholdConfig(fdr=0.05))
    with pytest.raises(ValueError, match="fdr needs decoys"):
        PickConfig(fdr=0.05, decoys=0)


def test_a_micrograph_too_small_for_a_spectrum_is_picked_and_the_reason_is_told(tmp_path):
    write(tmp_path / "mics", "m.mrc", blobs=0, side=64)

    run = pick(tmp_path / "mics", tmp_path / "p.star")

    assert run.summary.expected_false is None
    assert any("too small" in event.text for event in run.events)


def test_a_rate_that_cannot_be_told_is_an_error(tmp_path):
    write(tmp_path / "mics", "m.mrc", blobs=0, side=64)

    with pytest.raises(CryotxError, match=r"--fdr 0\.05"):
        pick(tmp_path / "mics", tmp_path / "p.star", fdr=0.05)


def test_a_damaged_micrograph_is_passed_over(micrographs, tmp_path):
    folder = tmp_path / "mics"
    folder.mkdir()
    for file in micrographs.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "a_first.mrc").write_bytes(b"no image at all")

    run = pick(folder, tmp_path / "p.star")

    assert [one.file.path.name for one in run.summary.skipped] == ["a_first.mrc"]
    assert run.summary.expected_false is not None


def test_faint_and_clear_micrographs_of_one_run_share_what_they_know(tmp_path):
    for number in range(3):
        write(tmp_path / "mics", f"clear{number}.mrc", blobs=20, seed=number)
    write(tmp_path / "mics", "empty.mrc", blobs=0, seed=9)

    pick(tmp_path / "mics", tmp_path / "p.star")

    counts = {row["micrograph"].rsplit("/", 1)[-1]: row["picks"] for row in ledger(tmp_path / "p.star")}
    assert counts["empty.mrc"] <= 2
    assert counts["clear0.mrc"] >= 17


def watch(folder: Path, out: Path, arrive) -> PickRun:
    config = PickConfig(
        diameter=DIAMETER, contrast="dark", images=False, report=False, watch=True, stop_after=0.4, formats=()
    )
    run = start_pick([folder], out, config, BlobPicker())
    for count, _ in enumerate(run):
        arrive(count)
    return run


@pytest.mark.slow
def test_a_session_is_compared_as_it_grows_and_all_its_picks_have_one_cut(tmp_path, monkeypatch):
    for module in ("cryotx_cli.runs.arrivals", "cryotx_cli.workflows.pick"):
        monkeypatch.setattr(f"{module}.IDLE_SECONDS", 0.01)
    folder = tmp_path / "mics"
    write(folder, "m0.mrc", blobs=20)

    def arrive(count: int) -> None:
        if count == 0:
            for number in range(1, 6):
                write(folder, f"m{number}.mrc", blobs=20, seed=number)

    run = watch(folder, tmp_path / "p.star", arrive)

    picked = read_particles_star(tmp_path / "p.star")
    assert len(picked) == 6
    assert [len(one) for one in picked.values()] == pytest.approx([20] * 6, abs=2)
    assert run.summary.expected_false is not None
    assert len({row["key"] for row in ledger(tmp_path / "p.star")[-6:]}) == 6
    assert len(list((tmp_path / "p/decoys").glob("*.csv"))) > 1
    again = BlobPicker()
    pick(folder, tmp_path / "p.star", again)
    assert set(again.located) <= {f"m{number}.mrc" for number in range(6)}


class PassingPicker(BlobPicker):
    """Takes micrographs that are shrunk while they are read, unless they are to keep their size."""

    prepares_unread = True

    def prepare(self, micrograph, diameter):
        return normalise(micrograph.shrunk(1.0 if self.whole else 0.96))

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole


@pytest.mark.parametrize("whole", [False, True])
def test_a_micrograph_that_is_looked_at_is_not_read_again_for_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    for number in range(3):
        write(tmp_path / "in", f"{number}.mrc", 20 + number)
    asked: list[str] = []

    def noted(path: Path) -> int | None:
        asked.append(path.name)
        return checksum_of(path)

    monkeypatch.setattr("cryotx_cli.picking.micrograph_work.checksum_of", noted)

    pick(tmp_path / "in", tmp_path / "p.star", PassingPicker(whole))

    expected = [zlib.crc32((tmp_path / "in" / f"{number}.mrc").read_bytes()) for number in range(3)]
    assert [row["checksum"] for row in ledger(tmp_path / "p.star")] == expected
    assert sorted(asked) == (["0.mrc", "1.mrc", "2.mrc"] if whole else [])
