"""`cryotx train`: the default model on simulated micrographs, the paper's on labelled ones; resumable at any moment."""

from collections.abc import Iterator
from pathlib import Path

from cryotx_cli.config import TrainConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.training.progress import StepReport

_CENTER_SETTINGS = ("steps", "structures", "procedural_structures", "validate_every")


def train(out: Path, config: TrainConfig) -> Iterator[StepReport]:
    """Train until the end of the run or `config.minutes`, then write `best.safetensors` and `last.safetensors`.

    `config.model` decides what is trained, and on what: `center` on simulated micrographs, `cryotransformer` on the
    COCO folder `config.data`. With `config.refit_head` only the class layer of `cryotransformer` weights is fitted.

    The state of the run is saved every few minutes; with `config.resume` the next call goes on from it: the data of
    every step depend on the seed and the step alone. log.csv has a row every 20 steps.

    Raises
    ------
    ConfigError
        If the settings do not say what to train on.
    DatasetError
        If the loss stops being finite, the data cannot be used, or the folder holds another run.
    CheckpointError
        If there is nothing to resume, or the weights to start from cannot be used.
    """
    check_source(config)
    if config.model == "center":
        from cryotx_cli.training.center_training import train_center

        yield from train_center(out, config)
        return
    # These bring torchvision and TensorBoard, which the default model does without.
    from cryotx_cli.training.detr_training import train_detr
    from cryotx_cli.training.refit_head import refit_head

    yield from refit_head(out, config) if config.refit_head else train_detr(out, config)


def check_source(config: TrainConfig) -> None:
    """Refuse settings that do not say what to train on or what from, or that are of another model.

    Raises
    ------
    ConfigError
        If they do not.
    """
    _refuse_settings_of_the_other_model(config)
    if config.model == "center" and (config.data is not None or config.refit_head):
        setting = "refit_head" if config.data is None else "data"
        raise ConfigError(
            f"{setting}: the center model learns from simulated micrographs only",
            "Add --model cryotransformer, or leave it out.",
        )
    if config.model == "cryotransformer" and config.data is None:
        raise ConfigError(
            "data: cryotransformer learns from labelled micrographs, and none are given",
            "Give --data DIR, a CryoPPP tree or a folder of make-coco; cryotx simulate makes a tree.",
        )
    if config.refit_head and config.init in (None, "imagenet", "scratch"):
        raise ConfigError("refit_head: needs the weights whose class layer is to be fitted", "Give --init FILE.pth.")


def _refuse_settings_of_the_other_model(config: TrainConfig) -> None:
    """Refuse what would be ignored in silence."""
    other = {"center": ("backbone", "epochs", "cryotransformer"), "cryotransformer": _CENTER_SETTINGS}[config.model]
    given = [name for name in other if getattr(config, name) != getattr(TrainConfig(), name)]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: not a setting of --model {config.model}", "Leave it out or choose the other model."
        )
