"""`cryotx job cryosparc` against a stand-in that cryosparc-tools' own client talks to."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.hosts import cryosparc as host
from cryotx_cli.workflows import pick as workflow
from quick_picker import QuickPicker

pytest.importorskip("cryosparc", reason="cryosparc-tools comes with the extra 'cryosparc'")

from cryosparc_stand_in import EMAIL, NAMES, PASSWORD, RefusedError, StandIn, serving, small_project


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A project with three micrographs in two folders below; the network is a quick stand-in."""
    monkeypatch.setattr(workflow, "start_pick", functools.partial(workflow.start_pick, picker=QuickPicker()))
    monkeypatch.setattr(host, "_SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.chdir(tmp_path)
    return small_project(tmp_path / "CS-project")


@pytest.fixture
def url(instance: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(instance) as address:
        # What a shell has set is read when cryosparc-tools is imported, which other tests have done.
        from cryosparc.tools import CryoSPARC

        known = {**CryoSPARC.__init__.__kwdefaults__, "email": EMAIL, "password": PASSWORD}
        monkeypatch.setattr(CryoSPARC.__init__, "__kwdefaults__", known)
        yield address


def job(url: str, *arguments: str, new: bool = True) -> Result:
    where = ["--workspace", "W1", "--exposures", "J12:exposures"] if new else []
    words = ["job", "cryosparc", "--project", "P3", *where, "--url", url, "--diameter", "60", *arguments]
    return CliRunner().invoke(app, words)


def lines(instance: StandIn, kind: str, uid: str = "J13") -> list[str]:
    return [event.text for event in instance.log[uid] if event.type == kind]


def test_picks_and_micrographs_become_outputs_that_other_jobs_take(
    instance: StandIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cryotx", "job", "cryosparc", "--project", "P3"])
    result = job(url, "--threshold", "0.5")

    assert result.exit_code == 0, result.stderr
    made = instance.jobs["J13"]
    assert (made.status, made.spec.type, made.workspace_uids) == ("completed", "snowflake", ["W1"])
    assert [(one.job_uid, one.output) for one in made.spec.inputs.root["exposures"].connections] == [
        ("J12", "exposures")
    ]
    particles, micrographs = instance.saved["J13", "particles"], instance.saved["J13", "micrographs"]
    by_star = read_particles_star(instance.folder / "J13/cryotx.star")
    assert set(by_star) == set(NAMES)
    for uid, name in zip(instance.exposures["uid"], NAMES, strict=True):
        mine = particles.query({"location/micrograph_uid": uid})
        assert set(mine["location/micrograph_path"]) == {name}
        centres = np.column_stack([mine["location/center_x_frac"] * 96, mine["location/center_y_frac"] * 64])
        np.testing.assert_allclose(centres, by_star[name].centres, atol=0.01)
        np.testing.assert_allclose(mine["pick_stats/ncc_score"], by_star[name].scores, atol=1e-5)
    assert set(particles["location/exp_group_id"]) == {7}
    assert (particles["pick_stats/ncc_score"] >= 0.5).all()
    assert list(micrographs["uid"]) == list(instance.exposures["uid"])
    assert list(micrographs["micrograph_blob/vmax"]) == [0, 1, 2]
    text = "\n".join(lines(instance, "text"))
    assert "cryotx job cryosparc --project P3" in text
    assert "--job J13" in text
    assert f"{len(particles)} picks on 3 micrographs" in text
    assert lines(instance, "error") == []
    assert len(lines(instance, "image")) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in instance.assets.values())
    assert set(instance.images) == {"particles", "micrographs", "tile"}


def test_nobody_sees_the_password(instance: StandIn, url: str) -> None:
    result = job(url)

    said = (
        result.output
        + str(instance.log)
        + "".join(path.read_text(errors="replace") for path in (instance.folder / "J13").rglob("*") if path.is_file())
    )
    assert PASSWORD not in said


def test_a_micrograph_that_cannot_be_read_is_told_and_left_out(instance: StandIn, url: str) -> None:
    (instance.folder / NAMES[1]).write_bytes(b"no micrograph")

    result = job(url)

    assert result.exit_code == 3, result.stderr
    assert instance.jobs["J13"].status == "completed"
    assert list(instance.saved["J13", "micrographs"]["micrograph_blob/path"]) == [NAMES[0], NAMES[2]]
    assert NAMES[1] not in set(instance.saved["J13", "particles"]["location/micrograph_path"])
    assert [line for line in lines(instance, "warning") if NAMES[1] in line and "truncated" in line]


def test_an_error_stands_in_the_log_of_the_job(instance: StandIn, url: str) -> None:
    for name in NAMES:
        (instance.folder / name).unlink()

    result = job(url)

    assert result.exit_code == 1
    assert instance.jobs["J13"].status == "failed"
    (told,) = lines(instance, "error")
    assert told.splitlines()[0] in result.stderr
    assert ("J13", "particles") not in instance.saved


@pytest.mark.parametrize(
    "how",
    [
        "killed in CryoSPARC",
        pytest.param("deleted in CryoSPARC", marks=pytest.mark.slow),
        pytest.param("SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_job_that_is_stopped_goes_on_later(
    instance: StandIn, url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    locate, gone = QuickPicker.locate, {}

    def stopped(self: QuickPicker, prepared: Any, micrograph: Any) -> Particles:
        if micrograph.source.name.startswith("b_"):
            if how == "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
            elif how == "killed in CryoSPARC":
                instance.jobs["J13"].status = "killed"
            else:
                gone["J13"] = instance.jobs.pop("J13")
            threading.Event().wait(0.5)
        return locate(self, prepared, micrograph)

    with monkeypatch.context() as patch:
        patch.setattr(QuickPicker, "locate", stopped)
        result = job(url)

    assert result.exit_code == 143, result.stderr
    instance.jobs |= gone
    assert instance.jobs["J13"].status == {"SIGTERM": "failed", "killed in CryoSPARC": "killed"}.get(how, "running")
    assert len([line for line in lines(instance, "error") if "--job J13" in line]) == (how == "SIGTERM")
    assert instance.saved == {}

    result = job(url, "--job", "J13", new=False)

    assert result.exit_code == 0, result.stderr
    assert instance.jobs["J13"].status == "completed"
    assert any("An earlier run finished" in line for line in lines(instance, "text"))
    assert len(instance.saved["J13", "micrographs"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exposures", "J12:particles"], "J12 has J12:exposures"),
        (["--exposures", "J99:exposures"], "P3 J99 does not exist"),
        (["--workspace", "W9"], "P3 W9 does not exist"),
        (["--job", "J99"], "P3 J99 does not exist"),
        (["--job", "J12"], "--job J12: is no External job"),
        (["--folder", "nowhere"], "nowhere/J13: the folder of J13 is not on this machine"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(instance: StandIn, url: str, arguments: list[str], said: str) -> None:
    result = job(url, *arguments)

    assert result.exit_code in (1, 2)
    assert said in result.stderr.splitlines()[0]
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_the_folder_may_be_elsewhere_on_this_machine(instance: StandIn, url: str, tmp_path: Path) -> None:
    here = instance.folder.rename(tmp_path / "mounted")
    (here / "J13").mkdir()
    instance.folder = Path("/nowhere/CS-project")
    instance._add = functools.partial(_add_without_folder, instance)  # type: ignore[method-assign]

    result = job(url, "--folder", str(here))

    assert result.exit_code == 0, result.stderr
    assert (here / "J13/cryotx.star").exists()


def _add_without_folder(instance: StandIn, *arguments: str) -> Any:
    folder, instance.folder = instance.folder, Path.cwd()
    try:
        return StandIn._add(instance, *arguments)
    finally:
        instance.folder = folder


def test_a_wrong_password_and_no_password_name_the_login(
    instance: StandIn, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from cryosparc.tools import CryoSPARC

    known = {**CryoSPARC.__init__.__kwdefaults__, "password": "wrong"}
    monkeypatch.setattr(CryoSPARC.__init__, "__kwdefaults__", known)
    wrong = job(url)
    monkeypatch.setattr(CryoSPARC.__init__, "__kwdefaults__", {**known, "email": None, "password": None})
    monkeypatch.setattr("cryosparc.auth.get_default_auth_config_path", lambda: tmp_path / "none")
    none = job(url)

    for result, code in ((wrong, 1), (none, 2)):
        assert result.exit_code == code
        assert "cryosparc.tools login" in result.stderr
        assert "wrong" not in result.stderr
    assert "Incorrect username or password" in wrong.stderr


def test_without_an_instance_the_address_is_named(instance: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryosparc.tools import CryoSPARC

    known = {**CryoSPARC.__init__.__kwdefaults__, "email": EMAIL, "password": PASSWORD}
    monkeypatch.setattr(CryoSPARC.__init__, "__kwdefaults__", known)

    result = job("http://127.0.0.1:9")

    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert not list(instance.folder.glob("J13"))


def test_a_log_that_cannot_be_written_costs_nothing_but_the_log(instance: StandIn, url: str) -> None:
    instance.refusals = {name: RefusedError(500, "no room") for name in ("jobs.add_event_log", "assets.upload")}

    result = job(url)

    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("no room") == 1
    assert instance.calls.count("jobs.add_event_log") == 1  # it is not asked again and again
    assert len(instance.saved["J13", "particles"]) > 0


@pytest.mark.slow
def test_outputs_that_are_not_taken_say_how_to_go_on(instance: StandIn, url: str) -> None:
    instance.refusals = {"jobs.save_output": RefusedError(500, "no room in the database")}
    result = job(url)

    assert result.exit_code == 1
    assert "no room in the database" in result.stderr
    assert "--job J13" in result.stderr
    assert instance.jobs["J13"].status == "failed"

    instance.refusals = {}
    assert job(url, "--job", "J13", new=False).exit_code == 0
    assert instance.jobs["J13"].status == "completed"


def test_without_the_package_the_line_of_pip_is_named(instance: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryosparc.tools", None)

    result = job("http://127.0.0.1:9")

    assert result.exit_code == 2
    assert "pip install 'cryotx-cli[cryosparc]'" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--workspace", "W1"]])
def test_a_new_job_needs_a_place_and_exposures(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["job", "cryosparc", "--project", "P3", *arguments])

    assert result.exit_code == 2
    assert "--workspace and --exposures" in result.stderr
