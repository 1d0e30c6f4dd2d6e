"""Training crops at network scale, simulated on the fly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, normalise, padding
from cryotx_cli.simulator.camera import develop
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import SimulatedMicrograph, simulate_micrograph
from cryotx_cli.simulator.structures import Structure, procedural_structure, read_structures

T = TypeVar("T")

HELD_OUT_SEED = 7_000_003  # structures and crops that no training seed draws
_HELD_OUT = 40
_CONTEXT = 32  # px: half of the background window lies outside most crops, as it does inside a whole micrograph


@dataclass(frozen=True)
class Crop:
    """One training example at network scale.

    Attributes
    ----------
    image
        (1, size, size) float32, normalised.
    centres, radii, ignored
        (n, 2) and (n,) in pixels of the crop with (0, 0) the centre of the first one, and (n,) bool.
    junk
        (size, size) float32 in 0..1.
    """

    image: Tensor
    centres: Tensor
    radii: Tensor
    ignored: Tensor
    junk: Tensor


class PackedCrops(NamedTuple):
    """Crops of one size in four tensors: a process hands each tensor over by a file descriptor of its own."""

    images: Tensor
    junk: Tensor
    particles: Tensor  # (n, 4): x, y, radius and whether ignored, crop after crop
    counts: Tensor


def packed(crops: Sequence[Crop]) -> PackedCrops:
    """Put crops of one size together for the way to another process."""
    columns = [torch.column_stack([crop.centres, crop.radii, crop.ignored.float()]) for crop in crops]
    return PackedCrops(
        torch.stack([crop.image for crop in crops]),
        torch.stack([crop.junk for crop in crops]),
        torch.cat(columns),
        torch.tensor([len(column) for column in columns]),
    )


def unpacked(batch: PackedCrops) -> list[Crop]:
    """Take the crops apart again."""
    particles = torch.split(batch.particles, batch.counts.tolist())
    return [
        Crop(image, rows[:, :2], rows[:, 2], rows[:, 3] > 0, junk)
        for image, junk, rows in zip(batch.images, batch.junk, particles, strict=True)
    ]


class SimulatedCrops(IterableDataset[PackedCrops]):
    """Endless batches of simulated crops, reproducible from a seed.

    The first tenth of a run may be easy (fair defocus and dose, little junk); the last eighth has larger crops, 384 px
    or, where a batch has room for at least eight, 512 px, fewer of them, and diameters closer to the nominal one, as
    whole micrographs have.

    Parameters
    ----------
    structures
        The macromolecules to draw from.
    batch_size
        Crops of 256 px a batch.
    steps
        Batches in the whole run.
    first
        Number of the first batch; batch i depends on the seed and i alone, so a resumed run goes on where it stopped.
    easy_start
        Whether the run begins easy: a model that can pick already need not.
    """

    def __init__(
        self,
        structures: list[Structure],
        *,
        batch_size: int,
        steps: int,
        seed: int,
        first: int = 0,
        easy_start: bool = True,
    ) -> None:
        self.structures, self.batch_size, self.steps = structures, batch_size, steps
        self.seed, self.first, self.easy_start = seed, first, easy_start

    def __iter__(self) -> Iterator[PackedCrops]:
        worker = torch.utils.data.get_worker_info()
        step, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for batch in range(self.first + step, self.steps, stride):
            yield packed(self.batch(batch))

    def batch(self, number: int) -> list[Crop]:
        """Simulate one batch."""
        rng = np.random.default_rng([self.seed, number])
        progress = number / self.steps
        easy = self.easy_start and progress < 0.1 and rng.random() < 0.7
        late = progress > 0.875
        large = 512 if self.batch_size >= 32 else 384
        size, jitter = (large, 1.4) if late else (256, 1.6)
        count = max(1, round(self.batch_size * (256 / size) ** 2))
        return [simulated_crop(self.structures, rng, size, jitter, 0.3 if easy else 1.0) for _ in range(count)]


def training_structures(folder: Path | None, procedural: int, seed: int) -> tuple[list[Structure], list[Structure]]:
    """Training and held-out structures; those of a folder are repeated until they make up 40 %."""
    rng = np.random.default_rng([seed, 1])
    training = [procedural_structure(rng) for _ in range(procedural)]
    if folder is not None:
        real = read_structures(folder, rng)
        training += real * max(1, round(procedural * 2 / 3 / len(real)))
    rng = np.random.default_rng(HELD_OUT_SEED)
    return training, [procedural_structure(rng) for _ in range(_HELD_OUT)]


def simulated_batches(dataset: IterableDataset[T], workers: int) -> DataLoader[T]:
    """Return the batches of a dataset that simulates them, in processes beside the training if there are workers."""
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # it would draw from the default one, whose state a resumed run goes on with
    )


def simulated_crop(
    structures: list[Structure], rng: np.random.Generator, size: int = 256, jitter: float = 1.6, severity: float = 1.0
) -> Crop:
    """Simulate one crop of a random structure.

    Parameters
    ----------
    size
        Side in pixels.
    jitter
        Diameters lie in 24 px times or divided by up to this factor, to survive a wrong diameter.
    severity
        See `draw_conditions`.
    """
    structure, distractor = (structures[i] for i in rng.integers(len(structures), size=2))
    factor = math.exp(rng.uniform(-1, 1) * math.log(jitter))
    pixel_size = structure.diameter / (PIXELS_PER_DIAMETER * factor)
    side = size + 2 * _CONTEXT
    micrograph = simulate_micrograph(
        structure, distractor, draw_conditions(rng, severity), (side, side), pixel_size, rng
    )
    developed = develop(micrograph.image, rng)
    return _crop(normalise(developed), _without_padding(micrograph, developed), size, rng)


def _without_padding(micrograph: SimulatedMicrograph, image: NDArray[np.float32]) -> SimulatedMicrograph:
    """Forget the particles that the marks of software have hidden below a border."""
    top, bottom, left, right = padding(image)
    if not top + bottom + left + right:
        return micrograph
    height, width = image.shape
    x, y = (micrograph.centres + 0.5).T
    seen = (x > left) & (x < width - right) & (y > top) & (y < height - bottom)
    return replace(
        micrograph,
        centres=micrograph.centres[seen],
        radii=micrograph.radii[seen],
        ignored=micrograph.ignored[seen],
    )


def _crop(image: NDArray[np.float32], micrograph: SimulatedMicrograph, size: int, rng: np.random.Generator) -> Crop:
    """Cut a window, often from a corner so that micrographs' borders are learned too, and turn it one of eight ways."""
    room = image.shape[0] - size
    x0, y0 = (int(rng.choice([0, room, rng.integers(room + 1)], p=[0.15, 0.15, 0.7])) for _ in range(2))
    centres = micrograph.centres - [x0, y0]
    window = (slice(y0, y0 + size), slice(x0, x0 + size))
    pixels, junk = image[window], micrograph.junk[window]
    reach = 0.25 * 2 * micrograph.radii[:, None]
    near = ((centres > -0.5 - reach) & (centres < size - 0.5 + reach)).all(1)
    outside = ((centres < -0.5) | (centres > size - 0.5)).any(1)
    pixels, junk, centres = _turned(pixels, junk, centres, rng)
    return Crop(
        image=torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None],
        centres=torch.from_numpy(centres[near].astype(np.float32)),
        radii=torch.from_numpy(micrograph.radii[near].astype(np.float32)),
        ignored=torch.from_numpy((micrograph.ignored | outside)[near]),
        junk=torch.from_numpy(np.ascontiguousarray(junk, np.float32)),
    )


def turned(crop: Crop, rng: np.random.Generator) -> Crop:
    """Turn a crop one of eight ways."""
    image, junk, centres = _turned(crop.image[0].numpy(), crop.junk.numpy(), crop.centres.numpy(), rng)
    return replace(
        crop,
        image=torch.from_numpy(np.ascontiguousarray(image))[None],
        junk=torch.from_numpy(np.ascontiguousarray(junk)),
        centres=torch.from_numpy(np.ascontiguousarray(centres, np.float32)),
    )


def _turned(
    image: NDArray[Any], junk: NDArray[Any], centres: NDArray[Any], rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Turn an image, its mask and places in it (x, y) one of eight ways."""
    if rng.random() < 0.5:
        image, junk, centres = image.T, junk.T, centres[:, ::-1]
    if rng.random() < 0.5:
        image, junk, centres = image[::-1], junk[::-1], centres * [1, -1] + [0, image.shape[0] - 1]
    if rng.random() < 0.5:
        image, junk, centres = image[:, ::-1], junk[:, ::-1], centres * [-1, 1] + [image.shape[1] - 1, 0]
    return image, junk, centres
