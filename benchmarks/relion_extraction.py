"""What RELION extracts at the picks of a run: as many particles as were picked, and their mean.

Run: ``python benchmarks/relion_extraction.py PICKS.star MICROGRAPHS... [--image mean.png]``. It needs relion_preprocess
on the PATH. PICKS.star is that of ``cryotx pick MICROGRAPHS...``: RELION reads the coordinates in the folder beside it,
the STAR files and the box files. The picture shows the mean of the extracted particles, not aligned, beside the mean of
as many boxes at random places.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import mrcfile
import numpy as np

from cryotx_cli.coordinates.formats.box import write_box
from cryotx_cli.coordinates.formats.star_particles import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from machine import describe_machine

PANEL_PX = 240
BAR_NM = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picks", type=Path, help="STAR file of cryotx pick")
    parser.add_argument("micrographs", type=Path, nargs="+", help="MRC files of the run")
    parser.add_argument("--box", type=float, default=1.8, help="side of the boxes in particle diameters")
    parser.add_argument("--diameter", type=float, default=160.0, help="Å")
    parser.add_argument("--image", type=Path, help="PNG file to write")
    arguments = parser.parse_args()
    program = shutil.which("relion_preprocess")
    if program is None:
        sys.exit("relion_preprocess is not on the PATH (Debian: apt-get install relion)")
    print(describe_machine("mrcfile", "numpy"))
    print(f"RELION    {version_of(program)}\n")
    print(f"{'coordinates':<12} {'picked':>7} {'extracted':>10}")
    everywhere: dict[str, np.ndarray] = {}
    for kind in ("relion", "box", "random"):
        picked, boxes, pixel_size = extract(program, arguments, kind)
        everywhere[kind] = boxes
        print(f"{kind:<12} {picked:>7} {len(boxes):>10}")
        if len(boxes) != picked:
            sys.exit(f"RELION extracted {len(boxes)} of {picked}")
    means = {kind: boxes.mean(axis=0) for kind, boxes in everywhere.items()}
    contrast = {kind: central_contrast(mean, arguments.box) for kind, mean in means.items()}
    print("\nmean inside the particle's circle less that outside, in standard deviations of one box:")
    print("  ".join(f"{kind} {value:+.3f}" for kind, value in contrast.items()))
    if arguments.image:
        draw(arguments.image, means, pixel_size, len(everywhere["relion"]))


def version_of(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return next((line.strip() for line in said.splitlines() if "RELION" in line), "version unknown")


def extract(program: str, arguments: argparse.Namespace, kind: str) -> tuple[int, np.ndarray, float]:
    """Let RELION extract; return how many were picked, the normalised boxes (n, side, side) and the Å per pixel."""
    picks = {Path(name).name: particles for name, particles in read_particles_star(arguments.picks).items()}
    ending = {"relion": "_autopick.star", "box": ".box", "random": ".box"}[kind]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        rows, total, pixel_size = [], 0, 0.0
        for micrograph in arguments.micrographs:
            with mrcfile.open(micrograph, permissive=True, header_only=True) as mrc:
                pixel_size = float(mrc.voxel_size.x)
                width, height = int(mrc.header.nx), int(mrc.header.ny)
            side = round(arguments.box * arguments.diameter / pixel_size / 2) * 2
            (project / "mics").mkdir(exist_ok=True)
            (project / "mics" / micrograph.name).symlink_to(micrograph.absolute())
            rows.append(f"mics/{micrograph.name} 1")
            target = project / "coordinates/mics" / f"{micrograph.stem}{ending}"
            target.parent.mkdir(parents=True, exist_ok=True)
            total += len(picks[micrograph.name])
            if kind == "random":
                write_box(target, random_places(len(picks[micrograph.name]), width, height, side, pixel_size), side)
            else:
                (written,) = (arguments.picks.with_suffix("") / kind).rglob(f"{micrograph.stem}{ending}")
                shutil.copy(written, target)
        (project / "micrographs.star").write_text(
            "data_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n_rlnVoltage\n"
            f"_rlnSphericalAberration\n_rlnAmplitudeContrast\none 1 {pixel_size} 300 2.7 0.1\n\n"
            "data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\n" + "\n".join(rows) + "\n\n"
        )
        background = round(arguments.diameter / pixel_size / 2)
        command = [
            program, "--i", "micrographs.star", "--coord_dir", "coordinates/", "--coord_suffix", ending,
            "--part_star", "particles.star", "--part_dir", "Extract/", "--extract", "--extract_size", str(side),
            "--scale", str(side // 8 * 2), "--norm", "--bg_radius", str(background // 4),
            "--white_dust", "5", "--black_dust", "5",
        ]  # fmt: skip
        subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)
        stacks = [mrcfile.read(path) for path in sorted(project.glob("Extract/**/*.mrcs"))]
    return total, np.concatenate(stacks), pixel_size * 4


def random_places(count: int, width: int, height: int, side: int, pixel_size: float) -> Particles:
    centres = np.random.default_rng(1).uniform(side / 2, np.array([width, height]) - side / 2, (count, 2))
    return Particles(centres, np.ones(count), np.full(count, float(side)), pixel_size)


def central_contrast(mean: np.ndarray, box: float) -> float:
    side = len(mean)
    distance = np.hypot(*(np.indices(mean.shape) - side // 2)) * box / side  # diameters
    return float(mean[distance < 0.35].mean() - mean[(distance > 0.6) & (distance < 0.9)].mean())


def draw(path: Path, means: dict[str, np.ndarray], pixel_size: float, count: int) -> None:
    """Draw the means of the picks and of random places side by side, with the same grey levels."""
    smooth = {kind: cv2.GaussianBlur(mean, (0, 0), 0.8) for kind, mean in means.items()}
    low, high = np.percentile(smooth["relion"], (0.1, 99.9))
    panels = []
    for kind, title in (("relion", f"mean of {count} picks"), ("random", f"of {count} random places")):
        grey = np.clip((smooth[kind] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        panel = cv2.resize(grey, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_CUBIC)
        panels.append(np.vstack([written(title), panel]))
    picture = np.hstack([panels[0], np.full((len(panels[0]), 8), 255, np.uint8), panels[1]])
    bar, bottom = round(BAR_NM * 10 / pixel_size * PANEL_PX / len(means["relion"])), len(picture)
    cv2.rectangle(picture, (6, bottom - 32), (16 + max(bar, 44), bottom - 4), 0, cv2.FILLED)
    cv2.rectangle(picture, (11, bottom - 12), (11 + bar, bottom - 9), 255, cv2.FILLED)
    cv2.putText(picture, f"{BAR_NM} nm", (11, bottom - 18), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1, cv2.LINE_AA)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp.png")
    cv2.imwrite(str(unfinished), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    unfinished.replace(path)
    print(f"\n{path}: {path.stat().st_size / 1000:.0f} kB")


def written(title: str) -> np.ndarray:
    strip = np.full((24, PANEL_PX), 255, np.uint8)
    cv2.putText(strip, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return strip


if __name__ == "__main__":
    main()
