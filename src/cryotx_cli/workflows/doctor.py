"""Whether picking can work on this machine, and what to do where it cannot."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryotx_cli.config import DoctorConfig, PickConfig
from cryotx_cli.errors import CryotxError
from cryotx_cli.processor import granted_cores
from cryotx_cli.surroundings import (
    address_space_limit,
    broken_library,
    first_line,
    is_from_pythonpath,
    remedy_for,
    require_memory,
)
from cryotx_cli.version import __version__

_LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "mrcfile", "safetensors", "pydantic")
_OPENCV = ("opencv-contrib-python-headless", "opencv-contrib-python", "opencv-python-headless", "opencv-python")
_LITTLE_DISK = 2e9  # bytes
_LITTLE_GPU = 1.5e9  # bytes: what the default model wants for a micrograph of 1536 x 1536 network pixels
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_INSTALL_GPU = "Install the PyTorch build for your driver, see https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Examined:
    """One thing that was looked at.

    Parameters
    ----------
    name, value
        What, and how it is.
    problem
        What is wrong with it; empty if nothing is.
    remedy
        What to do.
    fatal
        Whether picking cannot work like this.
    """

    name: str
    value: str
    problem: str = ""
    remedy: str = ""
    fatal: bool = False


def examine(config: DoctorConfig) -> Iterator[Examined]:
    """Look at everything that picking needs, and pick once.

    Yields
    ------
    Examined
        One after the other; what a missing library makes impossible is left out.
    """
    yield Examined("cryotx", f"{__version__}, in {Path(__file__).parents[1]}")
    yield _python()
    memory = _memory()
    if memory is not None:  # loading PyTorch would end this process, too
        yield memory
        return
    libraries = list(_libraries())
    yield from libraries
    yield _cores()
    yield _disk(config.out)
    if any(finding.fatal for finding in libraries):
        return
    yield from _device(config.device)
    yield from _weights(config.weights)
    yield _trial(config)


def _python() -> Examined:
    problem = "" if sys.version_info >= (3, 11) else "cryotx needs Python 3.11 or later"
    value = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    return Examined(
        "Python", value, problem, "Make an environment with a newer Python." if problem else "", bool(problem)
    )


def _memory() -> Examined | None:
    """Return what is wrong with the limit of the shell, if it has one that is too low."""
    try:
        require_memory()
    except CryotxError as error:
        return Examined("Memory", f"{(address_space_limit() or 0) / 1e9:.1f} GB", error.message, error.hint, True)
    return None


def _libraries() -> Iterator[Examined]:
    for name in _LIBRARIES:
        yield _library(name, version(name)) if _is_installed(name) else _missing(name)
    opencv = [(name, version(name)) for name in _OPENCV if _is_installed(name)]
    if not opencv:
        yield _missing("opencv")
        return
    value = ", ".join(f"{number} ({name})" for name, number in opencv)
    if len(opencv) == 1:
        yield _library("cv2", value, "opencv")
    else:
        # All of them install the same module: the last one wins, and removing one breaks the others.
        remedy = f"pip uninstall -y {' '.join(name for name, _ in opencv)}; then install cryotx again."
        yield Examined("opencv", value, "these builds of OpenCV overwrite each other", remedy)


def _library(module: str, value: str, name: str = "") -> Examined:
    """Import a library: that of another program may stand in the way of the one that is installed."""
    name = name or module
    try:
        found = importlib.import_module(module)
    except Exception as error:
        culprit, file = broken_library(error) or (module, "")
        because = "" if culprit == module else f", because {culprit} cannot"
        reason = f"cannot be imported{because}{f', from {file}' if file else ''}: {first_line(error)}"
        return Examined(name, value, reason, remedy_for(file), True)
    file = getattr(found, "__file__", None) or ""
    return Examined(name, f"{value}, in {Path(file).parent}" if is_from_pythonpath(file) else value)


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _missing(name: str) -> Examined:
    return Examined(name, "missing", f"{name} is not installed", "Install cryotx again: pip install cryotx-cli.", True)


def _cores() -> Examined:
    cores = granted_cores()
    value = f"{cores.count} of {os.cpu_count()}"
    if cores.limit and cores.count < (os.cpu_count() or 1):
        value += f" ({cores.limit})"
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) != cores.count:
        value += f"; OMP_NUM_THREADS allows {threads}"
    return Examined("Processor cores", value)


def _disk(folder: Path) -> Examined:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    value = f"{free / 1e9:.1f} GB free in {existing}"
    try:
        # Trying is the only reliable test: mode bits say nothing about read-only file systems and quotas.
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))
    except OSError as error:
        reason = f"{existing}: cannot write there ({error.strerror})"
        return Examined("Disk", value, reason, "Choose another folder with --out, or make room.", True)
    if free < _LITTLE_DISK:
        return Examined(
            "Disk", value, "little room: about 2 MB go into each micrograph", "Use --no-images, or make room."
        )
    return Examined("Disk", value)


def _device(name: str) -> Iterator[Examined]:
    import torch

    from cryotx_cli.detector.device import choose_device, gpu_failure

    yield Examined("CUDA in torch", torch.version.cuda or "none: this build is for the CPU alone")
    yield Examined("torch threads", f"{torch.get_num_threads()}")
    try:
        chosen = choose_device(name)
    except CryotxError as error:
        yield Examined("Device", name, error.message, error.hint, True)
        return
    value = f"{chosen.device} ({chosen.reason})"
    if chosen.device.type == "cpu":
        passed_over = name == "auto" and _NVIDIA_DRIVER.exists()
        problem = f"there is an NVIDIA driver, but torch does not use the GPU: {chosen.reason}" if passed_over else ""
        yield Examined("Device", value, problem, _INSTALL_GPU if problem else "")
        return
    failure = gpu_failure(chosen.device.index or 0)
    if failure is not None:
        yield Examined(
            "Device", value, f"the GPU cannot compute: {failure}", f"{_INSTALL_GPU}, or use --device cpu.", True
        )
        return
    yield Examined("Device", value)
    free, total = torch.cuda.mem_get_info(chosen.device)
    little = "little GPU memory is free, large micrographs may not fit" if free < _LITTLE_GPU else ""
    remedy = "See with nvidia-smi who uses it, choose another GPU, or use --device cpu." if little else ""
    yield Examined("GPU memory", f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free", little, remedy)


def _weights(name: str) -> Iterator[Examined]:
    from cryotx_cli.detector.checkpoint import checkpoint_path

    path = checkpoint_path(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = f"{path}: cannot be read ({error.strerror})"
        yield Examined("Weights", name, reason, "Check --weights, or install cryotx again for its own model.", True)
        return
    yield Examined("Weights", f"{path}, {len(content) / 1e6:.1f} MB")
    yield Examined("SHA-256 of weights", hashlib.sha256(content).hexdigest())


def _trial(config: DoctorConfig) -> Examined:
    """Load the weights and pick an image of noise."""
    import numpy as np

    from cryotx_cli.detector.load_picker import load_picker
    from cryotx_cli.micrographs.micrograph import Micrograph

    noise = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    micrograph = Micrograph(noise, 2.0, Path("noise"))
    try:
        started = time.perf_counter()
        picker = load_picker(PickConfig(weights=config.weights, device=config.device)).picker
        loaded = time.perf_counter()
        picker.locate(picker.prepare(micrograph, 100.0), micrograph)
    except CryotxError as error:
        return Examined("Picking", "does not work", error.message, error.hint, True)
    except (RuntimeError, ImportError) as error:
        reason = first_line(error)
        return Examined("Picking", "does not work", reason, f"Try --device cpu. {_INSTALL_GPU}.", True)
    return Examined(
        "Picking", f"works: {loaded - started:.1f} s to load, {time.perf_counter() - loaded:.1f} s for 512 x 512 pixels"
    )
