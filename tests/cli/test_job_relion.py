"""`cryotx job relion` as RELION starts it: by its pipeliner in a project, where that is installed, else as it would."""

import functools
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.files.star_blocks import read_tables
from cryotx_cli.workflows import pick as workflow
from quick_picker import QuickPicker
from relion_project import MICS, PIPELINER, done, make_program, make_project, pipeliner, write_job_star, write_list

JOB = Path("External/job004")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is a project of RELION 3.1 with three micrographs, and a job that it has made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "start_pick", functools.partial(workflow.start_pick, picker=QuickPicker()))
    make_project(tmp_path, 3)
    JOB.mkdir(parents=True)
    return tmp_path


def run(*arguments: str, out: str = "External/job004/") -> Result:
    """Run the job as the GUI composes its command; class averages take longer than all else."""
    averages = [] if "--classes" in arguments else ["--no-classes"]
    return CliRunner().invoke(app, ["job", "relion", "--o", out, *arguments, *averages, "--j", "1"])


def ends() -> set[str]:
    return {path.name for path in JOB.glob("RELION_JOB_*")}


def nodes() -> list[tuple[str, str]]:
    (table,) = read_tables(JOB / "RELION_OUTPUT_NODES.star")
    return list(zip(*(table.texts(column) for column in table.columns), strict=True))


def test_the_folder_of_the_job_is_that_of_an_autopick_job(project: Path) -> None:
    result = run("--in_mics", MICS, "--diameter", "60", "--threshold", "0.4")

    assert result.exit_code == 0, result.output
    assert ends() == {"RELION_JOB_EXIT_SUCCESS"}
    picks = read_particles_star(JOB / "cryotx.star")
    listed = read_particles(JOB / "autopick.star")
    assert {name: len(one) for name, one in listed.items()} == {name: len(one) for name, one in picks.items()}
    (table,) = read_tables(JOB / "autopick.star")
    assert list(table.texts("rlnMicrographCoordinates")) == [f"{JOB}/Movies/m{i}_autopick.star" for i in (1, 2, 3)]
    assert (JOB / "coords_suffix_autopick.star").read_text() == f"{MICS}\n"
    assert len(read_particles(JOB / "Movies/m2_autopick.star")["m2"]) == len(picks["MotionCorr/job002/Movies/m2.mrc"])
    assert (JOB / "logfile.pdf").read_bytes().startswith(b"%PDF-")
    assert "diameter 60\n" in Path(".gui_manualpickjob.star").read_text()


def test_lines_go_where_relion_shows_them(project: Path) -> None:
    result = run("--in_mics", MICS, "--diameter", "60")

    assert "3/3 micrographs" in result.stdout
    assert "report.html" in result.stdout
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout


@pytest.mark.parametrize(
    ("version", "coordinates"),
    [
        ("3.1", (f"{JOB}/coords_suffix_autopick.star", "2")),
        ("4", (f"{JOB}/autopick.star", "MicrographsCoords.star.relion.autopick")),
        ("5", (f"{JOB}/autopick.star", "MicrographCoordsGroup.star.relion.autopick")),
    ],
)
def test_each_version_is_told_in_its_words(tmp_path: Path, version: str, coordinates: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "start_pick", functools.partial(workflow.start_pick, picker=QuickPicker()))
    make_project(tmp_path, 1, pipeline=version)

    assert run("--in_mics", MICS, "--diameter", "60").exit_code == 0
    log = (f"{JOB}/logfile.pdf", "13" if version == "3.1" else "LogFile.pdf.relion.autopick")
    assert nodes() == [coordinates, log]


def test_labels_are_read_as_relion_hands_them_on(project: Path) -> None:
    labels = ["--diameter", "60", "--min_distance", "70", "--images", "No", "--report", "no", "--gpu", "--boxes"]
    result = run("--in_mics", MICS, *labels, "--pipeline_control", "External/job004/")

    assert result.exit_code == 0, result.output
    settings = (JOB / "cryotx/config.toml").read_text()
    assert "min_distance = 70.0" in settings
    assert "images = false" in settings
    assert "report = false" in settings
    assert 'device = "auto"' in settings or "device" not in settings
    assert not list(JOB.rglob("*.png"))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--in_mics", MICS, "--edge", "wide"],
        ["--in_mics", MICS, "--nonsense", "3"],
        [],
        ["--in_mics", MICS, "--in_parts", "p.star"],
        ["--in_mics", MICS, "--watch", "Yes"],
        ["--in_mics", MICS, "--config", "watching.toml"],
        ["--in_mics", MICS, "--gpu", "0", "--device", "cpu"],
    ],
)
def test_wrong_usage_is_marked_for_relion_too(project: Path, wrong: list[str]) -> None:
    Path("watching.toml").write_text("watch = true\n")

    result = run(*wrong)

    assert result.exit_code == 2
    assert result.stderr
    assert ends() == {"RELION_JOB_EXIT_FAILURE"}


