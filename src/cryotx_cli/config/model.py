"""Settings of a network that its checkpoint holds, and no flag changes."""

from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt

from cryotx_cli.config.fields import Probability, settings


@settings
class CenterConfig:
    """Architecture of the default model; stored in every checkpoint of it."""

    widths: Annotated[tuple[int, int, int, int], Doc("Channels of the stem and of strides 4, 8 and 16.")] = (
        24,
        48,
        96,
        192,
    )
    depths: Annotated[tuple[int, int, int], Doc("Residual blocks at strides 4, 8 and 16.")] = (1, 2, 3)
    hidden_dim: Annotated[int, Gt(0), Doc("Width of the transformer.")] = 128
    thin_dim: Annotated[int, Gt(0), Doc("Channels of the feature map at stride 4.")] = 48
    heads: Annotated[int, Gt(0), Doc("Attention heads.")] = 8
    encoder_layers: Annotated[int, Ge(0), Doc("Self-attention layers at stride 16.")] = 1
    decoder_layers: Annotated[int, Ge(0), Doc("Decoder layers; 0 leaves the dense map alone.")] = 2
    radius: Annotated[float, Gt(0), Doc("Particle radius in network pixels that inputs are scaled to.")] = 12.0
    peak_floor: Annotated[Probability, Doc("Peaks of the dense map below this probability are no queries.")] = 0.01
