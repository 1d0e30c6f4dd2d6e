"""What a job of RELION leaves in its folder."""

from pathlib import Path

from cryotx_cli.workflows.job_relion import run_of_job


def test_the_run_lies_in_the_folder_of_the_job() -> None:
    assert run_of_job(Path("External/job004")) == Path("External/job004/cryotx.star")
