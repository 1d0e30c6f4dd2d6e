"""The formats of numbers in which a network can run."""

import contextlib
from collections.abc import Callable, Iterator

import torch

Context = Callable[[], contextlib.AbstractContextManager[object]]


def formats(device: str) -> dict[str, Context]:
    """Return formats of numbers by name; as shipped, PyTorch takes TF32 for convolutions, float32 for products."""
    shipped: Context = contextlib.nullcontext
    if device == "cpu":
        return {"float32": shipped, "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16)}
    return {
        "float32": lambda: tf32(False, False),
        "as shipped": shipped,
        "TF32": lambda: tf32(True, True),
        "bfloat16": lambda: torch.autocast("cuda", torch.bfloat16),
    }


@contextlib.contextmanager
def tf32(convolutions: bool, products: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
