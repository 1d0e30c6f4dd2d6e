"""`cryotx train`: the default model on simulated micrographs, adapted to labelled ones, or the paper's model."""

from collections.abc import Iterator
from pathlib import Path

from cryotx_cli.config import TrainConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.training.progress import StepReport

_FINE_TUNING_SETTINGS = ("micrographs", "diameter", "pixel_size")
_DATA = "Give the labels with --data."
_SIMULATION_SETTINGS = ("steps", "structures", "procedural_structures", "validate_every")
_DETR_SETTINGS = ("backbone", "epochs", "refit_head", "cryotransformer")
_FOREIGN_SETTINGS = {
    "center": ("backbone", "epochs", "cryotransformer"),
    "film": ("data", *_FINE_TUNING_SETTINGS, *_DETR_SETTINGS),
    "cryotransformer": (*_SIMULATION_SETTINGS, *_FINE_TUNING_SETTINGS),
}


def train(out: Path, config: TrainConfig) -> Iterator[StepReport]:
    """Train until the end of the run or `config.minutes`, then write `best.safetensors` and `last.safetensors`.

    `config.model` decides what is trained, and on what: `center` on simulated micrographs, or with `config.data` on
    labelled ones, from weights that pick already; `film`, the film finder that goes with `center` weights, on simulated
    micrographs; `cryotransformer` on the COCO folder `config.data`. With
    `config.refit_head` only the class layer of `cryotransformer` weights is fitted.

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
    if config.model == "center" and config.data is not None:
        from cryotx_cli.training.center.adapt import fine_tune

        yield from fine_tune(out, config)
        return
    if config.model == "center":
        from cryotx_cli.training.center.train import train_center

        yield from train_center(out, config)
        return
    if config.model == "film":
        from cryotx_cli.training.center.film import train_film

        yield from train_film(out, config)
        return
    # These bring torchvision and TensorBoard, which the default model does without.
    from cryotx_cli.training.cryotransformer.refit_head import refit_head
    from cryotx_cli.training.cryotransformer.train import train_detr

    yield from refit_head(out, config) if config.refit_head else train_detr(out, config)


def check_source(config: TrainConfig) -> None:
    """Refuse settings that do not say what to train on or what from, or that are of another model.

    Raises
    ------
    ConfigError
        If they do not.
    """
    _refuse_settings_of_the_other_model(config)
    if config.model == "center" and config.refit_head:
        raise ConfigError(
            "refit_head: the center model has no such class layer", "Add --model cryotransformer, or leave it out."
        )
    given = [name for name in _FINE_TUNING_SETTINGS if getattr(config, name) is not None]
    if config.model == "center" and config.data is None and given:
        raise ConfigError(f"{', '.join(given)}: says something about labelled micrographs, and none are given", _DATA)
    if config.model == "cryotransformer" and config.data is None:
        raise ConfigError(
            "data: cryotransformer learns from labelled micrographs, and none are given",
            "Give --data DIR, a CryoPPP tree or a folder of make-coco; cryotx simulate makes a tree.",
        )
    if config.refit_head and config.init in (None, "imagenet", "scratch"):
        raise ConfigError("refit_head: needs the weights whose class layer is to be fitted", "Give --init FILE.pth.")


def _refuse_settings_of_the_other_model(config: TrainConfig) -> None:
    """Refuse what would be ignored in silence."""
    foreign = _FOREIGN_SETTINGS[config.model]
    given = [name for name in foreign if getattr(config, name) != getattr(TrainConfig(), name)]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: not a setting of --model {config.model}", "Leave it out or choose another model."
        )
