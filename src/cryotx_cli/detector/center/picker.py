"""Micrograph in, particles out: scale, run the network, convert back, calibrate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.config import Precision
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.detector.center.bfloat16 import convolve_in_bfloat16
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.film import (
    FilmFinder,
    film_at,
    film_outlines,
    film_probability,
    film_share,
    off_film,
)
from cryotx_cli.detector.center.grain import GRAIN_IS_FILM, is_grainy, is_guesswork
from cryotx_cli.detector.center.network import CenterDETR, CenterOutput, Queries, fold_batch_norms
from cryotx_cli.detector.center.winograd import speed_up
from cryotx_cli.detector.checkpoint import weights_digest
from cryotx_cli.detector.detections import Detections
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.detector.size_sweep import CLEARLY_BETTER, CONVINCING_F1, apart, middle_of, sweep
from cryotx_cli.detector.unfilled import Unfilled
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.blank import distance_from, normalise_shown, zeroed_parts
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, padding
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.micrographs.tiling import tiles
from cryotx_cli.runs.expected_f1 import highest_expected_f1

_WHOLE, _TILE, _OVERLAP = 1536, 1024, 72  # network px; three diameters of context on the seams
_MIDDLE = 640  # network px of a micrograph that decides on the contrast
_SMALLEST = 32  # network px: less holds no particle with its surroundings
_BESIDE = 10  # network px beside padding, whose last two `padding` counts: a particle there would reach into it


class Picker:
    """Finds every candidate particle in one micrograph at a time and keeps no memory of the last one.

    Parameters
    ----------
    checkpoint
        Weights, architecture and calibration.
    device
        Where the network runs.
    precision
        Numbers that its convolutions are computed with.
    """

    scales_to_diameter = True
    compares_with_noise = True
    prepares_unread = True

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device | str = "cpu", precision: Precision = "float32"
    ) -> None:
        self.checkpoint, self.device = checkpoint, torch.device(device)
        with Unfilled():
            model, finder = CenterDETR(checkpoint.model), FilmFinder()
        model.load_state_dict(checkpoint.weights, assign=True)
        fold_batch_norms(model.eval())
        if precision == "bfloat16":
            convolve_in_bfloat16(model)
        elif self.device.type == "cpu":
            speed_up(model)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.film_finder: FilmFinder | None = None
        if checkpoint.film:
            finder.load_state_dict(checkpoint.film, assign=True)
            fold_batch_norms(finder.eval())
            self.film_finder = finder.to(self.device)
        self.fingerprint = _fingerprint(checkpoint, precision)

    @property
    def locates_at_once(self) -> bool:
        """Whether it runs on a CPU: a network keeps no state, and takes the memory of one more micrograph."""
        return self.device.type == "cpu"

    def prepare(self, micrograph: Micrograph, diameter: float) -> NDArray[np.float32]:
        """Bring a micrograph to network scale and grey levels; (height, width) float32.

        Raises
        ------
        MicrographError
            If the diameter does not fit the image.
        """
        factor = PIXELS_PER_DIAMETER * micrograph.pixel_size / diameter
        height, width = micrograph.image.shape
        if min(height, width) * factor < _SMALLEST or factor > 8:
            raise MicrographError(
                f"{micrograph.source}: a particle of {diameter:g} Å is {diameter / micrograph.pixel_size:.1f} px wide "
                f"in an image of {width} x {height} px",
                "Check --diameter (Å) and --pixel-size (Å per pixel).",
            )
        return normalise_shown(micrograph.shrunk(factor))

    def pick(self, micrograph: Micrograph, diameter: float) -> Particles:
        """Find every candidate, scored by its calibrated probability of being a particle, best first.

        Parameters
        ----------
        diameter
            Of the particle, in Å.
        """
        return self.locate(self.prepare(micrograph, diameter), micrograph).particles

    def locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> Located:
        """Second half of `pick`: detect in a prepared image and convert to the micrograph's own pixels."""
        found, film = self._detect(prepared)
        full = np.array(micrograph.image.shape[::-1], float)
        scale = full / np.array(prepared.shape[::-1])
        particles = Particles(
            centres=(found.centres + 0.5) * scale - 0.5,
            scores=self.checkpoint.calibration(found.logits),
            diameters=2 * found.radii * scale.mean(),
            pixel_size=micrograph.pixel_size,
        )
        # The radius head may put a centre just outside the image; such a pick cannot be extracted.
        height, width = micrograph.image.shape
        region = None
        if film is not None:
            outlines = ((one + 0.5) * scale - 0.5 for one in film_outlines(film))
            region = Region(tuple(np.minimum(one, full - 0.5).round(1) for one in outlines))
        return Located(particles.inside(height, width).sorted_by_score(), film=region)

    def film_share(self, prepared: NDArray[np.float32]) -> float:
        """Return which share of a prepared image looks like support film or large ice crystals; 0 with --on-film."""
        return 0.0 if self.film_finder is None else film_share(self.film_finder, prepared)

    def estimate_diameter(self, micrographs: Sequence[Micrograph]) -> float:
        """Estimate the particle diameter in Å from a few micrographs together, without any hint.

        Raises
        ------
        MicrographError
            If they show no particles of any size.
        """
        return sweep(self, micrographs, len(micrographs)).estimate().value

    def is_inverted(self, micrographs: Iterable[Micrograph], diameter: float) -> bool:
        """Whether the particles of a few micrographs are bright, as after an inversion, and not dark as in raw ones.

        The candidates of the right contrast part well into right and wrong ones, those of the other do not: over real
        data sets the expected F1 is 0.8 to 1.0 against 0.2 to 0.4. Where neither convinces, the answer is no.

        Parameters
        ----------
        diameter
            Of the particle, in Å.
        """
        middles, found, evidence = [], [], 0.0
        for micrograph in micrographs:
            middles.append(_middle(micrograph, diameter))
            found.append(self._candidates(middles[-1], diameter).scores)
            evidence = highest_expected_f1(np.concatenate(found))
            if evidence >= CONVINCING_F1:  # the first will do, if it convinces
                return False
        if not middles:
            return False
        inverted = [self._candidates(replace(one, image=-one.image), diameter).scores for one in middles]
        return highest_expected_f1(np.concatenate(inverted)) >= max(CONVINCING_F1, evidence + CLEARLY_BETTER)

    def _candidates(self, middle: Micrograph, diameter: float) -> Particles:
        """Candidates half a diameter apart."""
        try:
            found = self.pick(middle, diameter)
        except MicrographError:  # fewer than two diameters wide at this scale
            return Particles.empty(middle.pixel_size)
        return apart(found, diameter)

    def detect(self, image: NDArray[np.float32]) -> Detections:
        """Run the network on a prepared image of any size, in tiles if it is large; nothing is found in padding.

        Logits are those of a particle on ice: they are lowered where the film finder sees support film, and where the
        image is grainier than elsewhere and what is found there convinces nobody.
        """
        return self._detect(image)[0]

    def _detect(self, image: NDArray[np.float32]) -> tuple[Detections, NDArray[np.float32] | None]:
        """Return the detections, and where there is film; None where none is looked for."""
        found = self._detect_anywhere(image)
        if self.film_finder is None:
            return found, None
        film = film_probability(self.film_finder, image)
        off = replace(found, logits=off_film(found.logits, film_at(film, found.centres + 0.5)))
        grainy = is_grainy(image)
        if not grainy.any():
            return off, film
        there = film_at(grainy.astype(np.float32), found.centres + 0.5) > 0
        if not is_guesswork(self.checkpoint.calibration(off.logits[there])):
            return off, film
        film = np.where(grainy, np.maximum(film, GRAIN_IS_FILM), film)
        return replace(found, logits=off_film(found.logits, film_at(film, found.centres + 0.5))), film

    def _detect_anywhere(self, image: NDArray[np.float32]) -> Detections:
        height, width = image.shape
        top, bottom, left, right = (border + _BESIDE if border else -np.inf for border in padding(image))
        parts = []
        for tile in tiles(height, width, largest=_WHOLE, size=_TILE, overlap=_OVERLAP):
            found = _on_host(self._run(image[tile.y0 : tile.y1, tile.x0 : tile.x1])).owned_by(tile)
            # The network counts from the corner of the image, (0.5, 0.5) being the first pixel's centre.
            low, high = [left, top], [width - right, height - bottom]
            shown = np.asarray(((found.centres >= low) & (found.centres <= high)).all(1))
            parts.append(found.where(shown))
        found = Detections.joined(parts)
        blank = zeroed_parts(image)
        if blank is not None:
            column, row = found.centres.astype(int).T
            distance = distance_from(blank)[row.clip(0, height - 1), column.clip(0, width - 1)]
            found = found.where(distance > _BESIDE)
        return Detections(found.centres - 0.5, found.radii, found.logits)

    def _run(self, image: NDArray[np.float32]) -> Queries:
        """Detect in one tile, padded with mid-grey to a multiple of 16."""
        height, width = image.shape
        padded = np.pad(image, ((0, -height % 16), (0, -width % 16)))
        batch: Tensor = torch.from_numpy(np.ascontiguousarray(padded))[None, None].to(self.device)
        with torch.inference_mode():
            output: CenterOutput = self.model(batch.contiguous(memory_format=torch.channels_last))
        return output.final if self.checkpoint.use_decoder else output.peaks


