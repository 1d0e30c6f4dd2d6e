"""Picking with the paper's model: denoise, resize, run the network, and convert its boxes to particles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.checkpoint import weights_digest
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint
from cryotx_cli.detector.cryotransformer.denoise import denoiser_on
from cryotx_cli.detector.cryotransformer.legacy_selection import legacy_centres, legacy_selection
from cryotx_cli.detector.cryotransformer.network import Detr, DetrOutput
from cryotx_cli.detector.detections import Detections
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import CheckpointError, MicrographError
from cryotx_cli.events import Event
from cryotx_cli.micrographs.denoise import to_8_bit
from cryotx_cli.micrographs.image import clip_outliers
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.micrographs.tiling import tiles

# Of red, green and blue in ImageNet, the pixels being 0 to 1; a micrograph is three times the same channel.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_RAW_DEVIATIONS = 4.0  # 8 bits for these: finer than the noise, and nothing of a particle is cut off
_PARTICLE = 0.5  # a query that is more likely right than wrong
_SATURATED = 0.95  # share of such queries from which on the network may have run out of queries
_HALVINGS = 2  # of the sides: sixteen times as many queries are enough for any micrograph


class DetrPicker:
    """Finds every candidate particle in one micrograph at a time and keeps no memory of the last one.

    Parameters
    ----------
    checkpoint
        Weights, architecture, input and calibration.
    device
        Where the network runs.
    legacy_percentile
        Choose boxes and scores as the original program does, which drops this percentage of its ranks: what `locate`
        returns is then the choice already. None: return every query with the probability of class 0, "particle".

    Raises
    ------
    CheckpointError
        If class scores are asked for that the network does not have.
    """

    scales_to_diameter = False
    compares_with_noise = prepares_unread = False
    locates_at_once = False  # its network takes more than a gigabyte

    def __init__(
        self, checkpoint: DetrCheckpoint, device: torch.device | str = "cpu", *, legacy_percentile: float | None = None
    ) -> None:
        if checkpoint.model.num_classes != 1:
            raise CheckpointError(
                f"{checkpoint.name}: the network tells {checkpoint.model.num_classes} classes apart, not particles",
                "Train it on particles first: cryotx train --model cryotransformer --init FILE.",
            )
        if checkpoint.degenerate_class_head and legacy_percentile is None:
            raise CheckpointError(
                f"{checkpoint.name}: the class head cannot tell particles from nothing, so there are no probabilities",
                "Use --selection legacy, or refit the head with cryotx train --refit-head.",
            )
        self.checkpoint, self.device, self.legacy_percentile = checkpoint, torch.device(device), legacy_percentile
        model = Detr(checkpoint.model)
        model.load_state_dict(checkpoint.weights)
        self.model = model.eval().to(self.device)
        self.fingerprint = _fingerprint(checkpoint, legacy_percentile)

    def prepare(self, micrograph: Micrograph, diameter: float) -> NDArray[np.float32]:
        """Denoise as for the images that the network learned; grey levels 0 to 255, (height, width) float32.

        Parameters
        ----------
        diameter
            Not used: this network sees whole micrographs, whatever the size of their particles.

        Raises
        ------
        MicrographError
            If the image cannot be denoised.
        """
        try:
            grey = network_grey_levels(micrograph.image, self.checkpoint.input.pipeline, self.device)
            return grey.astype(np.float32)
        except MicrographError as error:
            raise MicrographError(f"{micrograph.source}: {error.message}", error.hint) from error

    def pick(self, micrograph: Micrograph, diameter: float) -> Particles:
        """Find every candidate, scored by its probability of being a particle, best first."""
        return self.locate(self.prepare(micrograph, diameter), micrograph).particles

    def locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> Located:
        """Second half of `pick`: detect in a prepared image and convert to the micrograph's own pixels."""
        if self.legacy_percentile is not None:
            return Located(self._located_as_recorded(prepared, self.legacy_percentile, micrograph.pixel_size))
        found, windows = self._detect(prepared)
        particles = Particles(
            centres=stored_frame(found.centres + 0.5, len(prepared), self.checkpoint.input.pipeline),
            scores=self.checkpoint.calibration(found.logits),
            diameters=2 * found.radii,
            pixel_size=micrograph.pixel_size,
        )
        events = (self._saturated(micrograph, windows),) if windows > 1 else ()
        return Located(particles.inside(*prepared.shape).sorted_by_score(), events)

    def detect(self, image: NDArray[np.float32]) -> Detections:
        """Run the network on a prepared image; in overlapping tiles if the whole saturates the queries."""
        return self._detect(image)[0]

    def estimate_diameter(self, micrographs: Sequence[Micrograph]) -> float:
        """Return the median diameter in Å of the boxes that are more likely right than wrong.

        Of a degenerate class head, for which no box is likelier than another: of all boxes.

        Raises
        ------
        MicrographError
            If no micrograph shows particles.
        """
        found = [self.pick(micrograph, math.nan) for micrograph in micrographs]
        if self.legacy_percentile is None:
            found = [particles.above(_PARTICLE) for particles in found]
        sizes = np.concatenate([particles.diameters * particles.pixel_size for particles in found])
        if not len(sizes):
            raise MicrographError(
                f"--diameter auto: no particles seen in {len(micrographs)} micrographs",
                "Give the diameter in Å, for example --diameter 160.",
            )
        return float(np.median(sizes))

    def film_share(self, prepared: NDArray[np.float32]) -> float:
        """Say that there is none: this network knows nothing of film."""
        return 0.0

    def is_inverted(self, micrographs: Iterable[Micrograph], diameter: float) -> bool:
        """Say no and look at none: what this network makes of inverted micrographs has not been measured."""
        return False

    def answers(self, image: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Return logits (Q, 2) and boxes (Q, 4), as fractions of the image, of the last decoder layer; on the CPU."""
        with torch.inference_mode():
            output: DetrOutput = self.model(network_input(image, self.checkpoint)[None].to(self.device))
        return output.logits[-1, 0].float().cpu(), output.boxes[-1, 0].float().cpu()

    def _detect(self, image: NDArray[np.float32], halvings: int = _HALVINGS) -> tuple[Detections, int]:
        """Return detections and the number of windows they were found in."""
        logits, boxes = self.answers(image)
        height, width = image.shape
        sides = boxes.double().numpy() * [width, height, width, height]
        whole = Detections(sides[:, :2] - 0.5, sides[:, 2:].mean(1) / 2, (logits[:, 0] - logits[:, 1]).double().numpy())
        likely = self.checkpoint.calibration(whole.logits) >= _PARTICLE
        if likely.mean() < _SATURATED or halvings == 0:
            return whole, 1
        # Tiles share two diameters, so that each particle is whole in the tile whose core holds its centre.
        overlap = math.ceil(4 * float(np.median(whole.radii[likely])))
        if max(height, width) <= 2 * overlap:
            return whole, 1
        return self._detect_in_tiles(image, overlap, halvings - 1)

    def _detect_in_tiles(self, image: NDArray[np.float32], overlap: int, halvings: int) -> tuple[Detections, int]:
        height, width = image.shape
        size = math.ceil((max(height, width) + overlap) / 2)
        parts, windows = [], 0
        for tile in tiles(height, width, largest=0, size=size, overlap=overlap):
            found, count = self._detect(image[tile.y0 : tile.y1, tile.x0 : tile.x1], halvings)
            parts.append(found.owned_by(tile))
            windows += count
        return Detections.joined(parts), windows

    def _saturated(self, micrograph: Micrograph, windows: int) -> Event:
        return Event(
            f"{micrograph.source}: nearly all {self.checkpoint.model.num_queries} queries found a particle and there "
            f"may be more; picked again in {windows} tiles",
            micrograph=micrograph.source.name,
        )

    def _located_as_recorded(self, prepared: NDArray[np.float32], percentile: float, pixel_size: float) -> Particles:
        picks = legacy_selection(*self.answers(prepared), *prepared.shape, quantile=percentile / 100)
        centres = stored_frame(legacy_centres(picks.boxes), len(prepared), self.checkpoint.input.pipeline)
        diameters = (picks.boxes[:, 2:] - picks.boxes[:, :2]).mean(1)
        return Particles(centres, picks.scores.astype(np.float64), diameters.astype(np.float64), pixel_size)


def network_grey_levels(
    image: NDArray[np.float32], pipeline: str, device: torch.device | str = "cpu"
) -> NDArray[np.uint8]:
    """Return the 8-bit image (height, width) that a network of this pipeline was trained on, in its order of rows.

    Raises
    ------
    MicrographError
        If the image is constant.
    """
    if pipeline == "raw":
        return to_8_bit(clip_outliers(image, _RAW_DEVIATIONS))
    denoise = denoiser_on(torch.device(device))
    if pipeline == "paper":
        return denoise(image, "paper")
    return np.ascontiguousarray(denoise(_as_integers(image), "original")[::-1])


def network_size(height: int, width: int, short_side: int = 800, long_side: int = 1333) -> tuple[int, int]:
    """Return height and width of the network's input, rounded as the original and DETR round them."""
    shorter, longer = sorted((height, width))
    if round(longer / shorter * short_side) > long_side:
        short_side = round(long_side * shorter / longer)
    longest = int(short_side * longer / shorter)
    return (short_side, longest) if height <= width else (longest, short_side)


def resize(image: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """Return an 8-bit image (height, width) resized as PIL does: bilinear, and over areas when shrinking; uint8."""
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def colours(grey: Tensor) -> Tensor:
    """Return the network's input (3, height, width) float32 of grey levels 0 to 255 (height, width)."""
    scaled = grey.float() / 255
    return torch.stack([(scaled - mean) / sd for mean, sd in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)])


def network_input(image: NDArray[np.float32], checkpoint: DetrCheckpoint) -> Tensor:
    """Resize and normalise a prepared image; (3, height, width) float32."""
    height, width = image.shape
    size = network_size(height, width, checkpoint.input.short_side, checkpoint.input.long_side)
    return colours(resize(image.astype(np.uint8), *size))


def stored_frame(points: NDArray[np.float64], height: int, pipeline: str) -> NDArray[np.float64]:
    """Convert points (n, 2), counted from the corner of the network's image, to pixels of the rows as stored."""
    if pipeline != "original":
        return points - 0.5
    # The original's rows are reversed. Its images are moved by (-3, -3) px, but its labels were not moved with them:
    # its networks have learned to answer where the labels are, so nothing is to be moved back. Its labels are counted
    # from the corner too, y = height - row.
    return np.column_stack([points[:, 0], height - points[:, 1]])


def _as_integers(image: NDArray[np.float32]) -> NDArray[Any]:
    """Give an image that was read from integers their type back: the original blurs integers in integers."""
    if not (image == np.rint(image)).all():
        return image
    for kind in (np.int16, np.uint16):
        if image.min() >= np.iinfo(kind).min and image.max() <= np.iinfo(kind).max:
            return image.astype(kind)
    return image


def _fingerprint(checkpoint: DetrCheckpoint, legacy_percentile: float | None) -> str:
    """Digest of everything that changes the picks."""
    settings = [asdict(part) for part in (checkpoint.model, checkpoint.input, checkpoint.calibration)]
    return weights_digest([settings, legacy_percentile], sorted(checkpoint.weights.items()))
