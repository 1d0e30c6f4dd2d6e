"""The file of the crops of one micrograph in the folder of a run: averages made again need no micrograph.

Crops are small beside micrographs, 4 kB a pick in whole numbers. Those of a micrograph that is being picked are cut
while it is in memory, wherever that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.crops import SCALE, SIDE, Crops, Frame, crops_of
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.whole_file import whole_binary_file
from cryotx_cli.micrographs.ctf import Ctf
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.runs.folder import fingerprint

_VERSION = 3  # of how crops are cut
_AT_ONCE = 32  # crops, few enough that they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class KeptCrops:
    """Crops as they are kept.

    Parameters
    ----------
    images
        (n, side, side) int8: those of `Crops` times `SCALE`.
    offsets, whole, noise, flipped
        As in `Crops`.
    """

    images: NDArray[np.int8]
    offsets: NDArray[np.float32]
    whole: NDArray[np.bool_]
    noise: NDArray[np.float64]
    flipped: bool

    @classmethod
    def of(cls, crops: Crops) -> KeptCrops:
        """Round crops."""
        images = np.empty(crops.images.shape, np.int8)
        for start in range(0, len(images), _AT_ONCE):
            some = crops.images[start : start + _AT_ONCE] * np.float32(SCALE)
            images[start : start + _AT_ONCE] = np.clip(np.rint(some, out=some), -127, 127, out=some)
        return cls(images, crops.offsets, crops.whole, crops.noise, crops.flipped)


def crops_key(candidates_key: str, frame: Frame, ctf: Mapping[str, float] | None) -> str:
    """Return the fingerprint of everything that decides the crops of candidates that have this one."""
    return fingerprint(candidates_key, frame.diameter, ctf and dict(ctf), _VERSION)


def cut_and_keep(
    path: Path,
    key: str,
    micrograph: Micrograph,
    centres: NDArray[np.float64],
    frame: Frame,
    ctf: Mapping[str, float] | None,
) -> KeptCrops:
    """Cut crops out of a micrograph, and keep them in a file; where there is no room they are only returned.

    Parameters
    ----------
    path
        The file.
    key
        What `crops_key` returned.
    micrograph, centres, frame
        As for `crops_of`.
    ctf
        The contrast transfer of the micrograph by the names in `Ctf`, if it is known.
    """
    crops = KeptCrops.of(crops_of(micrograph, centres, frame, Ctf.of(ctf)))
    with suppress(ParticleFileError, OSError), whole_binary_file(path) as file:
        np.savez(
            file,
            key=np.array(key),
            centres=centres,
            images=crops.images,
            offsets=crops.offsets,
            whole=crops.whole,
            noise=crops.noise,
            flipped=np.array(crops.flipped),
        )
    return crops


def read_kept(path: Path, key: str, centres: NDArray[np.float64]) -> KeptCrops | None:
    """Return the crops at these centres (n, 2) that were kept under a key; None where one of them is missing."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            places = {place: i for i, place in enumerate(map(tuple, stored["centres"].tolist()))}
            some = np.array([places[place] for place in map(tuple, centres.tolist())], np.intp)
            images, offsets, whole = (stored[name][some] for name in ("images", "offsets", "whole"))
            noise, flipped = stored["noise"], bool(stored["flipped"])
            sound = images.dtype == np.int8 and images.shape[1:] == (SIDE, SIDE) and offsets.shape[1:] == (2,)
            sound = sound and noise.shape == (SIDE // 2 + 1,)
            return KeptCrops(images, offsets, whole.astype(bool), noise, flipped) if sound else None
    except Exception:  # absent, damaged, or of other picks: a damaged archive raises whatever its readers do
        return None


def are_kept(path: Path, key: str, centres: NDArray[np.float64]) -> bool:
    """Return whether `read_kept` has something to return, without reading the images."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            same_key = str(stored["key"]) == key
            return same_key and set(map(tuple, centres.tolist())) <= set(map(tuple, stored["centres"].tolist()))
    except Exception:  # as above
        return False
