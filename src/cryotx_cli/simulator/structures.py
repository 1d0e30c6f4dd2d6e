"""Macromolecules as clouds of beads: procedural ones, and models and maps read from files.

A bead carries the projected-potential excess of its residue over vitreous ice. With neutral-atom scattering factors
and 47.88 V Å², a protein residue has 1087 V Å³ in 135 Å³ and ice 4.57 V, which leaves 470 V Å³ per residue, about 1300
per nucleotide and 3.5 V as the mean inner potential of protein over ice.
"""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import DatasetError

RESIDUE_EXCESS = 470.0  # V Å³
NUCLEOTIDE_EXCESS = 1300.0  # V Å³
PROTEIN_EXCESS = 3.5  # V
RESIDUE_VOLUME = 135.0  # Å³

_MAX_BEADS = 6000
_FARTHEST = 1e5
"""Å. No molecule is wider than the field of view of a micrograph."""
_SUFFIXES = {".pdb", ".ent", ".cif", ".mmcif", ".mrc", ".map"}


@dataclass(frozen=True)
class Structure:
    """A macromolecule.

    Attributes
    ----------
    beads
        (n, 3) positions in Å around the centre of mass.
    weights
        (n,) potential excess over ice in V Å³.
    diameter
        What a user would call its diameter, in Å: twice the distance from the centre to all but 0.5 % of the beads and
        2 Å of side chains beyond them.
    name
        Where it comes from.
    """

    beads: NDArray[np.float32]
    weights: NDArray[np.float32]
    diameter: float
    name: str

    @classmethod
    def from_beads(
        cls, beads: NDArray[np.floating], weights: NDArray[np.floating], name: str, rng: np.random.Generator
    ) -> Structure:
        """Centre a cloud of beads and thin it to at most 6000 while keeping its total weight."""
        centred = beads - np.average(beads, axis=0, weights=weights)
        if len(centred) > _MAX_BEADS:
            total = weights.sum()
            kept = rng.choice(len(centred), _MAX_BEADS, replace=False)
            centred, weights = centred[kept], weights[kept]
            weights = weights * (total / weights.sum())
        radius = np.quantile(np.linalg.norm(centred, axis=1), 0.995) + 2.0
        return cls(centred.astype(np.float32), weights.astype(np.float32), float(2 * radius), name)

    def scaled(self, factor: float) -> Structure:
        """Return it `factor` times as large, at the same density."""
        return Structure(
            self.beads * np.float32(factor), self.weights * np.float32(factor**3), self.diameter * factor, self.name
        )

    def piece(self, share: float, rng: np.random.Generator) -> Structure:
        """Return the beads, `share` of all, that lie beyond a random plane."""
        along = self.beads @ rng.normal(size=3)
        kept = along >= np.quantile(along, 1 - share)
        return Structure.from_beads(self.beads[kept], self.weights[kept], f"piece of {self.name}", rng)


def procedural_structure(rng: np.random.Generator) -> Structure:
    """Invent one macromolecule: a globular assembly, shell, barrel, rod or membrane protein.

    The families and their symmetries (C1-C14, D2-D12, spherical) cover the outlines that single-particle projects
    have; every assembly is pulled together until its subunits touch.
    """
    families = {_assembly: 0.50, _shell: 0.14, _barrel: 0.12, _rod: 0.09, _membrane_protein: 0.15}
    family = list(families)[rng.choice(len(families), p=list(families.values()))]
    beads, weights = family(rng)
    return Structure.from_beads(beads, weights, family.__name__.strip("_"), rng)


def read_structures(folder: Path, rng: np.random.Generator) -> list[Structure]:
    """Read every PDB, mmCIF and MRC file below `folder`, also gzip and bzip2 compressed ones, in order of name.

    Raises
    ------
    DatasetError
        If the folder holds no structure or a file cannot be understood.
    """
    paths = sorted(p for p in folder.rglob("*") if _kind(p) in _SUFFIXES)
    if not paths:
        raise DatasetError(
            f"{folder}: no structures found", "Give a folder with .pdb, .cif or .mrc files (.gz and .bz2 may follow)."
        )
    return [_read_structure(path, rng) for path in paths]


