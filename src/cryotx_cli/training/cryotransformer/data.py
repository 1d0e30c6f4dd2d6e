"""What the paper's model learns from: the labelled images of a COCO folder, augmented, in reproducible batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from cryotx_cli.config import CryotransformerConfig
from cryotx_cli.datasets.coco import CocoDataset, CocoImage
from cryotx_cli.detector.cryotransformer.checkpoint import DetrInput
from cryotx_cli.detector.cryotransformer.network import pad_to_batch
from cryotx_cli.detector.cryotransformer.picker import colours, network_grey_levels, network_size, resize
from cryotx_cli.errors import DatasetError
from cryotx_cli.micrographs.micrograph import read_stored_pixels
from cryotx_cli.training.cryotransformer.matcher import ParticleTargets

# As DETR augments: cut 384 to 600 px out of an image whose short side has one of these; for a short side of 800 px.
_SIDES_BEFORE_CROP, _CROP_SIDES, _USUAL_SIDE = (400, 500, 600), (384, 600), 800


@dataclass(frozen=True)
class Batch:
    """Images of different sizes, padded.

    Attributes
    ----------
    images, padding
        (B, 3, H, W) float32 and (B, H, W) bool, True where there is no image.
    targets
        Their particles; boxes are fractions of each image without its padding.
    names
        Which images they are.
    """

    images: Tensor
    padding: Tensor
    targets: ParticleTargets
    names: tuple[str, ...]


class TrainingBatches(IterableDataset[list[Batch]]):
    """The batches of every step of a run; iterating yields for each step the batches whose gradients make it.

    Which images a step has depends on seed and step alone, how an image is augmented on seed, epoch and image: a
    resumed run goes on as if it had not stopped, and several processes share a step as one would do it.

    Parameters
    ----------
    dataset
        Training images.
    input
        How they are shown to the network.
    settings
        Augmentation, and batches a step.
    batch_size
        Images a batch of one process.
    epochs
        How often every image is seen.
    seed
        Decides orders and augmentation.
    first
        Number of the first step.
    rank, processes
        Which part of each step is this process's.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        input: DetrInput,
        settings: CryotransformerConfig,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        first: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.dataset, self.input, self.settings = dataset, input, settings
        self.batch_size, self.seed, self.first = batch_size, seed, first
        self.rank, self.processes = rank, processes
        self.images_a_step = batch_size * processes * settings.accumulate
        # The rest that fills no step is left out, other images in every epoch.
        self.steps_an_epoch = max(1, len(dataset) // self.images_a_step)
        self.steps = epochs * self.steps_an_epoch

    def __iter__(self) -> Iterator[list[Batch]]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.first + offset, self.steps, stride):
            yield self.step(step)

    def step(self, number: int) -> list[Batch]:
        """Read and augment this process's batches of one step."""
        epoch, position = divmod(number, self.steps_an_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        places = np.arange(self.images_a_step) + position * self.images_a_step
        images = order[places % len(order)].reshape(self.settings.accumulate, self.processes, self.batch_size)
        return [self._batch(indices, epoch) for indices in images[:, self.rank].tolist()]

    def _batch(self, indices: list[int], epoch: int) -> Batch:
        chosen = [self.dataset.images[index] for index in indices]
        examples = [
            augmented(
                read_grey_levels(self.dataset, image, self.input.pipeline),
                particle_boxes(image),
                self.settings,
                np.random.default_rng([self.seed, epoch, index]),
            )
            for index, image in zip(indices, chosen, strict=True)
        ]
        images, padding = pad_to_batch([image for image, _ in examples])
        targets = ParticleTargets.from_boxes([boxes for _, boxes in examples])
        return Batch(images, padding, targets, tuple(image.file_name for image in chosen))


def input_of(dataset: CocoDataset, settings: CryotransformerConfig) -> DetrInput:
    """Return how the images of a dataset are shown to a network; see `pipeline_of`."""
    return DetrInput(pipeline_of(dataset), settings.short_sides[1], settings.long_side)


def pipeline_of(dataset: CocoDataset) -> Literal["paper", "raw"]:
    """Return how micrographs are prepared to be like the images of a dataset.

    Raises
    ------
    DatasetError
        If nobody knows whether they are denoised.
    """
    if dataset.denoised is None:
        raise DatasetError(
            f"{dataset.folder}: the annotations do not say whether the images are denoised, so later micrographs "
            "could not be prepared like them",
            "Make the folder with cryotx make-coco, or add denoised: true or false to the info of the JSON files.",
        )
    return "paper" if dataset.denoised else "raw"


def read_grey_levels(dataset: CocoDataset, image: CocoImage, pipeline: str) -> NDArray[np.uint8]:
    """Read an image of a dataset as its network is shown it: 8 bits, (height, width)."""
    pixels, _ = read_stored_pixels(dataset.path(image))
    if pipeline == "raw":
        return network_grey_levels(pixels.astype(np.float32), pipeline)
    return pixels.astype(np.uint8)  # denoised when the dataset was made


def particle_boxes(image: CocoImage) -> NDArray[np.float64]:
    """Return centre x, centre y, width and height (n, 4) in pixels from the corner of the image.

    Squares around the true centres: at the border they reach beyond the image, as a box that is cut there would have
    its centre beside the particle's.
    """
    sides = image.particles.diameters[:, None]
    return np.hstack([image.particles.centres + 0.5, sides, sides])


def augmented(
    grey: NDArray[np.uint8], boxes: NDArray[np.float64], settings: CryotransformerConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror, crop and resize at random, as DETR and the original do.

    Returns
    -------
    image : torch.Tensor
        (3, height, width) float32, normalised.
    boxes : torch.Tensor
        (n, 4) float32 of the particles whose centres are in it: centre x, centre y, width, height as fractions.
    """
    mirror, cut = settings.flip and rng.random() < 0.5, settings.crop and rng.random() < 0.5
    low, high = settings.short_sides
    short_side = int(rng.choice(np.arange(low, high + 1, 32)))
    x0, y0, width, height = _crop(grey.shape, high / _USUAL_SIDE, rng) if cut else (0, 0, grey.shape[1], grey.shape[0])
    window = grey[y0 : y0 + height, x0 : x0 + width]
    image = colours(resize(window, *network_size(height, width, short_side, settings.long_side)))
    fractions = (boxes - [x0, y0, 0, 0]) / [width, height, width, height]
    fractions = fractions[((fractions[:, :2] >= 0) & (fractions[:, :2] < 1)).all(1)]
    if mirror:
        image = image.flip(2)
        fractions[:, 0] = 1 - fractions[:, 0]
    return image, torch.from_numpy(fractions.astype(np.float32))


def _crop(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw x0, y0, width and height of a part of an image."""
    factor = min(shape) / (rng.choice(_SIDES_BEFORE_CROP) * scale)
    limits = np.array(_CROP_SIDES) * scale * factor
    height, width = (int(min(side, rng.uniform(*limits))) for side in shape)
    y0, x0 = (int(rng.integers(side - part + 1)) for side, part in zip(shape, (height, width), strict=True))
    return x0, y0, width, height
