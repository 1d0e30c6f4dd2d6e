"""What denoising costs: CPU seconds of every stage and peak memory, beside a plain chain of OpenCV and NumPy calls.

Run: ``python benchmarks/denoise.py [--size 4096] [--repeats 3] [--gpu cuda]``. Every chain gets a fresh process; of
several rounds the cheapest of each chain counts. The chains ``plain`` and ``original`` must give the same pixels, or it
fails. With ``--gpu``, the chain in torch on that device follows: seconds on the clock from array to array, the fastest
round after a first one, its memory, and how many pixels differ from those of the CPU.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypedDict

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from cryotx_cli.config import DenoisingPipeline
from cryotx_cli.micrographs import denoise as module
from machine import describe_machine

STAGES = ("standardise", "to_8_bit", "non_local_means", "wiener_filter", "equalise", "guided_filter")
PIPELINES: tuple[DenoisingPipeline, ...] = ("original", "paper")
CHAINS = ("plain", *PIPELINES)
Image = NDArray[Any]
Stage = Callable[..., Image]


class Measured(TypedDict):
    """What a chain took: seconds of CPU, by the clock and of each stage, MiB at the peak, and what it made."""

    cpu: float
    wall: float
    peak: float
    stages: dict[str, float]
    sha256: str
    versions: dict[str, str]
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="height and width in pixels")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; other programs make single ones noisy")
    parser.add_argument("--chain", choices=CHAINS, help=argparse.SUPPRESS)
    parser.add_argument("--gpu", metavar="DEVICE", help="measure the chain in torch, too")
    arguments = parser.parse_args()
    if arguments.chain:
        print(json.dumps(measure(arguments.chain, arguments.size)))
        return
    rounds = [{chain: in_a_process(chain, arguments.size) for chain in CHAINS} for _ in range(arguments.repeats)]
    measured = {chain: min((each[chain] for each in rounds), key=lambda run: run["cpu"]) for chain in CHAINS}
    report(measured, arguments.size)
    if arguments.gpu:
        report_in_torch(arguments.gpu, arguments.size, arguments.repeats, measured["paper"]["wall"])
    if measured["plain"]["sha256"] != measured["original"]["sha256"]:
        sys.exit("the plain chain and the original pipeline differ")


def in_a_process(chain: str, size: int) -> Measured:
    command = [sys.executable, __file__, "--chain", chain, "--size", str(size)]
    measured: Measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return measured


def measure(chain: str, size: int) -> Measured:
    """Denoise one micrograph in this process; this process's peak memory holds libraries and input too."""
    stages = dict.fromkeys((*STAGES, "the rest"), 0.0)

    def timed(name: str, function: Stage) -> Stage:
        def run(*args: object, **settings: object) -> Image:
            start = time.process_time()
            result = function(*args, **settings)
            stages[name] += time.process_time() - start
            return result

        return run

    image = micrograph(size)
    functions = {name: timed(name, function) for name, function in plain_stages().items()}
    for name in STAGES:
        setattr(module, name, timed(name, getattr(module, name)))
    cpu, wall = time.process_time(), time.perf_counter()
    if chain == "plain":
        denoised = plain_chain(image, functions)
    else:
        denoised = module.denoise(image, "original" if chain == "original" else "paper")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    stages["the rest"] = cpu - sum(stages.values())
    # The kernel counts in KiB, that of macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "cpu": cpu,
        "wall": wall,
        "peak": peak,
        "stages": stages,
        "sha256": hashlib.sha256(denoised.tobytes()).hexdigest(),
        "versions": {"NumPy": np.__version__, "SciPy": scipy.__version__, "OpenCV": cv2.__version__},
        "threads": cv2.getNumThreads(),
    }


