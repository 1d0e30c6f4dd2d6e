"""What a job of CryoSPARC gets from a run, without the command line around it."""

from pathlib import Path

import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.errors import CryotxError
from cryotx_cli.workflows.job_cryosparc import hand_over, start_job
from cryotx_cli.workflows.pick import start_pick
from quick_picker import QuickPicker

pytest.importorskip("cryosparc", reason="cryosparc-tools comes with the extra 'cryosparc'")

from cryosparc_stand_in import EMAIL, PASSWORD, serving, small_project


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryosparc.tools import CryoSPARC

    known = {**CryoSPARC.__init__.__kwdefaults__, "email": EMAIL, "password": PASSWORD}
    monkeypatch.setattr(CryoSPARC.__init__, "__kwdefaults__", known)


def test_a_run_without_a_pick_hands_over_empty_outputs(tmp_path: Path) -> None:
    instance, said = small_project(tmp_path / "CS-project"), []
    with serving(instance) as url:
        pick = start_job("P3", "W1", "J12", None, None, url, None, said.append)
        config = PickConfig(diameter=60.0, threshold=1.0, exposures=pick.inputs, images=False)
        with pick.job.running():
            run = start_pick([pick.inputs], pick.out, config, QuickPicker())
            hand_over(pick, list(run), run.summary)

    assert said == []
    assert len(instance.saved["J13", "particles"]) == 0
    assert len(instance.saved["J13", "micrographs"]) == 3
    assert instance.images == {}  # there are no pictures
    assert instance.jobs["J13"].status == "completed"


def test_a_job_that_is_completed_is_not_started_again(tmp_path: Path) -> None:
    instance = small_project(tmp_path / "CS-project")
    with serving(instance) as url:
        for job in (None, "J13"):
            pick = start_job("P3", "W1", "J12", job, None, url, None, print)
            if job is None:
                with pick.job.running():
                    pass
        with pytest.raises(CryotxError, match=r"to start J13.*J13 is completed"), pick.job.running():
            pass
