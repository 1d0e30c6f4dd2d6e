"""What a job of RELION learns from, and what it tells RELION 3.1, which has no name for weights."""

from pathlib import Path

import pytest

from cryotx_cli.config import RelionTrainConfig
from cryotx_cli.files.star_blocks import read_tables
from cryotx_cli.workflows.job_relion_train import finish_training, settings_of_training, weights_of_job
from relion_project import make_project


def test_it_goes_on_where_there_is_a_state(tmp_path: Path) -> None:
    given = {"--in_mics": Path("m.star"), "--in_parts": Path("p.star"), "--in_coords": None}

    assert not settings_of_training(RelionTrainConfig(), tmp_path, given).resume
    (tmp_path / "model").mkdir()
    (tmp_path / "model/state.pt").touch()
    assert settings_of_training(RelionTrainConfig(), tmp_path, given).resume


def test_weights_are_no_output_for_relion_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, 1)

    finish_training(Path("External/job007"), ["as good as before"])

    (nodes,) = read_tables(Path("External/job007/RELION_OUTPUT_NODES.star"))
    assert list(nodes.texts("rlnPipeLineNodeName")) == ["External/job007/logfile.pdf"]
    assert weights_of_job(Path("External/job007")) == Path("External/job007/model/best.safetensors")


def test_coordinates_of_a_job_that_picked_stand_for_its_run_and_its_classes(tmp_path: Path) -> None:
    run = tmp_path / "job004/cryotx"
    run.mkdir(parents=True)
    for name in ("config.toml", "ledger.jsonl"):
        (run / name).touch()
    given = {"--in_mics": Path("m.star"), "--in_parts": None, "--in_coords": tmp_path / "job004/autopick.star"}

    config = settings_of_training(RelionTrainConfig(keep_classes="1,2"), tmp_path, given)

    assert (config.data, config.micrographs, config.keep_classes) == (run, None, "1,2")