def test_what_cannot_be_picked_fails_with_the_reason(project: Path) -> None:
    Path("empty.star").touch()
    Path("bad.star").write_text("no star at all")
    write_list(project / "gone.star", ["MotionCorr/job002/Movies/gone.mrc"])
    for name in ("empty.star", "bad.star", "gone.star", "missing.star"):
        result = run("--in_mics", name, "--diameter", "60")
        assert result.exit_code == 1, name
        assert "Error: " in result.stderr, name
        assert ends() == {"RELION_JOB_EXIT_FAILURE"}


def test_micrographs_that_are_gone_are_named_and_the_job_is_done(project: Path) -> None:
    Path("MotionCorr/job002/Movies/m2.mrc").unlink()

    result = run("--in_mics", MICS, "--diameter", "60")

    assert result.exit_code == 0
    assert "m2.mrc" in result.stderr
    assert ends() == {"RELION_JOB_EXIT_SUCCESS"}
    assert set(read_particles(JOB / "autopick.star")) == {f"MotionCorr/job002/Movies/m{i}.mrc" for i in (1, 3)}


def test_more_micrographs_and_other_settings_are_taken_up(project: Path) -> None:
    run("--in_mics", MICS, "--diameter", "60", "--threshold", "0.4")
    before = read_particles(JOB / "autopick.star")
    Path(MICS).write_text("".join(Path(MICS).read_text().partition('"MotionCorr/job002/Movies/m3')[:1]) + "\n")
    result = run("--in_mics", MICS, "--diameter", "60", "--threshold", "0.7", out="External/job004")

    assert result.exit_code == 0, result.output
    after = read_particles(JOB / "autopick.star")
    assert set(after) == set(before) - {"MotionCorr/job002/Movies/m3.mrc"}
    assert all(0 < len(one) < len(before[name]) for name, one in after.items())


def test_the_micrographs_of_particles_are_picked(project: Path) -> None:
    rows = "".join(f"00000{i}@Extract/p.mrcs MotionCorr/job002/Movies/m{i}.mrc 1\n" for i in (1, 3, 1))
    Path("particles.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnMicrographOriginalPixelSize\n1 2.0\n\n"
        f"data_particles\n\nloop_\n_rlnImageName\n_rlnMicrographName\n_rlnOpticsGroup\n{rows}\n"
    )

    result = run("--in_parts", "particles.star", "--diameter", "60")

    assert result.exit_code == 0, result.output
    assert set(read_particles(JOB / "autopick.star")) == {f"MotionCorr/job002/Movies/m{i}.mrc" for i in (1, 3)}


def test_settings_of_the_display_that_were_saved_by_hand_stay(project: Path) -> None:
    Path(".gui_manualpickjob.star").write_text("data_job\n")

    result = run("--in_mics", MICS, "--diameter", "60")

    assert Path(".gui_manualpickjob.star").read_text() == "data_job\n"
    assert "diameter of 60 Å" in result.stdout


def test_a_project_that_cannot_take_settings_of_the_display_is_no_failure(project: Path) -> None:
    Path(".gui_manualpickjob.star").mkdir()

    result = run("--in_mics", MICS, "--diameter", "60")

    assert result.exit_code == 0, result.output
    assert ends() == {"RELION_JOB_EXIT_SUCCESS"}
    assert "diameter of 60 Å" in result.stdout


def test_values_keep_their_hyphens_and_what_is_off_is_not_told(project: Path) -> None:
    result = run("--in_mics", MICS, "--diameter=60", "--weights=my_own-model.safetensors", "--report", "No")

    assert result.exit_code == 0, result.output
    assert 'weights = "my_own-model.safetensors"' in (JOB / "cryotx/config.toml").read_text()
    assert "None" not in result.stdout


def test_picks_that_relion_3_cannot_find_are_told(project: Path) -> None:
    names = ["MotionCorr/job002/Movies/m1.mrc", "MotionCorr/job005/Movies/m1.mrc"]
    Path(names[1]).parent.mkdir(parents=True)
    Path(names[1]).write_bytes(Path("MotionCorr/job002/Movies/m2.mrc").read_bytes())
    write_list(project / "two.star", names)

    result = run("--in_mics", "two.star", "--diameter", "60")

    assert result.exit_code == 0, result.output
    assert "RELION 3.1 does not find the picks of 2 micrographs" in result.stdout
    assert set(read_particles(JOB / "autopick.star")) == set(names)


