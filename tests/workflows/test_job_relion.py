"""What a job of RELION may be asked for."""

from pathlib import Path

import pytest
import torch

from cryotx_cli.config import PickConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.workflows.job_relion import RelionJob, settings_of_job, use_threads

MICS = {"--in_mics": Path("mics.star"), "--in_parts": None}


def test_the_run_lies_in_the_folder_of_the_job() -> None:
    job = RelionJob(Path("External/job004"), Path("mics.star"))

    assert (job.star, job.run) == (Path("External/job004/cryotx.star"), Path("External/job004/cryotx"))


@pytest.mark.parametrize(
    ("gpu", "device"),
    [("0", "cuda:0"), ("0,1", "cuda:0,1"), ("0:1", "cuda:0,1"), ("cpu", "cpu"), ("", "auto"), (None, "auto")],
)
def test_gpus_are_numbered_as_relion_does(gpu: str | None, device: str) -> None:
    assert settings_of_job(PickConfig(), MICS, gpu).device == device


def test_coordinates_for_relion_are_always_written() -> None:
    assert settings_of_job(PickConfig(formats=("csv",)), MICS, None).formats == ("relion", "csv")
    assert settings_of_job(PickConfig(), MICS, None).formats == PickConfig().formats


@pytest.mark.parametrize(
    ("config", "given", "gpu", "named"),
    [
        (PickConfig(watch=True), MICS, None, "watch"),
        (PickConfig(), {"--in_mics": None, "--in_parts": None}, None, "--in_mics"),
        (PickConfig(), {"--in_mics": Path("a"), "--in_parts": Path("b")}, None, "--in_parts"),
        (PickConfig(device="cpu"), MICS, "0", "--gpu"),
    ],
)
def test_what_does_not_go_together_is_named(config: PickConfig, given: dict, gpu: str | None, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        settings_of_job(config, given, gpu)


def test_the_network_gets_the_threads_that_relion_says() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
