"""The convolutions of the `center` network in bfloat16, for inference: by choice, for picks change a little.

A number in bfloat16 has the range of one in float32 and eight binary digits, so that nothing overflows and each is off
by up to 0.4 %. Processors and GPUs that know it multiply several times as many a second, and a map takes half the
memory. What places and scores particles stays in float32: attention, the dense map, queries, decoder, film.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryotx_cli.detector.center.network import CenterDETR

_WITHIN = ("stem", "stage4", "stage8", "stage16", "lateral8", "lateral4", "narrow8")
"""Parts of the network whose maps none but convolutions read."""
_LAST = ("project16", "smooth8", "smooth4")
"""Parts whose maps are read by the rest, too."""


def convolve_in_bfloat16(model: CenterDETR) -> None:
    """Let the convolutions of a network whose batch norms are folded compute in bfloat16."""
    for names, result in ((_WITHIN, torch.bfloat16), (_LAST, torch.float32)):
        for name in names:
            setattr(model, name, _Bfloat16(getattr(model, name), result))
    # Not the last of the dense head: neighbours would have the same heat, and both be peaks.
    model.dense_head[0] = _Bfloat16(model.dense_head[0], torch.float32)


class _Bfloat16(nn.Module):
    """A part of a network in bfloat16, whatever is given to it, with a result of this type."""

    def __init__(self, part: nn.Module, result: torch.dtype) -> None:
        super().__init__()
        self.part, self._result = part.to(torch.bfloat16), result

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.part(x.to(torch.bfloat16))
        return y.to(self._result)
