"""What a GPU gives: ceilings, the network alone, preparation, whole runs of picking, denoising and training.

    python benchmarks/gpu.py [--parts ceilings network ...] [--device cuda] [--real FOLDER] [--seconds 200]

Each part is a process of its own with a limit of time: what fails or hangs costs itself alone. `precision` counts the
picks that other formats of numbers change, on the micrographs of --real, a folder as for accuracy.py, or else on discs
in noise. The micrographs of `pick` are float32 MRC files of noise with discs, a few of them under many names, read from
the page cache: the disk is a line of `ceilings`. Rates of `pick` are those of the second half of a run, so that the
start, which is in a column of its own, does not count; `1 thr`: the libraries start no threads of their own. With
--device cpu everything runs, slowly, and means little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.network import CenterDETR, DenseMap
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.image import CLIP, PIXELS_PER_DIAMETER, clip_outliers, normalise, rescale
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from discs import PIXEL_SIZE, write_micrograph
from machine import describe_machine

Formats = dict[str, Callable[[], contextlib.AbstractContextManager[object]]]

LIMITS = {  # seconds a part may take; in this order, the most important first
    "pick": 85,
    "network": 45,
    "precision": 30,
    "preparation": 25,
    "ceilings": 25,
    "training": 60,
    "denoise": 45,
    "compile": 45,
}
DIAMETER = 170.0  # Å: 4096 px of 1.0625 Å are 614 px to the network
BACKGROUND_PX = 49


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=4096, help="height and width of micrographs in pixels")
    parser.add_argument("--micrographs", type=int, default=96, help="of a run in one process; several get more")
    parser.add_argument("--sizes", type=int, nargs="+", default=[656, 1024], help="sides of the network's images")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--processes", type=int, nargs="+", default=[4, 8], help="that share the GPU")
    parser.add_argument("--real", type=Path, help="folder of labelled data sets")
    parser.add_argument("--batch-size", type=int, default=64, help="of training, crops of 256 px")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that simulate crops")
    parser.add_argument("--seconds", type=float, default=200.0, help="for everything: no part begins later")
    parser.add_argument("--folder", type=Path, help="where micrographs are written; default: the temporary folder")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        PARTS[arguments.only](arguments)
        return
    print_header(arguments)
    started = time.perf_counter()
    for part in arguments.parts:
        left = arguments.seconds - (time.perf_counter() - started)
        run_part(part, min(LIMITS[part], left))
    say(f"\nall parts: {time.perf_counter() - started:.0f} s")


def say(text: str) -> None:
    print(text, flush=True)


def print_header(arguments: argparse.Namespace) -> None:
    say(describe_machine("torch", "numpy"))
    import cv2

    say(f"          OpenCV {cv2.__version__}; threads: torch {torch.get_num_threads()}, OpenCV {cv2.getNumThreads()}")
    if arguments.device == "cpu":
        return
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        say(f"gpu       {subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()}")
    say(f"          CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")


def run_part(part: str, limit: float) -> None:
    """Run one part in a process of its own, and say why if it does not end well."""
    if limit < 5:
        say(f"\n== {part}: skipped, no time left")
        return
    say(f"\n== {part}")
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *sys.argv, "--only", part], start_new_session=True)
    try:
        code: object = process.wait(limit)
    except subprocess.TimeoutExpired:
        code = f"stopped after {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # its own group: it, and what it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    say(f"-- {part}: {time.perf_counter() - started:.1f} s" + (f", FAILED: {code}" if code else ""))


def attempt(name: str, work: Callable[[], None]) -> None:
    """Do a piece of a part; a failure is said and costs no other piece."""
    try:
        work()
    except Exception as error:
        say(f"{name}: FAILED: {type(error).__name__}: {str(error).strip()[:300]}")


# ---- clocks ----------------------------------------------------------------------------------------------------------


def wait_for(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], device: str, budget: float = 0.25, warm_up: int = 2) -> float:
    """Seconds of one call among many that follow each other, which the host does not wait for in between."""
    for _ in range(warm_up):
        work()
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    count = int(np.clip(budget / (time.perf_counter() - started), 1, 200))
    started = time.perf_counter()
    for _ in range(count):
        work()
    wait_for(device)
    return (time.perf_counter() - started) / count


# ---- ceilings --------------------------------------------------------------------------------------------------------


def ceilings(arguments: argparse.Namespace) -> None:
    attempt("memory of the device", lambda: device_ceilings(arguments))
    attempt("files", lambda: file_ceilings(arguments))


def device_ceilings(arguments: argparse.Namespace) -> None:
    device = arguments.device
    there = torch.empty(2**30 if device != "cpu" else 2**24, dtype=torch.uint8, device=device)
    other = torch.empty_like(there)
    rate = 2 * there.numel() / seconds_of(lambda: other.copy_(there), device)
    say(f"{'device to device':32}{rate / 1e9:10.1f} GB/s read and written")
    one = torch.ones(1, device=device)
    say(f"{'one small kernel':32}{1e6 * seconds_of(lambda: one.add_(1), device):10.1f} us from the host")
    say(f"{'one small kernel, waited for':32}{1e6 * seconds_of(lambda: one.add_(1).item(), device):10.1f} us")
    if device == "cpu":
        return
    image = torch.from_numpy(np.ones((arguments.size, arguments.size), np.float32))
    started = time.perf_counter()
    pinned = image.pin_memory()
    say(f"{'pinning a micrograph, first time':32}{1e3 * (time.perf_counter() - started):10.1f} ms")
    there = torch.empty_like(image, device=device)
    each = {
        "host to device, unpinned": lambda: there.copy_(image),
        "host to device, pinned": lambda: there.copy_(pinned, non_blocking=True),
        "copy into pinned memory, host": lambda: pinned.copy_(image),
    }
    for name, work in each.items():
        say_rate(name, image.nbytes, seconds_of(work, device))


def say_rate(name: str, size: int, seconds: float) -> None:
    say(f"{name:32}{size / seconds / 1e9:10.1f} GB/s{1 / seconds:10.1f} micrographs/s")


def file_ceilings(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, count = Path(name), 8
        say(f"{'files':32}{mount_of(folder)}")
        first = write_micrograph(folder / "0.mrc", arguments.size, DIAMETER, 0)
        data = first.read_bytes()
        started = time.perf_counter()
        paths = [folder / f"{number}.mrc" for number in range(1, count + 1)]
        for path in paths:
            with path.open("wb") as file:
                file.write(data)
                os.fsync(file.fileno())
        say_rate("writing, on the disk", len(data), (time.perf_counter() - started) / count)
        for threads in (1, 4):
            for path in paths:
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            say_rate(f"reading, not cached, {threads} threads", len(data), reading_seconds(raw, paths, threads))
        for what, read in (("np.fromfile", raw), ("read_micrograph", read_micrograph)):
            for threads in (1, 4, 8):
                say_rate(f"{what}, cached, {threads} threads", len(data), reading_seconds(read, paths, threads))


def raw(path: Path) -> object:
    return np.fromfile(path, np.float32)


def reading_seconds(read: Callable[[Path], object], paths: Sequence[Path], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda path: bool(read(path) is None), paths):
            pass
        return (time.perf_counter() - started) / len(paths)


def mount_of(folder: Path) -> str:
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    source, place, kind = max((m for m in mounts if folder.is_relative_to(m[1])), key=lambda m: len(m[1]))
    return f"{folder.parent} on {source}, {kind}, mounted at {place}"


# ---- the network alone -----------------------------------------------------------------------------------------------


def formats(device: str) -> Formats:
    """Return formats of numbers by name; as shipped, PyTorch takes TF32 for convolutions, float32 for products."""
    shipped = contextlib.nullcontext
    if device == "cpu":
        return {"float32": shipped, "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16)}
    return {
        "float32": lambda: tf32(False, False),
        "as shipped": shipped,
        "TF32": lambda: tf32(True, True),
        "bfloat16": lambda: torch.autocast("cuda", torch.bfloat16),
    }


@contextlib.contextmanager
def tf32(convolutions: bool, products: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def network_image(side: int, device: str) -> Tensor:
    """Discs in noise at network scale, (1, 1, side, side)."""
    with tempfile.TemporaryDirectory() as name:
        path = write_micrograph(Path(name) / "m.mrc", side, PIXELS_PER_DIAMETER * PIXEL_SIZE, 1)
        return torch.from_numpy(normalise(clip_outliers(read_micrograph(path).image)))[None, None].to(device)


def repeated(image: Tensor, batch: int) -> Tensor:
    """Return a batch of one image, channels last."""
    return image.repeat(batch, 1, 1, 1).contiguous(memory_format=torch.channels_last)


class Trunk(nn.Module):
    """All that does not depend on how many peaks there are: features at three strides and the dense head."""

    def __init__(self, model: CenterDETR) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the three feature maps and the maps of the dense head."""
        levels = self.model.features(images)
        return (*levels, *self.model.dense(levels[0]))


