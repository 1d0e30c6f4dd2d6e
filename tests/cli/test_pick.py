"""`cryotx pick` as a user sees it. The network is replaced by a blob finder; all else is the real thing."""

import functools
import gzip
import os
import signal
import sys
from datetime import date
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector import diameter_estimate
from cryotx_cli.detector.load_picker import LoadedPicker
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.runs import arrivals
from cryotx_cli.workflows import pick as workflow
from quick_picker import PickerWithoutNetwork
from report_in_browser import Page

CENTRES = np.array([[30.0, 20.0], [80.0, 25.0], [60.0, 70.0]])


class BrightSpots(PickerWithoutNetwork):
    """A picker that finds pixels above 50, with a score that falls from spot to spot."""

    fingerprint = "bright spots"

    def locate(self, prepared: Any, micrograph: Any) -> Located:
        rows, columns = np.nonzero(prepared > 50)
        scores = np.linspace(0.9, 0.3, len(rows)) if len(rows) else np.zeros(0)
        diameters = np.full(len(rows), 20.0)
        return Located(
            Particles(np.column_stack([columns, rows]).astype(float), scores, diameters, micrograph.pixel_size)
        )

    def estimate_diameter(self, micrographs: Any) -> float:
        return 48.0


def write_micrograph(path: Path, centres: np.ndarray = CENTRES, pixel_size: float = 2.0) -> Path:
    image = np.zeros((96, 112), np.float32)
    image += gaussian_filter(np.random.default_rng(0).normal(size=image.shape), 1).astype(np.float32)
    for x, y in centres.astype(int):
        image[y, x] = 100
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = pixel_size
    return path


@pytest.fixture
def micrographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two micrographs in a folder; the working directory is the one above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "start_pick", functools.partial(workflow.start_pick, picker=BrightSpots()))
    write_micrograph(tmp_path / "mics" / "a.mrc")
    write_micrograph(tmp_path / "mics" / "b.mrc", CENTRES[:1])
    return tmp_path / "mics"


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)
    monkeypatch.setattr(workflow, "IDLE_SECONDS", 0.02)


def pick(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pick", *arguments])


def facts(result: Result) -> dict[str, str]:
    """The closing table: name and value, which two spaces part."""
    pairs = (line.partition("  ") for line in result.stdout.splitlines()[1:])
    return {name.strip(): value.strip() for name, _, value in pairs}


def test_a_run_ends_with_a_table_and_all_picks(micrographs: Path) -> None:
    result = pick("mics", "--out", "out/particles.star", "--diameter", "40", "--threshold", "0.5")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].rstrip() == "Wrote out/particles.star and out/particles"
    shown = facts(result)
    assert (shown["Micrographs"], shown["Picks"], shown["Picks per micrograph"]) == ("2", "3", "1.5")
    assert float(shown["Seconds each"]) > 0
    assert shown["Skipped"] == "0"
    written = read_particles_star("out/particles.star")
    np.testing.assert_allclose(written["mics/a.mrc"].centres, CENTRES[:2])
    assert (micrographs.parent / "out/particles/png/a.png").exists()


