"""Which processor the network runs on."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from cryotx_cli.errors import DeviceError

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class ChosenDevice:
    """A device and why it is this one, in words."""

    device: torch.device
    reason: str


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that is there; `auto` prefers the first GPU.

    Raises
    ------
    DeviceError
        If the name is none of these or the GPU is not there.
    """
    return choose_device(name).device


def choose_device(name: str) -> ChosenDevice:
    """Do as `resolve_device`, and say why: a GPU is never passed over in silence.

    Raises
    ------
    DeviceError
        If the name is none of these or the GPU is not there.
    """
    if name == "auto":
        return _automatic()
    count = torch.cuda.device_count()
    there = ", ".join(["cpu", *[f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count)]])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"--device {name}: not a device that cryotx knows", f"Use auto or one of: {there}.")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            f"--device {name}: this GPU is not there" + (f": {why_no_gpu()}" if not count else ""),
            f"Use auto or one of: {there}.",
        )
    return ChosenDevice(torch.device("cuda", device.index or 0) if device.type == "cuda" else device, "as asked")


def _automatic() -> ChosenDevice:
    count = torch.cuda.device_count()
    failures: list[str] = []
    for index in range(count):
        failure = gpu_failure(index)
        if failure is None:
            which = "the only GPU" if count == 1 else f"the first of {count} GPUs"
            if index:
                which = f"the first of {count} GPUs that works: {failures[0]}"
            return ChosenDevice(torch.device("cuda", index), f"{torch.cuda.get_device_name(index)}, {which}")
        failures.append(f"cuda:{index} fails: {failure}")
    return ChosenDevice(torch.device("cpu"), failures[0] if failures else why_no_gpu())


def gpu_failure(index: int) -> str | None:
    """Compute something on a GPU; return what goes wrong, None if it works."""
    try:
        # A GPU that is listed may be too old for this build of torch, its driver too old, or its memory taken.
        (torch.ones(8, device=f"cuda:{index}") * 2).sum().item()
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return None


def why_no_gpu() -> str:
    """Say why torch sees no GPU."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"no GPU: this PyTorch, {torch.__version__}, is built for the CPU alone"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "no GPU: CUDA_VISIBLE_DEVICES hides all of them"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.is_available()
    complaint = next((str(one.message).split("(Triggered", 1)[0].strip() for one in said), "")
    if complaint:
        return f"no GPU that PyTorch {torch.__version__} can use: {complaint}"
    if not _DRIVER.exists() and torch.version.cuda is not None:
        return "no GPU: no NVIDIA driver is loaded on this machine"
    return f"no GPU that PyTorch {torch.__version__} can use"


def supports_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native there; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_bfloat16_instructions()


def require_bfloat16(device: torch.device) -> None:
    """Refuse a device that would take longer in bfloat16 than in float32.

    Raises
    ------
    DeviceError
        If this is one.
    """
    if not supports_bfloat16(device):
        which = torch.cuda.get_device_name(device) if device.type == "cuda" else "this processor"
        raise DeviceError(
            f"--precision bfloat16: {which} has no instructions for it that PyTorch {torch.__version__} uses, and "
            "would take longer than in float32",
            "Leave it out.",
        )


def _has_bfloat16_instructions() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