@pytest.mark.slow
def test_class_averages_of_the_picks_are_offered(project: Path) -> None:
    result = run("--in_mics", MICS, "--diameter", "60", "--threshold", "0.2", "--classes", "2")

    assert "Class averages: " in result.stdout
    assert (f"{JOB}/cryotx/classes/classes.star", "5") in nodes()
    assert "does not find" not in result.stdout


def test_something_in_the_way_of_the_coordinates_is_named(project: Path) -> None:
    (JOB / "Movies").mkdir()

    result = run("--in_mics", MICS, "--diameter", "60")

    assert result.exit_code == 1
    assert "External/job004/Movies: is in the way" in result.stderr
    assert ends() == {"RELION_JOB_EXIT_FAILURE"}


needs_pipeliner = pytest.mark.skipif(PIPELINER is None, reason="relion_pipeliner is not installed")


def rows_of(table: str) -> list[tuple[str, ...]]:
    tables = {one.block: one for one in read_tables(Path("default_pipeline.star"))}
    found = tables[f"pipeline_{table}"]
    return list(zip(*(found.texts(column) for column in found.columns), strict=True))


@needs_pipeliner
@pytest.mark.slow
def test_relion_runs_the_job_offers_its_coordinates_and_extracts_every_pick(project: Path) -> None:
    JOB.rmdir()
    program = make_program(project / "cryotx_job", "job", "relion")
    write_job_star(
        project / "job.star", 99, fn_exe=program, in_mic=MICS, param1_label="diameter", param1_value=60,
        param2_label="threshold", param2_value=0.4, param3_label="gpu", nr_threads=2, do_queue="No",
    )  # fmt: skip
    done(pipeliner(project, "--addJobFromStar", "job.star"))
    done(pipeliner(project, "--RunJobs", "External/job004/", "--sec_wait_after", "0"))

    assert (JOB / "run.err").read_text() == ""
    assert "3/3 micrographs" in (JOB / "run.out").read_text()
    assert ("External/job004/", "None", "99", "2") in rows_of("processes")
    assert ("External/job004/coords_suffix_autopick.star", "2") in rows_of("nodes")
    assert ("External/job004/", "External/job004/logfile.pdf") in rows_of("output_edges")

    coordinates = "External/job004/coords_suffix_autopick.star"
    write_job_star(
        project / "extract.star", 5, star_mics=MICS, coords_suffix=coordinates, extract_size=32, bg_diameter=30,
        do_rescale="No", nr_mpi=1, do_queue="No",
    )  # fmt: skip
    done(pipeliner(project, "--addJobFromStar", "extract.star"))
    done(pipeliner(project, "--RunJobs", "Extract/job005/", "--sec_wait_after", "0"))

    extracted = Path("Extract/job005/particles.star").read_text().count("@")
    assert extracted == sum(len(one) for one in read_particles_star(JOB / "cryotx.star").values()) > 30


@needs_pipeliner
@pytest.mark.slow
def test_relion_aborts_the_job_and_continues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, 12)
    program = make_program(tmp_path / "cryotx_job", "job", "relion", seconds=0.5)
    write_job_star(
        tmp_path / "job.star", 99, fn_exe=program, in_mic=MICS, param1_label="diameter", param1_value=60,
        nr_threads=1, do_queue="No",
    )  # fmt: skip
    done(pipeliner(tmp_path, "--addJobFromStar", "job.star"))
    running = pipeliner(tmp_path, "--RunJobs", "External/job004/", "--sec_wait_after", "0")
    ledger = JOB / "cryotx/ledger.jsonl"
    while running.poll() is None and not (ledger.is_file() and ledger.read_text().count("\n") >= 2):
        time.sleep(0.1)
    (JOB / "RELION_JOB_ABORT_NOW").touch()
    running.communicate(timeout=300)

    assert ends() == {"RELION_JOB_EXIT_ABORTED"}
    assert ("External/job004/", "None", "99", "4") in rows_of("processes")
    kept = read_particles(JOB / "autopick.star")
    assert 2 <= len(kept) < 12
    assert not (JOB / "RELION_OUTPUT_NODES.star").exists()

    done(pipeliner(tmp_path, "--RunJobs", "External/job004/", "--sec_wait_after", "0"))

    assert ends() == {"RELION_JOB_EXIT_SUCCESS"}
    assert f"An earlier run finished {len(kept)} of 12" in (JOB / "run.out").read_text()
    assert len(read_particles(JOB / "autopick.star")) == 12
    assert ("External/job004/", "None", "99", "2") in rows_of("processes")
