"""Every setting once: its type, limits, help and default; TOML in and out.

Importing this package is cheap.
"""

from cryotx_cli.config.commands import (
    CheckConfig,
    ClassesConfig,
    ConvertConfig,
    DenoiseConfig,
    DoctorConfig,
    EvaluateConfig,
    MakeCocoConfig,
    RelionTrainConfig,
    ReviewConfig,
    SimulateConfig,
)
from cryotx_cli.config.fields import (
    Auto,
    CoordinateFormatName,
    DenoisingPipeline,
    Device,
    Length,
    Panel,
    Precision,
    Probability,
    RunFormatName,
    settings,
)
from cryotx_cli.config.model import CenterConfig
from cryotx_cli.config.pick import PickConfig, ThresholdConfig, device_names, idle_unsure
from cryotx_cli.config.toml import load_config, save_config
from cryotx_cli.config.train import (
    TRAIN_SETTINGS,
    AdaptConfig,
    CenterTrainConfig,
    CryotransformerConfig,
    CryotransformerTrainConfig,
    FilmTrainConfig,
    RefitConfig,
    RunConfig,
    TrainConfig,
    WayOfTraining,
    load_train_config,
)

__all__ = [
    "TRAIN_SETTINGS",
    "AdaptConfig",
    "Auto",
    "CenterConfig",
    "CenterTrainConfig",
    "CheckConfig",
    "ClassesConfig",
    "ConvertConfig",
    "CoordinateFormatName",
    "CryotransformerConfig",
    "CryotransformerTrainConfig",
    "DenoiseConfig",
    "DenoisingPipeline",
    "Device",
    "DoctorConfig",
    "EvaluateConfig",
    "FilmTrainConfig",
    "Length",
    "MakeCocoConfig",
    "Panel",
    "PickConfig",
    "Precision",
    "Probability",
    "RefitConfig",
    "RelionTrainConfig",
    "ReviewConfig",
    "RunConfig",
    "RunFormatName",
    "SimulateConfig",
    "ThresholdConfig",
    "TrainConfig",
    "WayOfTraining",
    "device_names",
    "idle_unsure",
    "load_config",
    "load_train_config",
    "save_config",
    "settings",
]
