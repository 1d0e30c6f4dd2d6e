"""Names of devices, on machines with and without GPUs (pretended: the answer must not depend on where tests run)."""

import warnings
from types import MappingProxyType

import pytest
import torch

from cryotx_cli.config import PickConfig
from cryotx_cli.detector import device as device_module
from cryotx_cli.detector.device import choose_device, gpu_failure, resolve_device, supports_bfloat16, why_no_gpu
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count, failures=MappingProxyType({})):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"Accelerator {i}")
        monkeypatch.setattr(device_module, "gpu_failure", failures.get)

    return pretend


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_a_name_becomes_the_device_it_means(gpus, count, name, device):
    gpus(count)
    assert resolve_device(name) == torch.device(device)


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_gpu_that_is_not_there_is_named_with_those_that_are(gpus, count, name):
    gpus(count)
    with pytest.raises(DeviceError, match="not there") as caught:
        resolve_device(name)
    assert name in caught.value.message
    assert "cpu" in caught.value.hint
    assert ("cuda:1 (Accelerator 1)" in caught.value.hint) == (count == 2)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "meta", "mps", "vulkan"])
def test_a_name_that_means_no_device_is_refused(gpus, name):
    gpus(1)
    with pytest.raises(DeviceError, match="not a device") as caught:
        resolve_device(name)
    assert name in caught.value.message
    assert "auto" in caught.value.hint


def test_auto_says_which_gpu_and_passes_over_one_that_fails(gpus):
    gpus(1)
    assert choose_device("auto").reason == "Accelerator 0, the only GPU"
    gpus(2)
    assert choose_device("auto").reason == "Accelerator 0, the first of 2 GPUs"
    gpus(2, {0: "no kernel image is available"})
    chosen = choose_device("auto")
    assert chosen.device == torch.device("cuda:1")
    assert "cuda:0 fails: no kernel image" in chosen.reason
    gpus(1, {0: "driver too old"})
    chosen = choose_device("auto")
    assert (chosen.device, chosen.reason) == (torch.device("cpu"), "cuda:0 fails: driver too old")
    assert choose_device("cpu").reason == "as asked"


@pytest.mark.parametrize(
    ("cuda", "visible", "complaint", "driver", "reason"),
    [
        (None, None, None, True, "built for the CPU alone"),
        ("13.0", "", None, True, "CUDA_VISIBLE_DEVICES hides"),
        ("13.0", None, "The NVIDIA driver on your system is too old (found version 11040)", True, "11040"),
        ("13.0", None, None, False, "no NVIDIA driver is loaded"),
        ("13.0", None, None, True, "no GPU that PyTorch"),
    ],
)
def test_the_reason_for_no_gpu(monkeypatch, tmp_path, cuda, visible, complaint, driver, reason):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: complaint and warnings.warn(complaint, stacklevel=1))
    monkeypatch.setattr(device_module, "_DRIVER", tmp_path if driver else tmp_path / "none")
    assert reason in why_no_gpu()


def test_a_gpu_that_does_not_exist_fails():
    assert gpu_failure(99)


def test_bfloat16_is_answered_for_the_processor():
    assert supports_bfloat16(torch.device("cpu")) in (True, False)


def test_bfloat16_is_refused_where_it_would_take_longer(monkeypatch):
    monkeypatch.setattr(device_module, "supports_bfloat16", lambda device: False)
    with pytest.raises(DeviceError, match="--precision bfloat16: this processor has no instructions") as caught:
        load_picker(PickConfig(precision="bfloat16", device="cpu"))
    assert caught.value.hint == "Leave it out."
    assert load_picker(PickConfig(device="cpu")).picker is not None