def network(arguments: argparse.Namespace) -> None:
    device = arguments.device
    picker = Picker(load_checkpoint("default"), device)
    model, trunk = picker.model, Trunk(picker.model)
    with torch.inference_mode():
        for side in arguments.sizes:
            image = network_image(side, device)
            attempt("operations", lambda image=image: count_operations(model, trunk, image))
            prepared = image[0, 0].cpu().numpy()
            pick = 1e3 * seconds_of(lambda prepared=prepared: picker.detect(prepared), device)
            whole, features = (
                1e3 * seconds_of(lambda net=net, image=image: net(image), device) for net in (model, trunk)
            )
            say(
                f"{side} px, as shipped, ms: detect {pick:.2f}, network {whole:.2f}, of it up to the map {features:.2f}"
            )
        say(f"{'micrographs/s':22}" + "".join(f"{f'batch {batch}':>10}" for batch in arguments.batches))
        for side in arguments.sizes:
            image = network_image(side, device)
            for name, context in formats(device).items():
                attempt(name, lambda i=image, n=name, c=context: network_row(model, i, n, c, arguments))
        if device == "cpu":
            return
        say(f"peak memory of the device: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
        for side in arguments.sizes:  # last: a capture that fails may leave the device unusable
            image = network_image(side, device)
            for name, context in formats(device).items():
                attempt(f"CUDA graph, {name}", lambda i=image, n=name, c=context: cuda_graph(model, trunk, i, n, c))


def network_row(model: nn.Module, image: Tensor, name: str, context: Callable, arguments: argparse.Namespace) -> None:
    rates = []
    for batch in arguments.batches:
        images = repeated(image, batch)
        with context():
            rates.append(batch / seconds_of(lambda images=images: model(images), arguments.device))
    say(f"{f'{image.shape[-1]} px, {name}':22}" + "".join(f"{rate:10.1f}" for rate in rates))


def count_operations(model: nn.Module, trunk: Trunk, image: Tensor) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for net in (model, trunk):
        with FlopCounterMode(display=False) as counter:
            out = net(image)
        counts.append(counter.get_total_flops() / 1e9)
    peaks = model(image).peaks.logits.shape[1]
    say(f"{image.shape[-1]} px: {counts[0]:.1f} GFLOP, of it up to the map {counts[1]:.1f}; {peaks} queries")
    del out


def cuda_graph(model: CenterDETR, trunk: Trunk, image: Tensor, name: str, context: Callable) -> None:
    """Say what replaying the part up to the map gains, alone and with the rest as it is."""
    graph, warm_up = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    # A cast that autocast remembers would be freed between capture and replay.
    with context(), torch.autocast("cuda", torch.bfloat16, enabled=name == "bfloat16", cache_enabled=False):
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(3):
                trunk(image)
        torch.cuda.current_stream().wait_stream(warm_up)
        with torch.cuda.graph(graph):
            thin, level8, level16, *dense = trunk(image)

        def whole() -> None:
            graph.replay()
            peaks, content = model._peaks(DenseMap(*dense), thin, 2500)
            model._decode(peaks, content, [thin, level8, level16])

        alone, all_of_it = (1e3 * seconds_of(work, "cuda") for work in (graph.replay, whole))
    say(f"{image.shape[-1]} px, CUDA graph, {name}: up to the map {alone:.2f} ms, network {all_of_it:.2f} ms")


def compile_(arguments: argparse.Namespace) -> None:
    device = arguments.device
    image = network_image(arguments.sizes[0], device)
    trunk = Trunk(Picker(load_checkpoint("default"), device).model)
    for mode in ("default", "reduce-overhead") if device != "cpu" else ("default",):
        for batch in (1, 8):
            images = repeated(image, batch)
            attempt(f"torch.compile, {mode}", lambda m=mode, i=images: compiled(trunk, i, m, device))


def compiled(trunk: Trunk, images: Tensor, mode: str, device: str) -> None:
    torch.compiler.reset()
    with torch.inference_mode():
        eager = seconds_of(lambda: trunk(images), device)
        run = torch.compile(trunk, mode=mode, dynamic=False)
        started = time.perf_counter()
        run(images)
        wait_for(device)
        first = time.perf_counter() - started
        each = seconds_of(lambda: run(images), device)
    say(
        f"up to the map, batch {len(images)}, {mode}: {1e3 * eager:.2f} ms eager, {1e3 * each:.2f} ms compiled, which "
        f"took {first:.1f} s"
    )


# ---- what other formats of numbers change ----------------------------------------------------------------------------


def precision(arguments: argparse.Namespace) -> None:
    checkpoint = load_checkpoint("default")
    on_cpu, there = Picker(checkpoint), Picker(checkpoint, arguments.device)
    say(
        f"{'beside float32 on the CPU':28}{'candidates':>11}{'unmatched':>10}{'score: max':>12}{'mean':>9}"
        f"{'centre':>11}{'picks':>8}{'lost':>6}{'new':>6}"
    )
    for name, group in micrographs(arguments):
        truth = [(image, diameter, *candidates(on_cpu, image, diameter)) for image, diameter in group]
        for kind, context in formats(arguments.device).items():
            with context():
                rows = [
                    compare(known, picks, *candidates(there, image, diameter), diameter / image.pixel_size)
                    for image, diameter, known, picks in truth
                ]
            count, unmatched, highest, mean, shift, picked, lost, new = np.array(rows).T
            say(
                f"{f'{name}, {kind}':28}{count.sum():11.0f}{unmatched.sum():10.0f}{highest.max():12.5f}"
                f"{mean.mean():9.5f}{shift.max():11.4f}{picked.sum():8.0f}{lost.sum():6.0f}{new.sum():6.0f}"
            )


def candidates(picker: Picker, micrograph: Micrograph, diameter: float) -> tuple[Particles, Particles]:
    """Return the candidates half a diameter apart, and the picks among them."""
    apart = picker.pick(micrograph, diameter).with_minimum_distance(diameter / 2 / micrograph.pixel_size)
    return apart, apart.select(choose(apart, ExpectedF1()))


def compare(
    known: Particles, known_picks: Particles, found: Particles, picks: Particles, diameter_px: float
) -> tuple[float, ...]:
    """Candidates, those without a partner, changes of score and centre in diameters, picks, picks lost, picks new."""
    ours, theirs = partners(known, found, 0.1 * diameter_px)
    scores = np.abs(known.scores[ours] - found.scores[theirs])
    shifts = np.hypot(*(known.centres[ours] - found.centres[theirs]).T)
    kept, _ = partners(known_picks, picks, 0.1 * diameter_px)
    unmatched = len(known) + len(found) - 2 * len(ours)
    return (
        len(known),
        unmatched,
        scores.max(initial=0),
        scores.mean() if len(scores) else 0.0,
        shifts.max(initial=0) / diameter_px,
        len(known_picks),
        len(known_picks) - len(kept),
        len(picks) - len(kept),
    )


def partners(first: Particles, second: Particles, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of particles that are nearest to each other and within reach."""
    from scipy.spatial import cKDTree

    if not len(first) or not len(second):
        return np.empty(0, int), np.empty(0, int)
    distance, there = cKDTree(second.centres).query(first.centres)
    _, back = cKDTree(first.centres).query(second.centres)
    mutual = (back[there] == np.arange(len(first))) & (distance <= reach)
    return np.flatnonzero(mutual), there[mutual]


def micrographs(arguments: argparse.Namespace) -> Iterator[tuple[str, list[tuple[Micrograph, float]]]]:
    """Yield groups of micrographs with the diameter of their particles in Å."""
    if arguments.real is None:
        with tempfile.TemporaryDirectory() as name:
            paths = [write_micrograph(Path(name) / f"{i}.mrc", arguments.size, DIAMETER, i) for i in range(4)]
            yield "discs", [(read_micrograph(path), DIAMETER) for path in paths]
        return
    for name, about in json.loads((arguments.real / "datasets.json").read_text()).items():
        paths = sorted((arguments.real / name).glob("micrographs/*"))[:4]
        if paths:
            read = [read_micrograph(path, about["pixel_size"]) for path in paths]
            yield name, [(one, about["diameter_px"] * about["pixel_size"]) for one in read]


# ---- preparation -----------------------------------------------------------------------------------------------------


def preparation(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        paths = [write_micrograph(Path(name) / f"{i}.mrc", arguments.size, DIAMETER, i) for i in range(4)]
        factor = PIXELS_PER_DIAMETER * PIXEL_SIZE / DIAMETER
        attempt("one thread", lambda: preparation_by_step(paths, factor))
        attempt("readers", lambda: readers(paths, factor, "as it likes"))
        attempt("readers, one BLAS thread", lambda: readers_with_one_blas_thread(paths, factor))
        attempt("on the device", lambda: preparation_on(arguments.device, paths, factor))


def preparation_by_step(paths: Sequence[Path], factor: float) -> None:
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    steps = np.zeros((len(paths), 4))
    for row, path in zip(steps, (paths[0], *paths), strict=False):
        times = [time.perf_counter()]
        image = read_micrograph(path).image
        times.append(time.perf_counter())
        image = clip_outliers(image)
        times.append(time.perf_counter())
        image = rescale(image, factor)
        times.append(time.perf_counter())
        image = normalise(image)
        row[:] = np.diff([*times, time.perf_counter()])
    cv2.setNumThreads(threads)
    read, clip, scale, grey = 1e3 * np.median(steps[1:], axis=0)
    total = read + clip + scale + grey
    say(f"ms, one thread: read {read:.1f}, clip {clip:.1f}, rescale {scale:.1f}, normalise {grey:.1f}, all {total:.1f}")


def readers(paths: Sequence[Path], factor: float, blas: str) -> None:
    """Say how many micrographs a second several threads of this process read and prepare."""

    def prepare(path: Path) -> object:
        return normalise(rescale(clip_outliers(read_micrograph(path).image), factor))

    rates = [f"{threads}: {1 / reading_seconds(prepare, [*paths] * 6, threads):.1f}" for threads in (1, 2, 4, 8)]
    say(f"micrographs/s by threads that read and prepare: {', '.join(rates)}; BLAS threads {blas}")


def readers_with_one_blas_thread(paths: Sequence[Path], factor: float) -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        readers(paths, factor, "one")


def preparation_on(device: str, paths: Sequence[Path], factor: float) -> None:
    images = [read_micrograph(path).image for path in paths]
    expected = [normalise(rescale(clip_outliers(image), factor)) for image in images]
    there = DevicePreparation(images[0].shape, factor, device)
    worst = max(float(np.abs(there(torch.from_numpy(i)) - e).max()) for i, e in zip(images, expected, strict=True))
    first = torch.from_numpy(images[0])
    resident, pinned = first.to(device), first.pin_memory() if device != "cpu" else first
    for name, image in (("on the device already", resident), ("from pinned memory", pinned), ("unpinned", first)):
        say(f"prepared on {device}, {name}: {1e3 * seconds_of(lambda image=image: there(image), device):.2f} ms")
    say(f"largest difference from the CPU's: {worst:.2e} (the image goes from -{CLIP:g} to {CLIP:g})")


class DevicePreparation:
    """`clip_outliers`, `rescale` and `normalise` of micrographs of one size in torch; padded ones are not cared for."""

    def __init__(self, shape: tuple[int, int], factor: float, device: str) -> None:
        self.device = device
        sides = [max(1, round(n * factor)) for n in shape]
        self.rows, self.columns = (overlaps(n, side).to(device) for n, side in zip(shape, sides, strict=True))
        reach = BACKGROUND_PX // 2
        self.around = [torch.from_numpy(np.pad(np.arange(s), reach, mode="symmetric")).to(device) for s in sides]

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> np.ndarray:
        """Return the network's image, float32."""
        image = image.to(self.device, non_blocking=True)
        sample = image[::8, ::8].flatten()
        middle = median(sample)
        spread = 1.4826 * median((sample - middle).abs())
        image = torch.clamp(image, middle - 10 * spread, middle + 10 * spread)
        small = self.rows @ image @ self.columns.T
        background = small
        for _ in range(2):
            extended = background[self.around[0]][:, self.around[1]][None]
            background = F.avg_pool2d(F.avg_pool2d(extended, (BACKGROUND_PX, 1), 1), (1, BACKGROUND_PX), 1)[0]
        flat = small - background
        flat -= median(flat.flatten())
        flat /= 1.4826 * median(flat.abs().flatten())
        return flat.clamp_(-CLIP, CLIP).cpu().numpy()


def median(values: Tensor) -> Tensor:
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def overlaps(length: int, side: int) -> Tensor:
    """Share of each of `length` pixels in each of `side` larger ones, (side, length)."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return torch.from_numpy((np.clip(overlap, 0, None) * (side / length)).astype(np.float32))


# ---- whole runs ------------------------------------------------------------------------------------------------------


def pick(arguments: argparse.Namespace) -> None:
    """Say what whole runs of picking reach: one process, several, with pictures and report, and on the CPU."""
    device, count = arguments.device, arguments.micrographs
    name = "cpu" if device == "cpu" else f"cuda:{torch.device(device).index or 0}"
    few, *more = [(",".join([name] * n), (2 + n // 4) * count) for n in arguments.processes]
    runs = [(device, count, False, False), (*few, False, False), (device, count, True, False)]
    runs += [(*one, False, False) for one in more]
    runs += [(*few, False, True), (*few, True, False)]
    if device != "cpu":
        runs.append(("cpu", min(24, count), False, False))
    say(
        f"{'device':18}{'pictures':>9}{'files':>6}{'per s':>8}{'whole/s':>8}{'start s':>8}{'CPU s':>7}"
        f"{'read':>7}{'prep':>7}{'net':>7}{'write':>7}{'GPU MiB':>9}{'host MiB':>9}"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        originals = [write_micrograph(folder / f"{i}.mrc", arguments.size, DIAMETER, i) for i in range(8)]
        for number, (names, count, pictures, single) in enumerate(runs):
            files = folder / f"in{number}"
            files.mkdir()
            for one in range(count):
                os.link(originals[one % len(originals)], files / f"m{one:04}.mrc")
            attempt(names, lambda f=files, d=names, p=pictures, s=single: pick_row(f, d, p, s))


def pick_row(files: Path, device: str, pictures: bool, single: bool) -> None:
    """Print a row of the table; `single`: with one thread for each call of OpenBLAS, OpenMP and OpenCV."""
    libraries = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
    environment = os.environ | (dict.fromkeys(libraries, "1") if single else {})
    command = [sys.executable, __file__, "--only", "one-run", "--folder", str(files), "--device", device]
    command += ["--micrographs", str(int(pictures))]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with gpu_memory(device) as memory:
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip()[-300:])
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    run = json.loads(done.stdout.strip().splitlines()[-1])
    count = run["micrographs"]
    short = device if "," not in device else f"{device.split(',')[0]} x {device.count(',') + 1}"
    stages = "".join(f"{1e3 * run[stage]:7.0f}" for stage in ("read", "prepare", "pick", "write"))
    short += ", 1 thr" * single
    say(
        f"{short:18}{'yes' if pictures else 'no':>9}{count:6}{run['rate']:8.1f}{count / seconds:8.1f}"
        f"{seconds - run['after_first']:8.1f}{cpu / count:7.2f}{stages}{max(memory, default=0):9.0f}{run['host']:9.0f}"
    )


def one_run(arguments: argparse.Namespace) -> None:
    """Pick a folder in this process and print, as JSON, when micrographs were done and what the ledger says."""
    from cryotx_cli.workflows.pick import start_pick

    pictures = bool(arguments.micrographs)
    config = PickConfig(diameter=DIAMETER, device=arguments.device, contrast="dark", images=pictures, report=pictures)
    out = arguments.folder / "out" / "p.star"
    done = []
    for result in start_pick([arguments.folder / "*.mrc"], out, config):
        assert result.error is None, result.error
        done.append(time.perf_counter())
    half = len(done) // 2
    rows = [json.loads(line) for line in (out.with_suffix("") / "ledger.jsonl").read_text().splitlines()]
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    told = {stage: float(np.median([row[f"{stage}_seconds"] for row in rows])) for stage in STAGES}
    told |= {
        "micrographs": len(done),
        "rate": (len(done) - half) / (done[-1] - done[half - 1]),
        "after_first": time.perf_counter() - done[0],
        "host": max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024,
    }
    print(json.dumps(told))


STAGES = ("read", "prepare", "pick", "write")


@contextlib.contextmanager
def gpu_memory(device: str) -> Iterator[list[float]]:
    """Collect the MiB in use on the GPU, by all processes, beyond those at the beginning."""
    used: list[float] = []
    if device.startswith("cpu"):
        yield used
        return
    ended = threading.Event()
    at_first = torch.cuda.mem_get_info()[0]

    def watch() -> None:
        while not ended.wait(0.05):
            used.append((at_first - torch.cuda.mem_get_info()[0]) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield used
    finally:
        ended.set()
        thread.join()


# ---- denoising -------------------------------------------------------------------------------------------------------


def denoise(arguments: argparse.Namespace) -> None:
    """Say what both pipelines take in torch and in OpenCV and SciPy, and how many pixels differ."""
    import cv2

    from cryotx_cli.detector.cryotransformer.denoise import denoise as in_torch
    from cryotx_cli.micrographs.denoise import denoise as in_opencv
    from denoise import micrograph

    device, small = arguments.device, arguments.size // 2
    image, quarter = micrograph(arguments.size), micrograph(small)
    threads = cv2.getNumThreads()
    for pipeline in ("paper", "original"):
        started = time.perf_counter()
        expected = in_opencv(image, pipeline)
        on_cpu = time.perf_counter() - started
        cv2.setNumThreads(1)
        started = time.perf_counter()
        in_opencv(quarter, pipeline)
        alone = time.perf_counter() - started
        cv2.setNumThreads(threads)
        seconds, found = [], expected
        for _ in range(3):
            started = time.perf_counter()
            found = in_torch(image, pipeline, torch.device(device))
            seconds.append(time.perf_counter() - started)
        memory = torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else 0
        say(
            f"{pipeline}: {device} {min(seconds):.3f} s (first {seconds[0]:.2f}), {memory:.0f} MiB; CPU {on_cpu:.2f} s "
            f"with {threads} threads, {alone:.2f} s with one and {small} px, so about {4 * alone:.1f} s; "
            f"{int((found != expected).sum())} of {found.size} pixels differ"
        )
    attempt("stages", lambda: denoise_stages(image, device))


def denoise_stages(image: np.ndarray, device: str) -> None:
    from cryotx_cli.detector.cryotransformer import denoise as stage

    pixels = torch.from_numpy(image).to(device)
    smooth = stage.to_8_bit(stage.standardise(pixels))
    restored = stage.to_8_bit(stage.wiener_filter(smooth))
    guide = restored.float() / 255
    works = {
        "standardise": lambda: stage.standardise(pixels),
        "to_8_bit": lambda: stage.to_8_bit(pixels),
        "non_local_means": lambda: stage.non_local_means(smooth),
        "wiener_filter": lambda: stage.wiener_filter(smooth),
        "equalise": lambda: stage.equalise(restored),
        "guided_filter": lambda: stage.guided_filter(restored, guide, 41),
    }
    say("ms: " + ", ".join(f"{n} {1e3 * seconds_of(work, device, 0.2, 1):.1f}" for n, work in works.items()))


# ---- training --------------------------------------------------------------------------------------------------------


def training(arguments: argparse.Namespace) -> None:
    """Say how many crops a second are simulated, learned from, and both, and where the time of a step goes."""
    from torch.utils.data import DataLoader

    import training as steps
    from cryotx_cli.simulator.structures import procedural_structure
    from cryotx_cli.training.center.data import SimulatedCrops, unpacked

    rng = np.random.default_rng(1)
    structures = [procedural_structure(rng) for _ in range(20)]
    size, workers = arguments.batch_size, arguments.workers
    trainer = steps.Trainer(torch.device(arguments.device))
    # Small batches, which workers deliver evenly.
    small = SimulatedCrops(structures, batch_size=4, steps=steps.RUN_STEPS, seed=1, first=steps.RUN_STEPS // 2)
    late = replace_first(small, steps.RUN_STEPS * 9 // 10)
    started = time.perf_counter()
    loader = iter(DataLoader(small, batch_size=None, num_workers=workers, prefetch_factor=2))
    crops = unpacked(next(loader))
    for _ in range(workers):
        crops += unpacked(next(loader))
    warm, before = time.perf_counter(), len(crops)
    while len(crops) < before + max(size, 64 * workers):
        crops += unpacked(next(loader))
    rate = (len(crops) - before) / (time.perf_counter() - warm)
    say(f"simulation, {workers} workers: {rate:.1f} crops/s; the first after {warm - started:.1f} s")
    del loader
    for batch in (size // 2, size, 2 * size):
        attempt(f"batches of {batch}", lambda b=batch: learning(trainer, (crops * (b // len(crops) + 1))[:b]))
    attempt("late", lambda: learning(trainer, [late.batch(late.first)[0]] * max(1, round(size * (256 / 384) ** 2))))
    if trainer.device.type == "cuda":
        attempt("waits", lambda: steps.host_waits(trainer, crops[:size]))
        say(f"peak memory of the device: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    whole = SimulatedCrops(structures, batch_size=size, steps=steps.RUN_STEPS, seed=2, first=steps.RUN_STEPS // 2)
    attempt("whole steps", lambda: steps.whole_steps(trainer, whole, 2 * workers, workers))


def replace_first(crops, first: int):
    import copy

    other = copy.copy(crops)
    other.first = first
    return other


def learning(trainer, batch: list) -> None:
    """Print crops a second of steps on one batch over and over, and the share of each part."""
    device = trainer.device.type
    trainer.apart = True
    trainer.step(batch)
    trainer.seconds = dict.fromkeys(trainer.seconds, 0.0)
    for _ in range(3):
        trainer.step(batch)
    total = sum(trainer.seconds.values())
    parts = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in trainer.seconds.items() if seconds)
    trainer.apart = False
    each = seconds_of(lambda: trainer.step(batch), device, 1.0, 1)
    side = batch[0].image.shape[-1]
    say(
        f"learning, {len(batch)} crops of {side} px: {len(batch) / each:.1f} crops/s, step {1e3 * each:.0f} ms: {parts}"
    )


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "ceilings": ceilings,
    "network": network,
    "compile": compile_,
    "precision": precision,
    "preparation": preparation,
    "pick": pick,
    "one-run": one_run,
    "denoise": denoise,
    "training": training,
}

if __name__ == "__main__":
    main()
