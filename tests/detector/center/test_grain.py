"""Film that shows by its grain: where noise is louder than in the rest, unless what is found there convinces."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.film import FilmFinder
from cryotx_cli.detector.center.grain import is_grainy, is_guesswork
from cryotx_cli.detector.center.network import CenterDETR, Queries
from cryotx_cli.detector.center.picker import Picker

TINY = CenterConfig(widths=(4, 8, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)


def noise(shape=(480, 600), seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def beyond_an_edge(shape, across=0.4):
    """Return the distance (h, w) in px from a slanted edge that cuts off about so much; positive beyond it."""
    rows, columns = np.indices(shape)
    return (columns - (1 - across) * shape[1] + 0.2 * (rows - shape[0] / 2)) / np.hypot(1, 0.2)


def cells(pixels):
    return pixels[2::4, 2::4]


@pytest.mark.parametrize("louder", [1.7, 2.5])
def test_a_region_of_louder_noise_is_found_up_to_its_edge(louder):
    image, distance = noise(), beyond_an_edge((480, 600))
    image[distance > 0] *= louder
    seen = is_grainy(image)
    assert seen.shape == (120, 150)
    assert seen[cells(distance) > 12].all()
    assert not seen[cells(distance) < -16].any()


@pytest.mark.parametrize("louder", [1.0, 1.2])
def test_noise_that_is_about_as_loud_is_ice(louder):
    image = noise()
    image[beyond_an_edge(image.shape) > 0] *= louder
    assert not is_grainy(image).any()


def test_what_is_no_wider_than_a_few_particles_is_no_film():
    image = noise()
    image[200:248, 300:348] *= 3
    assert not is_grainy(image).any()


def test_coarse_structure_is_no_grain():
    """Particles and thick ice differ by what is as large as a particle."""
    image, coarse = noise(), np.repeat(np.repeat(noise((60, 75), 1), 8, 0), 8, 1)
    image[beyond_an_edge(image.shape) > 0] += 1.5 * np.asarray(coarse)[beyond_an_edge(image.shape) > 0]
    smooth = np.abs(np.fft.fftfreq(480))[:, None] + np.fft.rfftfreq(600)[None] < 1 / 12
    only_coarse = np.fft.irfft2(np.fft.rfft2(image - noise()) * smooth, s=image.shape)
    assert only_coarse.std() > 0.5
    assert not is_grainy(noise() + only_coarse.astype(np.float32)).any()


@pytest.mark.parametrize("louder", [0.55, 0.7])
def test_more_than_half_of_a_micrograph_is_what_it_shows(louder):
    image = noise()
    image[beyond_an_edge(image.shape, louder) > 0] *= 2
    assert not is_grainy(image).any()


@pytest.mark.parametrize("shape", [(480, 32), (150, 150), (60, 400)])
def test_an_image_of_few_particles_is_too_small_to_tell(shape):
    image = noise(shape)
    image[: shape[0] // 3] *= 3
    assert not is_grainy(image).any()


def test_padding_is_not_quiet_ice():
    image = noise()
    image[:60], image[:, 520:] = 0, 0
    assert not is_grainy(image).any()
    film = beyond_an_edge(image.shape, 0.5) > 0
    image[film] *= 2
    seen = is_grainy(image)
    assert seen[40:110, 85:125].all()
    assert not seen[:14].any()
    assert not seen[:, 131:].any()


def test_what_is_masked_is_not_quiet_ice():
    image = noise()
    image[np.hypot(*(np.indices(image.shape) - 240)) > 240] = 0
    assert not is_grainy(image).any()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([], False), ([0.3, 0.2, 0.1], True), ([0.9, 0.8, 0.1], False), ([0.9] + 30 * [0.4], True)],
)
def test_guesses_are_wrong_more_often_than_right(scores, expected):
    assert is_guesswork(np.array(scores, float)) == expected


class Says(Picker):
    """Says everywhere that candidates have this logit."""

    logit = 0.0

    def _run(self, image):
        rows, columns = np.mgrid[20 : image.shape[0] : 40, 20 : image.shape[1] : 40]
        centres = np.stack([columns.ravel(), rows.ravel()], -1).astype(float)
        columns = (np.full(len(centres), self.logit), centres, np.full(len(centres), 12.0))
        return Queries(
            *(torch.as_tensor(each)[None] for each in columns), torch.ones(1, len(centres), dtype=torch.bool)
        )


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    finder = FilmFinder()
    torch.nn.init.constant_(finder.head.bias, -9.0)  # which sees no film anywhere
    return Checkpoint(CenterDETR(TINY).state_dict(), TINY, film=finder.state_dict())


@pytest.mark.parametrize(("logit", "is_film"), [(-1.0, True), (2.0, False)])
def test_guesses_on_grain_are_on_film_and_sure_candidates_are_not(checkpoint, logit, is_film):
    picker = Says(checkpoint)
    picker.logit = logit
    image, distance = noise(), beyond_an_edge((480, 600))
    image[distance > 0] *= 2
    found = picker.detect(image)
    there = distance[tuple(found.centres.astype(int).T[::-1])]
    expected = logit - 2 if is_film else logit - 1e-6
    assert (found.logits[there > 12] < expected).all() == is_film
    assert np.abs(found.logits[there < -16] - logit).max() < 1e-3
    picker.film_finder = None  # --on-film
    assert_array_equal(picker.detect(image).logits, logit)


def test_the_fingerprint_knows_of_it(checkpoint):
    from dataclasses import replace

    assert Picker(checkpoint).fingerprint != Picker(replace(checkpoint, film={})).fingerprint
