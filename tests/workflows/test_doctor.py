"""What `cryotx doctor` finds on machines with and without problems."""

import hashlib
import shutil
from importlib import metadata

import pytest
import torch

from cryotx_cli.config import DoctorConfig
from cryotx_cli.detector import device
from cryotx_cli.detector.checkpoint import checkpoint_path
from cryotx_cli.workflows import doctor
from cryotx_cli.workflows.doctor import examine


def examined(**settings):
    return {finding.name: finding for finding in examine(DoctorConfig(**settings))}


def test_a_machine_that_can_pick(tmp_path):
    found = examined(device="cpu", out=tmp_path / "not" / "yet")
    assert not [finding for finding in found.values() if finding.fatal]
    assert found["torch"].value == metadata.version("torch")
    assert found["SHA-256 of weights"].value == hashlib.sha256(checkpoint_path("default").read_bytes()).hexdigest()
    assert found["Picking"].value.startswith("works")
    assert found["Device"].value == "cpu (as asked)"
    assert str(tmp_path) in found["Disk"].value
    assert {"cryotx", "Python", "numpy", "torchvision", "opencv", "Processor cores", "torch threads"} <= set(found)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file"), (b"no weights", "not a cryotx checkpoint"), (b"", "not a cryotx")]
)
def test_weights_that_cannot_be_used(tmp_path, content, said):
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)
    found = examined(device="cpu", weights=str(tmp_path / "w.safetensors"))
    assert found["Picking"].fatal
    assert said in found["Picking"].problem
    assert found["Picking"].remedy


def test_a_library_that_is_missing_ends_the_examination(monkeypatch):
    monkeypatch.setattr(doctor, "_LIBRARIES", ("numpy", "a-library-that-nobody-wrote"))
    found = examined()
    assert found["a-library-that-nobody-wrote"].fatal
    assert "Picking" not in found


def test_a_disk_that_is_nearly_full_or_closed(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_LIBRARIES", ("a-library-that-nobody-wrote",))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert examined(out=tmp_path)["Disk"].problem
    assert not examined(out=tmp_path)["Disk"].fatal

    def closed(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", closed)
    assert "Read-only" in examined(out=tmp_path)["Disk"].problem
    assert examined(out=tmp_path)["Disk"].fatal


def devices(name):
    return {finding.name: finding for finding in doctor._device(name)}


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices("cuda")["Device"].fatal
    assert not devices("cpu")["Device"].problem


def test_a_driver_whose_gpu_torch_cannot_use_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(doctor, "_NVIDIA_DRIVER", tmp_path)
    found = devices("auto")["Device"]
    assert "does not use the GPU" in found.problem
    assert found.remedy
    assert not found.fatal


@pytest.mark.parametrize(("free", "little"), [(20e9, False), (0.5e9, True)])
def test_gpu_memory(monkeypatch, free, little):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Accelerator")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free), int(24e9)))
    monkeypatch.setattr(device, "gpu_failure", lambda index: None)
    found = devices("auto")
    assert found["Device"].value == "cuda:0 (Accelerator, the only GPU)"
    assert bool(found["GPU memory"].problem) == little


def test_a_gpu_that_cannot_compute(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Accelerator")
    monkeypatch.setattr(device, "gpu_failure", lambda index: "no kernel image")
    found = devices("cuda:0")["Device"]
    assert found.fatal
    assert "no kernel image" in found.problem