def _kind(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in {".gz", ".bz2"} else (suffixes or [""])[-1]


def _read_structure(path: Path, rng: np.random.Generator) -> Structure:
    readers = {".pdb": _read_pdb, ".ent": _read_pdb, ".cif": _read_mmcif, ".mmcif": _read_mmcif}
    try:
        if _kind(path) in {".mrc", ".map"}:
            beads, weights = _read_map(path, rng)
        else:
            with _open_text(path) as text:
                beads, weights = readers[_kind(path)](text)
    except (OSError, ValueError, KeyError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: not a readable structure: {error}", "Remove or replace this file.") from error
    if len(beads) < 20:
        raise DatasetError(
            f"{path}: only {len(beads)} C-alpha and P atoms found", "A structure needs at least 20 residues."
        )
    if not np.abs(beads).max() <= _FARTHEST:
        raise DatasetError(
            f"{path}: not a readable structure: it reaches to {np.abs(beads).max():.3g} Å from its origin",
            "Look at its coordinates or its voxel size.",
        )
    return Structure.from_beads(beads, weights, path.name, rng)


def _open_text(path: Path) -> IO[str]:
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), open)
    return opener(path, "rt", encoding="utf-8", errors="replace")  # type: ignore[operator, no-any-return]


_Beads = tuple[NDArray[np.float64], NDArray[np.float64]]
_EXCESS = {"CA": RESIDUE_EXCESS, "P": NUCLEOTIDE_EXCESS}
"""Of the atoms that stand for their residues; an atom with alternative places counts at each of them."""


def _beads_of(rows: list[tuple[str, float, float, float]]) -> _Beads:
    table = np.array([(x, y, z, _EXCESS[atom]) for atom, x, y, z in rows], float).reshape(-1, 4)
    if not np.isfinite(table).all():
        row = int(np.argmin(np.isfinite(table).all(1)))
        raise ValueError(f"{rows[row][0]} atom {row + 1} has no finite coordinates")
    return table[:, :3], table[:, 3]


def _read_pdb(text: IO[str]) -> _Beads:
    """Read the first model by columns, as in the wwPDB format, version 3.3.

    Not with gemmi, which takes coordinates that are no numbers for zeros.
    """
    rows = []
    for line in text:
        if line.startswith("ENDMDL"):
            break
        if line.startswith("ATOM") and (atom := line[12:16].strip()) in _EXCESS:
            rows.append((atom, float(line[30:38]), float(line[38:46]), float(line[46:54])))
    return _beads_of(rows)


def _read_mmcif(text: IO[str]) -> _Beads:
    """Read the first model in the `_atom_site` table of an mmCIF file."""
    from gemmi import cif

    wanted = ["group_PDB", "label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z"]
    try:
        blocks = cif.read_string(text.read())
    except RuntimeError as error:  # a column or a block twice; what is no CIF at all is a ValueError
        raise ValueError(str(error)) from error
    tables = [block.find("_atom_site.", [*wanted, "?pdbx_PDB_model_num"]) for block in blocks]
    table = next((one for one in tables if len(one)), None)
    if table is None:
        raise ValueError(f"no table _atom_site with {', '.join(wanted)}")
    model = table[0][5] if table[0].has(5) else ""
    rows = []
    for row in table:
        atom = cif.as_string(row[1])
        if cif.as_string(row[0]) == "ATOM" and atom in _EXCESS and (not model or row[5] == model):
            rows.append((atom, cif.as_number(row[2]), cif.as_number(row[3]), cif.as_number(row[4])))
    return _beads_of(rows)


def _read_map(path: Path, rng: np.random.Generator) -> _Beads:
    """Draw beads from a density map in proportion to its density, where that is above 0.35 of its 99.5th percentile."""
    from cryotx_cli.micrographs.volume import read_volume

    volume, voxel = read_volume(path)
    positive = volume[volume > 0]
    if not positive.size:
        raise ValueError("no density above zero")
    level = 0.35 * np.quantile(positive, 0.995)
    where = np.argwhere(volume > level)
    density = volume[tuple(where.T)].astype(float)
    drawn = rng.choice(len(where), _MAX_BEADS, p=density / density.sum())
    beads = (where[drawn][:, ::-1] + rng.uniform(-0.5, 0.5, (len(drawn), 3))) * voxel
    total = PROTEIN_EXCESS * len(where) * voxel**3
    return beads, np.full(len(drawn), total / len(drawn))


