"""Every setting once: its type, limits, help and default; TOML in and out.

Importing this package is cheap.
"""

from cryotx_cli.config.commands import (
    CheckConfig,
    ConvertConfig,
    DenoiseConfig,
    DoctorConfig,
    EvaluateConfig,
    MakeCocoConfig,
    SimulateConfig,
)
from cryotx_cli.config.fields import (
    Auto,
    CoordinateFormatName,
    DenoisingPipeline,
    Device,
    Length,
    Panel,
    Probability,
    RunFormatName,
    settings,
)
from cryotx_cli.config.model import CenterConfig
from cryotx_cli.config.pick import PickConfig, ThresholdConfig, device_names
from cryotx_cli.config.toml import load_config, save_config
from cryotx_cli.config.train import CryotransformerConfig, TrainConfig

__all__ = [
    "Auto",
    "CenterConfig",
    "CheckConfig",
    "ConvertConfig",
    "CoordinateFormatName",
    "CryotransformerConfig",
    "DenoiseConfig",
    "DenoisingPipeline",
    "Device",
    "DoctorConfig",
    "EvaluateConfig",
    "Length",
    "MakeCocoConfig",
    "Panel",
    "PickConfig",
    "Probability",
    "RunFormatName",
    "SimulateConfig",
    "ThresholdConfig",
    "TrainConfig",
    "device_names",
    "load_config",
    "save_config",
    "settings",
]
