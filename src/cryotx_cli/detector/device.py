"""Which processor the network runs on."""

from __future__ import annotations

import torch

from cryotx_cli.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that is there; `auto` prefers the first GPU.

    Raises
    ------
    DeviceError
        If the name is none of these or the GPU is not there.
    """
    count = torch.cuda.device_count()
    there = ", ".join(["cpu", *[f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count)]])
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"--device {name}: not a device that cryotx knows", f"Use auto or one of: {there}.")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(f"--device {name}: this GPU is not there", f"Use auto or one of: {there}.")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def supports_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native there; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_bfloat16_instructions()


def _has_bfloat16_instructions() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
