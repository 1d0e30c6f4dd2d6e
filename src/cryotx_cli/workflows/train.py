"""`cryotx train`: the default model on simulated micrographs, adapted to labelled ones, or the paper's model."""

from collections.abc import Iterator
from pathlib import Path

from cryotx_cli.config import (
    AdaptConfig,
    CenterTrainConfig,
    CryotransformerTrainConfig,
    FilmTrainConfig,
    RefitConfig,
    TrainConfig,
)
from cryotx_cli.events import Event
from cryotx_cli.training.crowded import telling_of_a_crowd
from cryotx_cli.training.progress import StepReport


def train(out: Path, config: TrainConfig) -> Iterator[StepReport]:
    """Train until the end of the run or `config.minutes`, then write `best.safetensors` and `last.safetensors`.

    The class of the settings decides what is trained, and on what: `CenterTrainConfig` the default model on simulated
    micrographs, `AdaptConfig` on labelled ones, the picks of a run or a review of them, from weights that pick already;
    `FilmTrainConfig` the film finder that goes with `center` weights, on simulated micrographs;
    `CryotransformerTrainConfig` the paper's model on the COCO folder `config.data`, and `RefitConfig` only the class
    layer of its weights.

    The state of a run is saved every few minutes; with `config.resume` the next call goes on from it: the data of
    every step depend on the seed and the step alone. log.csv has a row every 20 steps.

    Raises
    ------
    DatasetError
        If the loss stops being finite, the data cannot be used, or the folder holds another run.
    CheckpointError
        If there is nothing to resume, or the weights to start from cannot be used.
    """
    return telling_of_a_crowd(_reports(out, config), config)


def _reports(out: Path, config: TrainConfig) -> Iterator[StepReport]:
    # Each brings what it needs when it is needed: torchvision and TensorBoard are for the paper's model alone.
    match config:
        case CenterTrainConfig():
            from cryotx_cli.training.center.train import train_center

            return train_center(out, config)
        case AdaptConfig():
            from cryotx_cli.picking.run_labels import labels_of_run
            from cryotx_cli.review.labels import labels_of_review
            from cryotx_cli.training.center.adapt import fine_tune

            told: list[Event] = []
            labels = labels_of_review(config, told.append) or labels_of_run(config)
            return fine_tune(out, config, labels, told)
        case FilmTrainConfig():
            from cryotx_cli.training.center.film import train_film

            return train_film(out, config)
        case CryotransformerTrainConfig():
            from cryotx_cli.training.cryotransformer.train import train_detr

            return train_detr(out, config)
        case RefitConfig():
            from cryotx_cli.training.cryotransformer.refit_head import refit_head

            return refit_head(out, config)
