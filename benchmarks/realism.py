"""Simulated beside real micrographs: radial power spectra, grey-level moments and a picture to look at.

Usage: python benchmarks/realism.py FOLDER [--out realism.png] [--crops 60] [--seed 5]

FOLDER holds data sets in the CryoPPP layout and datasets.json with `pixel_size` (Å) and `diameter_px` for each. All
images are at network scale, 24 px a particle, normalised as the network sees them. Power is per pixel (1 for white
noise of unit variance), in bands of spatial frequency in cycles per particle diameter. A real set that leaves the range
of the simulated crops shows what the simulator lacks. The picture shows real patches above simulated ones.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from cryotx_cli.datasets.cryoppp import find_labelled_micrographs
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, clip_outliers, normalise, rescale
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.simulator.structures import procedural_structure
from cryotx_cli.training.center.data import simulated_crop
from machine import describe_machine

BANDS = np.array([0, 1, 2, 3, 4, 6, 8, 12])  # cycles per diameter
SIDE = 256


def radial_power(patch: np.ndarray) -> np.ndarray:
    """Return the power a pixel in each band, under a Hann window."""
    height, width = patch.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None]
    power = np.abs(np.fft.rfft2(patch * window)) ** 2 / (window**2).sum()
    cycles = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) * PIXELS_PER_DIAMETER
    return np.array([power[(cycles >= a) & (cycles < b)].mean() for a, b in pairwise(BANDS)])


def moments(patch: np.ndarray) -> list[float]:
    """Return standard deviation, skewness and kurtosis."""
    z = (patch - patch.mean()) / patch.std()
    return [float(patch.std()), float((z**3).mean()), float((z**4).mean())]


def row(label: str, numbers: np.ndarray) -> str:
    return f"{label:20}" + "".join(f"{v:9.2f}" for v in numbers)


def real_patches(folder: Path, info: dict[str, float]) -> list[np.ndarray]:
    patches = []
    for labelled in find_labelled_micrographs(folder)[:5]:
        micrograph = read_micrograph(labelled.file, info["pixel_size"])
        image = normalise(rescale(clip_outliers(micrograph.image), PIXELS_PER_DIAMETER / info["diameter_px"]))
        top, left = (max(0, (side - SIDE) // 2) for side in image.shape)
        patches.append(image[top : top + SIDE, left : left + SIDE])
    return patches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("realism.png"))
    parser.add_argument("--crops", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    print(describe_machine("numpy"))
    bands = [f"{a}-{b}" for a, b in pairwise(BANDS)]
    print(f"{'cycles per diameter':20}" + "".join(f"{name:>9}" for name in (*bands, "std", "skew", "kurt")))
    pictures = []
    for name, info in json.loads((args.folder / "datasets.json").read_text()).items():
        patches = real_patches(args.folder / name, info)
        print(row(name, np.mean([[*radial_power(p), *moments(p)] for p in patches], axis=0)))
        pictures.append(patches[0])
    bank = [procedural_structure(np.random.default_rng([args.seed, i])) for i in range(40)]
    crops = [
        simulated_crop(bank, np.random.default_rng([args.seed, 99, i]), SIDE, 1.25).image[0].numpy()
        for i in range(args.crops)
    ]
    numbers = np.array([[*radial_power(crop), *moments(crop)] for crop in crops])
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        print(row(f"simulated, {share:.0%}", np.quantile(numbers, share, axis=0)))
    padded = [np.pad(p, ((0, SIDE - p.shape[0]), (0, SIDE - p.shape[1]))) for p in pictures]
    simulated = [np.concatenate(crops[i * len(padded) : (i + 1) * len(padded)], 1) for i in range(3)]
    picture = np.concatenate([np.concatenate(padded, 1), *simulated])
    cv2.imwrite(str(args.out), ((picture.clip(-4, 4) + 4) * 31.875).astype(np.uint8))
    print(f"real patches above simulated ones: {args.out}")


if __name__ == "__main__":
    main()
