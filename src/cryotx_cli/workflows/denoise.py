"""Denoise many micrographs: read, denoise, write, several files at the same time."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.config import DenoiseConfig, DenoisingPipeline, load_config, save_config
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.events import Tell
from cryotx_cli.micrographs.denoise import denoise as denoise_on_cpu
from cryotx_cli.micrographs.find import Inputs, listed
from cryotx_cli.micrographs.micrograph import (
    MicrographFile,
    find_micrographs,
    read_stored_pixels,
    write_micrograph,
)
from cryotx_cli.micrographs.names import output_stems
from cryotx_cli.processor import granted_cores
from cryotx_cli.runs.folder import absolute_path

Denoiser = Callable[[NDArray[Any], DenoisingPipeline], NDArray[np.uint8]]

_MOST_WORKERS = 8  # each takes up to 700 MiB for an image of 4096 x 4096


@dataclass(frozen=True)
class DenoiseResult:
    """What became of one micrograph.

    Parameters
    ----------
    file
        The micrograph.
    path
        The denoised image; None where the micrograph was skipped.
    error
        Why it was skipped, with the name of the file; None where it was denoised.
    """

    file: MicrographFile
    path: Path | None
    error: str | None


@dataclass(frozen=True)
class DenoiseRun:
    """Micrographs and the files to write; iterate over it to do the work.

    Iterating yields a `DenoiseResult` for each file, in the order of the input, once it is written. A micrograph that
    cannot be read or denoised is reported and the rest goes on; if that happens to all of them, the loop raises
    `MicrographError` at its end.
    """

    targets: dict[MicrographFile, Path]
    config: DenoiseConfig
    denoiser: Denoiser

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[DenoiseResult]:
        first_error = None
        some = False
        workers = self.config.workers or min(granted_cores().count, _MOST_WORKERS)
        # Threads suffice: reading, OpenCV, SciPy and NumPy release the interpreter while they work on an image.
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(self._denoise, file, path) for file, path in self.targets.items()]
            try:
                for (file, path), future in zip(self.targets.items(), futures, strict=True):
                    try:
                        future.result()
                    except MicrographError as error:
                        first_error = first_error or error
                        yield DenoiseResult(file, None, error.message)
                    else:
                        some = True
                        yield DenoiseResult(file, path, None)
            finally:
                pool.shutdown(cancel_futures=True)
        if first_error and not some:
            raise MicrographError(
                f"none of {len(self)} micrographs could be denoised; the first: {first_error.message}", first_error.hint
            )

    def _denoise(self, file: MicrographFile, path: Path) -> None:
        pixels, pixel_size = read_stored_pixels(file)
        try:
            denoised = self.denoiser(pixels, self.config.pipeline)
        except MicrographError as error:
            raise MicrographError(f"{file.path}: {error.message}", error.hint) from error
        write_micrograph(path, denoised, pixel_size)


def denoise(inputs: Inputs, out: str | Path, config: DenoiseConfig, tell: Tell = lambda _: None) -> DenoiseRun:
    """Prepare to denoise micrographs.

    Parameters
    ----------
    inputs
        Files, folders, globs or a micrographs STAR file.
    out
        Folder for the denoised images and ``config.toml``, the settings. Images keep their stems, and the folders below
        the inputs' common root, so that two files of one stem do not meet; two of one stem in one folder (``a.mrc``,
        ``a.tif``) keep their suffixes. Where it lies below an input folder, what is in it is no input.
    config
        Settings.
    tell
        Takes which files of the inputs are left out.

    Raises
    ------
    MicrographError
        No micrograph is found.
    ConfigError
        An output would replace one of the micrographs, or a file that an earlier run has not written.
    DeviceError
        The device is not there.
    CryotxError
        The folder cannot be written.
    """
    denoiser = _denoiser(config.device)
    files = _without_earlier_outputs(find_micrographs(inputs, tell), inputs, Path(os.path.realpath(out)))
    stems = output_stems([str(absolute_path(file.path)) for file in files])
    targets = {file: Path(out, f"{stem}.{config.format}") for file, stem in zip(files, stems, strict=True)}
    sources = {os.path.realpath(file.path) for file in files}
    for path in targets.values():
        if os.path.realpath(path) in sources:
            raise ConfigError(f"{path}: the denoised image would replace a micrograph", "Give another folder to --out.")
    _require_own(Path(out), list(targets.values()))
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        save_config(config, Path(out, "config.toml"))
    except OSError as error:
        raise CryotxError(f"{out}: cannot write there: {error.strerror}", "Give another folder to --out.") from error
    return DenoiseRun(targets, config, denoiser)


def _require_own(out: Path, targets: Sequence[Path]) -> None:
    """Refuse to replace files in a folder that does not say that they were denoised there."""
    settings = out / "config.toml"
    there = [path for path in (settings, *targets) if path.exists()]
    if not there:
        return
    try:
        load_config(DenoiseConfig, settings)
    except CryotxError:
        raise ConfigError(
            f"--out {out}: holds {there[0].name}, which no earlier run of cryotx denoise has written",
            "Give another folder to --out.",
        ) from None


def _denoiser(device: str) -> Denoiser:
    if device == "cpu":  # the pixels are the same, and torch takes seconds to load
        return denoise_on_cpu
    from cryotx_cli.detector.cryotransformer.denoise import denoiser_on
    from cryotx_cli.detector.device import resolve_device

    return denoiser_on(resolve_device(device))


def _without_earlier_outputs(files: list[MicrographFile], inputs: Inputs, out: Path) -> list[MicrographFile]:
    if not any(Path(given).is_dir() and Path(os.path.realpath(given)) in out.parents for given in listed(inputs)):
        return files
    others = [file for file in files if out not in Path(os.path.realpath(file.path)).parents]
    if not others:
        raise MicrographError(f"no micrographs found but those in {out}, where the denoised ones go", "Check INPUT.")
    return others
