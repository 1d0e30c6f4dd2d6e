"""Networks whose parameters are about to be replaced by those of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class Unfilled(TorchFunctionMode):
    """In this context the parameters of new modules keep whatever their memory holds.

    Drawing random numbers for them takes as long as all else that building a network does. ``torch.device("meta")``
    would save it, too, but it loads half of PyTorch's compiler: 1.6 s.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Pass over what fills a parameter, and do everything else."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
