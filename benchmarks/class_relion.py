"""Classes of cryotx beside those of RELION's relion_refine, of the same crops of real particles in one run.

Both get crops as `cryotx classes` cuts them out (64 px, a particle 40 px across, no correction of the contrast
transfer); RELION's are normalised as it asks for. RELION runs as its job does by default, but for fewer particles and
classes: 25 iterations, in-plane steps of 12°, shifts of 5 px in steps of 2, one process and one thread.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cryotx_cli.averages.classes import sorted_into_classes
from cryotx_cli.averages.crops import DIAMETER_PX, MASK_RADIUS, SIDE

_PIXEL, _LOW_PASS = 3.0, (24.0, 19.2)  # Å
_OPTICS = (
    "\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n"
    "_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n"
    f"opticsGroup1 1 300 2.7 0.1 {_PIXEL} {SIDE} 2\n\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnOpticsGroup #2\n"
)
_RELION = (
    "relion_refine --o out/run --i particles.star --iter 25 --tau2_fudge 2 --oversampling 1 --psi_step 12 "
    "--offset_range 5 --offset_step 2 --flatten_solvent --zero_mask --norm --scale --dont_combine_weights_via_disc "
    "--pool 3 --j 1 --random_seed 1"
)


def compare_with_relion(images: NDArray[np.float16], classes: int) -> None:
    """Classify the same crops with both; print times and how their averages match."""
    cpu = time.process_time()
    found = sorted_into_classes(images, np.ones(len(images), bool), 28, classes, 1, torch.device("cpu"))
    own = time.process_time() - cpu
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write(folder, images)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        command = [*_RELION.split(), "--K", str(classes), "--particle_diameter", str(1.1 * DIAMETER_PX * _PIXEL)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        relion = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        with mrcfile.open(folder / "out/run_it025_classes.mrcs") as file:
            averages = np.array(file.data, float).reshape(-1, SIDE, SIDE)
    print(f"\n{len(images)} particles, {classes} classes: cryotx {own:.1f}, RELION {relion:.1f} CPU seconds")
    print_matches([one.image for one in found.classes], averages)


def print_matches(own: list[NDArray[np.float64]], relion: NDArray[np.float64]) -> None:
    """Print the best correlation of each average of cryotx with one of RELION's, after the same low-pass."""
    there = [one for one in relion if one.std() > 0]
    for finest in _LOW_PASS:
        table = np.array([[correlation(one, other, finest) for other in there] for one in own])
        pairs = linear_sum_assignment(table, maximize=True)
        matched, best = (" ".join(f"{value:.3f}" for value in values) for values in (table[pairs], table.max(1)))
        print(f"low-passed to {finest} Å: one to one {matched}; each with its best {best}")


def correlation(one: NDArray[np.float64], other: NDArray[np.float64], finest: float) -> float:
    """Return the best correlation within the particle over turns and small shifts; the hand of both is the same."""
    radius = np.hypot(*np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)
    mask = radius <= MASK_RADIUS
    one, other = _low_passed(one, finest), _low_passed(other, finest)
    best, (angle, x, y) = -1.0, (0.0, 0.0, 0.0)
    for step, move, reach in ((6.0, 2.0, 3), (1.5, 0.5, 3)):
        turns = angle + np.arange(0, 360, step) if step == 6.0 else angle + np.arange(-6, 6.1, step)
        moves = np.arange(-reach, reach + 1) * move
        tried = [(a, x + u, y + v) for a, u, v in itertools.product(turns.tolist(), moves.tolist(), moves.tolist())]
        for pose in tried:
            moved = _moved(other, *pose)
            value = float(np.corrcoef(one[mask], moved[mask])[0, 1])
            if value > best:
                best, (angle, x, y) = value, pose
    return best


def _low_passed(image: NDArray[np.float64], finest: float) -> NDArray[np.float64]:
    ring = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) * SIDE
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * (ring <= SIDE * _PIXEL / finest), s=image.shape))


def _moved(image: NDArray[np.float64], angle: float, x: float, y: float) -> NDArray[np.float64]:
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), angle, 1)
    matrix[:, 2] += np.array([x, y])
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))


def _write(folder: Path, images: NDArray[np.float16]) -> None:
    crops = np.asarray(images, np.float32)
    outside = np.hypot(*np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) > 1.2 * MASK_RADIUS
    crops = crops - crops[:, outside].mean(1)[:, None, None]
    crops = crops / crops[:, outside].std(1)[:, None, None]
    with mrcfile.new(folder / "particles.mrcs") as file:
        file.set_data(crops)
        file.voxel_size = _PIXEL
    rows = "".join(f"{i:06d}@particles.mrcs 1\n" for i in range(1, len(crops) + 1))
    (folder / "particles.star").write_text(_OPTICS + rows)
    (folder / "out").mkdir()