def test_the_report_tells_the_command_and_the_same_command_keeps_it(
    micrographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["pick", "mics", "--out", "out file.star", "--diameter", "40", "--threshold", "0.5"]
    monkeypatch.setattr(sys, "argv", ["cryotx", *words])
    assert pick(*words[1:]).exit_code == 0
    report = Path("out file/report.html").read_text()
    said = " ".join(Page(Path("out file/report.html")).text.split())
    assert "Command cryotx pick mics --out 'out file.star' --diameter 40 --threshold 0.5 " in said
    assert f", started on {date.today().day} " in report
    assert pick(*words[1:]).exit_code == 0
    assert Path("out file/report.html").read_text() == report


def test_the_first_line_tells_device_and_diameter(micrographs: Path) -> None:
    given = pick("mics", "--out", "p.star", "--diameter", "40", "--device", "cpu").stderr.splitlines()[0]
    estimating, chosen = pick("mics", "--out", "q.star").stderr.splitlines()[:2]

    assert given.startswith("2 micrographs, weights default, on cpu (as asked); particle diameter 40 Å (as given), ")
    assert estimating == "Estimating the diameter from 2 micrographs; --diameter starts without."
    assert chosen.endswith(
        "particle diameter 48 Å (estimated: 2 of 2 agree within 15%, alone they say 48 Å), 2 Å per network pixel"
    )


def test_the_device_that_was_chosen_comes_with_the_reason(micrographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = LoadedPicker(BrightSpots(), PickConfig(diameter=40.0), (), "no GPU: no NVIDIA driver is loaded")
    monkeypatch.undo()
    monkeypatch.chdir(micrographs.parent)
    monkeypatch.setattr(workflow, "load_picker", lambda config: loaded)

    first = pick("mics", "--out", "p.star", "--diameter", "40").stderr.splitlines()[0]

    assert ", on cpu (no GPU: no NVIDIA driver is loaded); " in first


def test_a_wrong_diameter_is_warned_of_at_the_end(micrographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diameter_estimate, "_ENOUGH", 2)

    right = pick("mics", "--out", "p.star", "--diameter", "40", "--threshold", "0.5")
    wrong = pick("mics", "--out", "q.star", "--diameter", "64", "--threshold", "0.5")

    assert "measure about" not in right.stderr
    warnings = [line for line in wrong.stderr.splitlines() if line.startswith("The particles found measure")]
    assert len(warnings) == 1
    assert "about 40 Å, not 64 Å" in warnings[0]
    assert wrong.exit_code == 0


def test_watching_ends_by_itself_and_says_what_it_saw(micrographs: Path, quick_watch: None) -> None:
    truncated(micrographs / "bad.mrc")

    result = pick("mics", "--out", "p.star", "--diameter", "40", "--threshold", "0.1", "--watch", "--stop-after", "0.5")

    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert "Watching; Ctrl-C or the file p/stop ends it." in lines
    assert [line for line in lines if line.startswith("2 micrographs, 4 picks, 1 waiting; mics/b.mrc: 1")]
    assert [line for line in lines if line.startswith("Skipped mics/bad.mrc: truncated")]
    assert set(read_particles_star("p.star")) == {"mics/a.mrc", "mics/b.mrc"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watch_with_everything_written(
    micrographs: Path, quick_watch: None, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    locate = BrightSpots.locate
    before = signal.getsignal(number)

    def interrupted(self: BrightSpots, prepared: Any, micrograph: Any) -> Particles:
        os.kill(os.getpid(), number)
        return locate(self, prepared, micrograph)

    monkeypatch.setattr(BrightSpots, "locate", interrupted)
    result = pick("mics", "--out", "p.star", "--diameter", "40", "--watch")

    assert result.exit_code == 0, result.stderr
    assert set(read_particles_star("p.star")) == {"mics/a.mrc"}
    assert facts(result)["Left for the next run"] == "1"
    assert Path("p/report.html").exists()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("flags", [["--stop-after", "5"], ["--watch", "--exposures", "e.cs"]])
def test_flags_that_do_not_go_with_watching(micrographs: Path, flags: list[str]) -> None:
    assert pick("mics", "--out", "p.star", "--diameter", "40", *flags).exit_code == 2


def test_a_log_file_gets_plain_progress(micrographs: Path) -> None:
    lines = pick("mics", "--out", "p.star", "--diameter", "40").stderr.splitlines()

    assert lines[-2].startswith("2/2 micrographs")
    assert lines[-1].startswith("No class averages: p.star: ")
    assert lines[-1].endswith(" in a micrograph: too few to average")


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--threshold", "0.1"], 4),
        (["--threshold", "0.8"], 2),
        (["--expected-count", "1"], 2),
        (["--threshold", "0", "--edge", "44"], 2),  # 22 px: drops (30, 20) of both
        (["--threshold", "0", "--min-distance", "200"], 2),
    ],
)
def test_flags_decide_how_many_picks(micrographs: Path, flags: list[str], count: int) -> None:
    result = pick("mics", "--out", "p.star", "--diameter", "40", *flags)

    assert result.exit_code == 0, result.stderr
    assert sum(map(len, read_particles_star("p.star").values())) == count
    assert facts(result)["Picks"] == str(count)


def test_the_settings_of_a_run_repeat_it(micrographs: Path) -> None:
    pick("mics", "--out", "p.star", "--expected-count", "1", "--no-images", "--min-distance", "30")

    result = pick("mics", "--out", "q.star", "--config", "p/config.toml")

    assert result.exit_code == 0, result.stderr
    assert Path("q.star").read_bytes() == Path("p.star").read_bytes()
    assert not Path("q/png").exists()
    assert Path("q/config.toml").read_text() == Path("p/config.toml").read_text()


def test_a_second_run_says_what_was_done_before(micrographs: Path) -> None:
    pick("mics", "--out", "p.star", "--diameter", "40")

    result = pick("mics", "--out", "p.star", "--diameter", "40")

    assert result.exit_code == 0
    assert facts(result)["Micrographs"] == "2, 2 of them by an earlier run"
    assert facts(result)["Seconds each"] == "-"


def test_an_interrupted_run_keeps_what_is_done_and_goes_on_later(
    micrographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locate = BrightSpots.locate

    def interrupted(self: BrightSpots, prepared: Any, micrograph: Any) -> Particles:
        if micrograph.source.name == "b.mrc":
            raise KeyboardInterrupt
        return locate(self, prepared, micrograph)

    with monkeypatch.context() as patch:
        patch.setattr(BrightSpots, "locate", interrupted)
        result = pick("mics", "--out", "p.star", "--diameter", "40", "--threshold", "0.1")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Interrupted: the same command goes on where it stopped."
    assert set(read_particles_star("p.star")) == {"mics/a.mrc"}

    result = pick("mics", "--out", "p.star", "--diameter", "40", "--threshold", "0.1")

    assert result.exit_code == 0
    assert facts(result)["Micrographs"] == "2, 1 of them by an earlier run"
    assert set(read_particles_star("p.star")) == {"mics/a.mrc", "mics/b.mrc"}


# ---- bad input -------------------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    content = write_micrograph(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def constant(path: Path) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.full((96, 112), 3, np.float32))
        mrc.voxel_size = 2.0


def filled_with_nan(path: Path) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.full((96, 112), np.nan, np.float32))
        mrc.voxel_size = 2.0


def stack(path: Path) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(4, 96, 112)).astype(np.float32))
        mrc.voxel_size = 2.0


