"""Names of devices, on machines with and without GPUs (pretended: the answer must not depend on where tests run)."""

import pytest
import torch

from cryotx_cli.detector.device import resolve_device, supports_bfloat16
from cryotx_cli.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"Accelerator {i}")

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


def test_bfloat16_is_answered_for_the_processor():
    assert supports_bfloat16(torch.device("cpu")) in (True, False)