def _middle(micrograph: Micrograph, diameter: float) -> Micrograph:
    """Return the middle of a micrograph of many diameters, which does not keep the whole of it in memory."""
    middle = middle_of(micrograph, diameter, _MIDDLE)
    return replace(middle, image=middle.image.copy())


def _on_host(queries: Queries) -> Detections:
    """Return the queries of the first image, as the network counts; all at once, for each copy waits for a GPU."""
    columns = [queries.logits[0], queries.radii[0], *queries.centres[0].unbind(-1), queries.valid[0]]
    logits, radii, x, y, valid = torch.stack([column.double() for column in columns]).cpu().numpy()
    known = valid > 0
    return Detections(np.column_stack([x, y])[known], radii[known], logits[known])


def _fingerprint(checkpoint: Checkpoint, precision: Precision) -> str:
    """Digest of everything that changes the picks of a checkpoint."""
    grain = GRAIN_IS_FILM if checkpoint.film else None
    numbers = () if precision == "float32" else (precision,)  # runs of earlier versions say nothing of it
    settings = asdict(checkpoint.model), asdict(checkpoint.calibration), checkpoint.use_decoder, grain, *numbers
    return weights_digest(settings, [*sorted(checkpoint.weights.items()), *sorted(checkpoint.film.items())])