def micrograph(size: int) -> NDArray[np.float32]:
    """Noise, a gradient and dark discs, float32."""
    random = np.random.default_rng(1)
    image = random.standard_normal((size, size), dtype=np.float32)
    y, x = np.mgrid[-30:31, -30:31]
    for cy, cx, radius in random.integers((30, 30, 12), (size - 31, size - 31, 28), (size // 8, 3)):
        image[cy - 30 : cy + 31, cx - 30 : cx + 31][y**2 + x**2 <= radius**2] -= 1.5
    image += np.linspace(0, 2, size, dtype=np.float32)
    return image


def plain_stages() -> dict[str, Stage]:
    """Every stage as one would write it down: whole arrays, complex transforms, a new array for every result."""

    def mean(array: Image) -> np.float32:
        # np.mean of NumPy 1, whose last bits decide some pixels; the size must be a multiple of 128.
        total: np.float32 = np.add.accumulate(array.reshape(-1, 8192).sum(axis=1))[-1]
        return total / np.float32(array.size)

    def standardise(image: Image) -> Image:
        blurred: Image = cv2.GaussianBlur(image, (9, 9), 0)
        standard: Image = (blurred - mean(blurred)) / np.sqrt(mean((blurred - mean(blurred)) ** 2))
        return standard

    def to_8_bit(image: Image) -> Image:
        grey: Image = ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
        return grey

    def non_local_means(image: Image) -> Image:
        smoothed: Image = cv2.fastNlMeansDenoising(image, None, 10, 7, 21)
        return smoothed

    def wiener_filter(image: Image) -> Image:
        taps = np.exp(-(np.arange(-4, 5) ** 2) / 18.0)
        kernel = np.outer(taps, taps)
        transfer = np.fft.fft2(kernel / kernel.sum(), s=image.shape)
        restored: Image = np.abs(np.fft.ifft2(np.fft.fft2(image) * np.conj(transfer) / (np.abs(transfer) ** 2 + 30)))
        return restored

    def equalise(image: Image) -> Image:
        equalised: Image = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(16, 16)).apply(image)
        return equalised

    def guided_filter(image: Image, guide: Image) -> Image:
        def box(array: Image) -> Image:
            mean: Image = cv2.boxFilter(array, -1, (20, 20))
            return mean

        image, guide = (image / 255).astype(np.float32), guide.astype(np.float32) / 255
        slope = (box(guide * image) - box(guide) * box(image)) / (box(guide * guide) - box(guide) * box(guide) + 0.1)
        offset = box(image) - slope * box(guide)
        return box(slope) * guide + box(offset)

    functions = (standardise, to_8_bit, non_local_means, wiener_filter, equalise, guided_filter)
    return dict(zip(STAGES, functions, strict=True))


def plain_chain(image: Image, stage: dict[str, Stage]) -> Image:
    image = image[::-1]
    smoothed = stage["non_local_means"](stage["to_8_bit"](stage["standardise"](image)))
    restored = stage["wiener_filter"](smoothed)
    equalised = stage["equalise"](stage["to_8_bit"](restored))
    return stage["to_8_bit"](stage["guided_filter"](equalised, restored))[::-1]


def report(measured: dict[str, Measured], size: int) -> None:
    versions, threads = measured["plain"]["versions"], measured["plain"]["threads"]
    print(f"Denoising one micrograph of {size} x {size} pixels, float32")
    print(f"{describe_machine('numpy', 'scipy')}, OpenCV {versions['OpenCV']}, {threads} threads")
    print(f"\n{'CPU seconds':<18}" + "".join(f"{chain:>18}" for chain in CHAINS))
    for stage in (*STAGES, "the rest"):
        cells = [(run["stages"][stage], run["stages"][stage] / run["cpu"]) for run in measured.values()]
        print(f"{stage:<18}" + "".join(f"{seconds:>10.2f} {share:>6.1%} " for seconds, share in cells))
    print(f"{'total':<18}" + "".join(f"{run['cpu']:>10.2f}        " for run in measured.values()))
    print(
        f"{'of plain':<18}"
        + "".join(f"{r['cpu'] / measured['plain']['cpu']:>10.2f}        " for r in measured.values())
    )
    print(f"{'wall seconds':<18}" + "".join(f"{run['wall']:>10.2f}        " for run in measured.values()))
    print(f"{'peak memory, MiB':<18}" + "".join(f"{run['peak']:>10.0f}        " for run in measured.values()))


def report_in_torch(name: str, size: int, repeats: int, paper_on_cpu: float) -> None:
    import torch

    from cryotx_cli.detector.cryotransformer.denoise import denoise
    from cryotx_cli.detector.device import resolve_device

    device, image = resolve_device(name), micrograph(size)
    on_gpu = device.type == "cuda"
    print(f"\nIn torch {torch.__version__} on {torch.cuda.get_device_name(device) if on_gpu else 'the CPU'}")
    for pipeline in PIPELINES:
        expected = module.denoise(image, pipeline)
        seconds = []
        for _ in range(1 + repeats):
            start = time.perf_counter()
            denoised = denoise(image, pipeline, device)
            seconds.append(time.perf_counter() - start)
        memory = f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB" if on_gpu else "-"
        print(
            f"{pipeline:<18}{min(seconds[1:]):.3f} seconds ({paper_on_cpu / min(seconds[1:]):.1f} times as fast as the "
            f"paper's on the CPU), {memory}, {int((denoised != expected).sum())} pixels differ"
        )


if __name__ == "__main__":
    main()