def no_image(path: Path) -> None:
    path.write_text("<?xml version='1.0'?><Error>NoSuchKey</Error>" * 100)


def without_pixel_size(path: Path) -> None:
    write_micrograph(path, pixel_size=1.0)


def empty(path: Path) -> None:
    path.touch()


def broken_gzip(path: Path) -> None:
    path.with_suffix(".mrc.gz").write_bytes(gzip.compress(write_micrograph(path).read_bytes())[:500])
    path.unlink()


@pytest.mark.parametrize(
    "spoil", [truncated, constant, filled_with_nan, stack, no_image, without_pixel_size, empty, broken_gzip]
)
@pytest.mark.filterwarnings("ignore:Data array contains NaN values")  # mrcfile, as the test writes the file
def test_a_bad_file_is_skipped_with_its_reason_and_the_rest_is_picked(micrographs: Path, spoil: Any) -> None:
    spoil(micrographs / "bad.mrc")

    result = pick("mics", "--out", "p.star", "--diameter", "40", "--threshold", "0.5")

    assert result.exit_code == 3
    assert [line for line in result.stderr.splitlines() if line.startswith("Skipped ") and "bad.mrc" in line]
    assert facts(result)["Skipped"] == "1"
    assert result.stdout.splitlines()[-1].strip().startswith("mics/bad.mrc")
    assert set(read_particles_star("p.star")) == {"mics/a.mrc", "mics/b.mrc"}


def test_the_missing_pixel_size_names_its_flag(micrographs: Path) -> None:
    without_pixel_size(micrographs / "bad.mrc")

    assert "--pixel-size" in pick("mics/bad.mrc", "--out", "p.star", "--diameter", "40").stderr
    assert pick("mics/bad.mrc", "--out", "p.star", "--diameter", "40", "--pixel-size", "2").exit_code == 0


def test_nothing_readable_is_an_error(micrographs: Path) -> None:
    for path in micrographs.iterdir():
        no_image(path)

    result = pick("mics", "--out", "p.star", "--diameter", "40")

    assert result.exit_code == 1
    assert "none of the 2 micrographs could be picked" in result.stderr
    assert not Path("p.star").exists()


@pytest.mark.parametrize("given", ["nowhere", "mics/*.tif", "empty"])
def test_no_input_is_an_error_that_says_what_was_looked_for(micrographs: Path, given: str) -> None:
    Path("empty").mkdir()

    result = pick(given, "--out", "p.star")

    assert result.exit_code == 1
    assert given in result.stderr
    assert not Path("p").exists()


def test_an_output_that_cannot_be_written_is_said_before_the_work(micrographs: Path) -> None:
    Path("file").touch()

    result = pick("mics", "--out", "file/p.star", "--diameter", "40")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: file")
    assert len(result.stderr.splitlines()) == 2


def test_an_output_that_is_no_star_file_is_wrong_usage(micrographs: Path) -> None:
    result = pick("mics", "--out", "picks.txt")

    assert result.exit_code == 2
    assert "picks.txt" in result.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--weights", "mics/a.mrc"], "mics/a.mrc"),
        (["--device", "abacus"], "abacus"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_weights_and_devices_that_are_none_are_said_in_one_line(
    micrographs: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], said: str
) -> None:
    monkeypatch.undo()  # the real picker has to be loaded
    monkeypatch.chdir(micrographs.parent)

    result = pick("mics", "--out", "p.star", "--diameter", "40", *flags)

    assert result.exit_code == 1
    # On a machine under load it takes so long to load that this is said first.
    error = result.stderr.removeprefix("Loading the model and looking at the micrographs\n").splitlines()
    assert error[0].startswith("Error: ")
    assert said in error[0]
    assert len(error) == 2