def _ellipsoid(n: int, volume: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Fill an ellipsoid of random shape and orientation with `n` points; (n, 3)."""
    axes = np.exp(rng.normal(0, 0.28, 3))
    radius = (volume * 3 / (4 * math.pi) / axes.prod()) ** (1 / 3)
    points = rng.normal(size=(n, 3))
    points *= rng.random((n, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(points * axes * radius @ rotation)


def _subunit(residues: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Build a chain of one to five overlapping domains; (residues, 3)."""
    domains = int(rng.integers(1, 6))
    parts: list[NDArray[np.float64]] = []
    centre = np.zeros(3)
    each = max(residues // domains, 20)
    radius = (each * RESIDUE_VOLUME * 3 / (4 * math.pi)) ** (1 / 3)
    for _ in range(domains):
        parts.append(_ellipsoid(each, each * RESIDUE_VOLUME, rng) + centre)
        step = rng.normal(size=3)
        centre = centre + step / np.linalg.norm(step) * radius * rng.uniform(1.0, 1.9)
    points = np.concatenate(parts)
    return np.asarray(points - points.mean(0))


def _about_z(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _ring(subunit: NDArray[np.float64], copies: int) -> NDArray[np.float64]:
    """Arrange copies about z at the radius where neighbours just touch; (copies * n, 3)."""
    from scipy.spatial.distance import cdist

    thin = subunit[:: max(1, len(subunit) // 120)]

    def gap(radius: float) -> float:
        first = thin + [radius, 0, 0]
        second = first @ _about_z(2 * math.pi / copies).T
        return math.sqrt(cdist(first, second, "sqeuclidean").min())

    low, high = 0.0, 4 * float(np.linalg.norm(subunit, axis=1).max()) * max(copies / math.pi, 1)
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) < 7.0 else (low, middle)
    placed = subunit + [high, 0, 0]
    return np.concatenate([placed @ _about_z(2 * math.pi * k / copies).T for k in range(copies)])


def _residues(rng: np.random.Generator, low: float = 450, high: float = 14000) -> int:
    return int(math.exp(rng.uniform(math.log(low), math.log(high))))


def _assembly(rng: np.random.Generator) -> _Beads:
    order = int(rng.choice([1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 12, 14, 24]))
    dihedral = order >= 4 and order % 2 == 0 and rng.random() < 0.6
    copies = order // 2 if dihedral else order
    points = _subunit(max(_residues(rng) // order, 60), rng)
    if copies > 1:
        points = _ring(points, copies)
    if dihedral:
        mate = points @ np.diag([1.0, -1.0, -1.0])
        height = np.quantile(points[:, 2], 0.98) * rng.uniform(0.85, 1.0) * 2
        points = np.concatenate([points + [0, 0, height / 2], mate - [0, 0, height / 2]])
    return points, np.full(len(points), RESIDUE_EXCESS)


def _shell(rng: np.random.Generator) -> _Beads:
    """Ferritins, capsids and other hollow spheres: sub-assemblies on a near-even spherical lattice."""
    outer = math.exp(rng.uniform(math.log(45), math.log(190)))
    thickness = min(rng.uniform(18, 45), 0.7 * outer)
    lumps = int(rng.choice([12, 24, 24, 60, 60, 180]))
    golden = math.pi * (3 - math.sqrt(5))
    z = 1 - 2 * (np.arange(lumps) + 0.5) / lumps
    lattice = np.stack(
        [
            np.sqrt(1 - z**2) * np.cos(golden * np.arange(lumps)),
            np.sqrt(1 - z**2) * np.sin(golden * np.arange(lumps)),
            z,
        ],
        1,
    )
    volume = 4 / 3 * math.pi * (outer**3 - (outer - thickness) ** 3)
    n = min(int(0.8 * volume / RESIDUE_VOLUME), 12000)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    nearest = np.argmax(directions @ lattice.T, axis=1)
    directions += (lattice[nearest] - directions) * rng.uniform(0.0, 0.25)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = outer - thickness * rng.random(n)
    weight = RESIDUE_EXCESS * (0.8 * volume / RESIDUE_VOLUME) / n
    content = rng.random() < 0.25  # nucleic acid or cargo inside
    points = directions * radii[:, None]
    if content:
        inside = rng.normal(size=(n // 3, 3))
        inside *= (
            rng.random((n // 3, 1)) ** (1 / 3) * (outer - thickness) / np.linalg.norm(inside, axis=1, keepdims=True)
        )
        points = np.concatenate([points, inside])
    return points, np.full(len(points), weight)


def _barrel(rng: np.random.Generator) -> _Beads:
    """Proteasomes, chaperonins, rings and pores: stacked hollow rings."""
    copies, layers = int(rng.integers(5, 15)), int(rng.choice([1, 2, 2, 4]))
    ring = _ring(_ellipsoid(int(rng.integers(120, 500)), rng.uniform(2e4, 8e4), rng), copies)
    height = float(np.ptp(ring[:, 2])) * rng.uniform(0.85, 1.0)
    stack = [
        ring @ _about_z(rng.uniform(0, math.pi)).T + [0, 0, height * (k - (layers - 1) / 2)] for k in range(layers)
    ]
    points = np.concatenate(stack)
    return points, np.full(len(points), RESIDUE_EXCESS)


def _rod(rng: np.random.Generator) -> _Beads:
    """Elongated complexes up to an aspect of five, straight or bent."""
    width = rng.uniform(35, 80)
    length = width * rng.uniform(2, 5)
    n = int(math.pi / 4 * width**2 * length / RESIDUE_VOLUME)
    along = rng.uniform(-0.5, 0.5, n) * length
    across = rng.normal(size=(n, 2))
    across *= rng.random((n, 1)) ** 0.5 * width / 2 / np.linalg.norm(across, axis=1, keepdims=True)
    bend = rng.uniform(0, 0.35) * length * ((2 * along / length) ** 2)
    swelling = 1 + rng.uniform(0, 0.4) * np.sin(along / length * math.pi * rng.integers(1, 5) + rng.uniform(0, 6))
    points = np.stack([across[:, 0] * swelling + bend, across[:, 1] * swelling, along], 1)
    return points, np.full(n, RESIDUE_EXCESS)


def _membrane_protein(rng: np.random.Generator) -> _Beads:
    """Set a protein through a detergent micelle or nanodisc, with soluble domains on one or both sides."""
    copies = int(rng.choice([1, 1, 2, 3, 4, 4, 5, 6]))
    thickness, core = rng.uniform(38, 55), _residues(rng, 250, 2500)
    inside = _ellipsoid(max(core // copies, 60), core / copies * RESIDUE_VOLUME, rng)
    inside = _ring(inside, copies) if copies > 1 else inside
    inside[:, 2] *= thickness / max(float(np.ptp(inside[:, 2])), 1.0) * rng.uniform(0.9, 1.4)
    parts, weights = [inside], [np.full(len(inside), RESIDUE_EXCESS)]
    for side in (1, -1) if rng.random() < 0.4 else (1,):
        residues = max(int(core * rng.uniform(0.1, 1.5)) // copies, 40)
        soluble = _subunit(residues, rng)
        soluble = _ring(soluble, copies) if copies > 1 else soluble
        soluble = soluble + [0, 0, side * (thickness / 2 - np.quantile(side * soluble[:, 2], 0.03))]
        parts.append(soluble)
        weights.append(np.full(len(soluble), RESIDUE_EXCESS))
    hole = np.quantile(np.hypot(inside[:, 0], inside[:, 1]), 0.9)
    rim = hole + rng.uniform(18, 45)
    volume = math.pi * (rim**2 - hole**2) * thickness
    n = int(min(volume / 250, 4000))
    angle, radius = rng.uniform(0, 2 * math.pi, n), np.sqrt(rng.uniform(hole**2, rim**2, n))
    bulge = np.sqrt(np.clip(1 - ((radius - hole) / (rim - hole)) ** 2 * rng.uniform(0.2, 1.0), 0.05, 1))
    belt = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-0.5, 0.5, n) * thickness * bulge], 1)
    parts.append(belt)
    weights.append(np.full(n, PROTEIN_EXCESS * rng.uniform(0.5, 1.0) * volume / n))
    return np.concatenate(parts), np.concatenate(weights)
