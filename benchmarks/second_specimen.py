"""What the second simulator shoots through: voxel maps of particles, their places, ice, dirt and film."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

ATOM_POTENTIAL = {"C": 120.0, "N": 106.0, "O": 95.0, "P": 263.0, "S": 247.0}  # V Å³: 47.88 V Å² times f_el(0) in Å
HYDROGEN_POTENTIAL, ATOM_VOLUME = 25.0, 17.3  # V Å³ for each heavy atom of a protein; Å³
WATER_POTENTIAL, WATER_DENSITY = 145.6, 0.0314  # V Å³; molecules/Å³ at 0.94 g/cm³
ICE_MEAN, PROTEIN_EXCESS = 4.57, 3.5  # V
CARBON_POTENTIAL, CARBON_DENSITY, CARBON_MEAN = 103.5, 0.088, 9.09  # V Å³; atoms/Å³; V
ICE_MEAN_FREE_PATH, CARBON_MEAN_FREE_PATH = 3200.0, 1700.0  # Å, inelastic, at 300 kV


@dataclass(frozen=True, eq=False)
class VoxelMap:
    """Potential above that of ice in V, (n, n, n) with the centre of mass in the middle; spacing and diameter in Å."""

    potential: np.ndarray
    spacing: float
    diameter: float
    name: str


def voxel_maps(folder: Path | None, rng: np.random.Generator) -> list[VoxelMap]:
    """Every PDB file and MRC map below `folder`, and as many invented lumps as a third of them, at least six."""
    paths = sorted(p for p in folder.rglob("*.gz")) if folder and folder.is_dir() else []
    maps = [pdb_map(path) if ".pdb" in path.name else mrc_map(path) for path in paths]
    return maps + [invented_map(rng) for _ in range(max(6, len(maps) // 3))]


def mrc_map(path: Path) -> VoxelMap:
    with mrcfile.open(path) as file:
        density, spacing = np.maximum(file.data, 0).astype(np.float32), float(file.voxel_size.x)
    body = density[density > 0.05 * np.quantile(density, 0.999)]
    occupancy = np.minimum(density / np.quantile(body, 0.9), 1.2)
    return centred_map(PROTEIN_EXCESS * occupancy, spacing, path.name)


def pdb_map(path: Path, spacing: float = 3.0) -> VoxelMap:
    """Heavy atoms with their hydrogens on a grid, less the water they displace."""
    rows = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.startswith("ENDMDL"):
                break
            element = line[76:78].strip() or line[12:16].strip()[:1]
            if line.startswith("ATOM") and element in ATOM_POTENTIAL:
                rows.append((*(float(line[i : i + 8]) for i in (46, 38, 30)), ATOM_POTENTIAL[element]))
    table = np.array(rows)
    low = table[:, :3].min(0) - 12
    shape = np.ceil((table[:, :3].max(0) + 12 - low) / spacing).astype(int)
    cells = tuple(((table[:, :3] - low) / spacing).astype(int).T)
    atoms, volume = np.zeros(shape), np.zeros(shape)
    np.add.at(atoms, cells, (table[:, 3] + HYDROGEN_POTENTIAL) / spacing**3)
    np.add.at(volume, cells, ATOM_VOLUME / spacing**3)
    displaced = np.minimum(ndimage.gaussian_filter(volume, 2.5 / spacing), 1)
    potential = ndimage.gaussian_filter(atoms, 1.5 / spacing) - ICE_MEAN * displaced
    return centred_map(potential.astype(np.float32), spacing, path.name)


def invented_map(rng: np.random.Generator, spacing: float = 4.0) -> VoxelMap:
    """Where smooth noise inside of an ellipsoid is above a level, repeated around an axis."""
    diameter = math.exp(rng.uniform(math.log(90), math.log(320)))
    side = 2 * int(0.6 * diameter / spacing) + 1
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, side)] * 3, indexing="ij")
    inside = sum((axis / half) ** 2 for axis, half in zip(axes, (1, *rng.uniform(0.5, 1, 2)), strict=True)) < 1
    noise = ndimage.gaussian_filter(rng.normal(size=(side,) * 3), rng.uniform(0.06, 0.14) * side)
    fold = int(rng.choice([1, 1, 2, 3, 4, 6]))
    noise = sum(ndimage.rotate(noise, 360 * k / fold, axes=(1, 2), reshape=False, order=1) for k in range(fold))
    level = np.quantile(noise[inside], rng.uniform(0.3, 0.6))
    body = ndimage.gaussian_filter((inside & (noise > level)).astype(np.float32), 0.6)
    return centred_map(PROTEIN_EXCESS * rng.uniform(0.8, 1.1) * body, spacing, "invented")


def centred_map(potential: np.ndarray, spacing: float, name: str) -> VoxelMap:
    """Put the centre of mass into the middle of a cube; all but 0.5 % of the mass lies within the diameter."""
    weight = np.maximum(potential, 0)
    centre = np.array(ndimage.center_of_mass(weight))
    offsets = np.argwhere(weight > 0.05 * weight.max())
    distances = np.linalg.norm(offsets - centre, axis=1)
    mass = weight[tuple(offsets.T)]
    order = np.argsort(distances)
    share = np.cumsum(mass[order]) / mass.sum()
    radius = distances[order][np.searchsorted(share, 0.995)] + 0.5
    half = math.ceil(radius) + 2
    grid = np.arange(-half, half + 1)
    at = np.meshgrid(*(grid + c for c in centre), indexing="ij")
    cube = ndimage.map_coordinates(potential, at, order=1).astype(np.float32)
    return VoxelMap(cube, spacing, float(2 * radius * spacing), name)


def projections(solid: VoxelMap, pixel_size: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Turn a map `count` ways and sum it along the beam: (count, n, n) in V Å, n odd, the centre in the middle."""
    half = math.ceil(0.55 * solid.diameter / pixel_size) + 1
    depth = math.ceil(0.55 * solid.diameter / solid.spacing) + 1
    scale = np.diag([1.0, *[pixel_size / solid.spacing] * 2])
    middle = (len(solid.potential) - 1) / 2
    views = []
    for turn in Rotation.random(count, random_state=rng).as_matrix():
        matrix = turn @ scale
        offset = middle - matrix @ [depth, half, half]
        shape = (2 * depth + 1, 2 * half + 1, 2 * half + 1)
        turned = ndimage.affine_transform(solid.potential, matrix, offset, shape, order=1)
        views.append(turned.sum(0) * solid.spacing)
    return np.array(views, np.float32)


def fragments(
    solid: VoxelMap, widths: tuple[float, float], pixel_size: float, count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Projections of round pieces, so many Å wide, cut out of a map at random places."""
    voxels = np.argwhere(solid.potential > 0.3 * solid.potential.max())
    grid = np.indices(solid.potential.shape).reshape(3, -1).T
    pieces = []
    for place in voxels[rng.integers(len(voxels), size=count)]:
        width = rng.uniform(*widths)
        gaussian = np.exp(-(((grid - place) * solid.spacing) ** 2).sum(1) / (2 * (width / 3) ** 2))
        piece = solid.potential * gaussian.reshape(solid.potential.shape).astype(np.float32)
        pieces.append(projections(centred_map(piece, solid.spacing, ""), pixel_size, 1, rng)[0])
    return pieces


def place(side: int, diameter: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random points that pushed each other apart: (n, 2) whole px, also beyond the borders by a diameter."""
    points = rng.uniform(-diameter, side + diameter, (count, 2))
    if rng.random() < 0.4:  # drawn together by surface tension, as at the rim of a hole
        hub = rng.uniform(0, side, 2)
        points += (hub - points) * rng.uniform(0.1, 0.5)
    spacing = diameter * rng.uniform(0.7, 1.05)
    for _ in range(12):
        pairs = cKDTree(points).query_pairs(spacing, output_type="ndarray")
        if not len(pairs):
            break
        gap = points[pairs[:, 0]] - points[pairs[:, 1]]
        distance = np.linalg.norm(gap, axis=1, keepdims=True) + 1e-3
        push = gap / distance * (spacing - distance) / 2
        np.add.at(points, pairs[:, 0], 0.6 * push)
        np.add.at(points, pairs[:, 1], -0.6 * push)
    return np.rint(points).astype(int)


def paste(field: np.ndarray, stamp: np.ndarray, x: int, y: int) -> None:
    half_y, half_x = stamp.shape[0] // 2, stamp.shape[1] // 2
    top, left = y - half_y, x - half_x
    rows = slice(max(top, 0), min(top + stamp.shape[0], field.shape[0]))
    columns = slice(max(left, 0), min(left + stamp.shape[1], field.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        field[rows, columns] += stamp[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def scatterers(density: np.ndarray, potential: float, pixel_size: float, rng: np.random.Generator) -> np.ndarray:
    """Single scatterers, `density` of them expected in each pixel: their potential in V Å without its mean."""
    found: np.ndarray = ((rng.poisson(density) - density) * (potential / pixel_size**2)).astype(np.float32)
    return found


def fractal(side: int, rng: np.random.Generator, roughness: float = 0.6) -> np.ndarray:
    """Noise of many lengths, each half as long as the one before and `roughness` times as strong; unit variance."""
    total = np.zeros((side, side), np.float32)
    for octave in range(2, int(math.log2(side))):
        coarse = rng.normal(size=(2**octave + 3,) * 2)
        fine = ndimage.zoom(coarse, side / 2**octave, order=1)[:side, :side]
        total += roughness**octave * fine.astype(np.float32)
    unit: np.ndarray = total / total.std()
    return unit


def crystal(side: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Thickness (0 to 1) of a faceted crystal: the inside of five to eight straight lines with bevelled edges."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - rng.uniform(0, side, (2, 1, 1)).astype(np.float32)
    angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(5, 9))))
    depth = np.min([radius * rng.uniform(0.6, 1.1) - (x * np.cos(a) + y * np.sin(a)) for a in angles], axis=0)
    depth = np.minimum(depth, 1.4 * radius - np.hypot(x, y))
    thickness: np.ndarray = np.clip(depth / (rng.uniform(0.05, 0.5) * radius), 0, 1).astype(np.float32)
    return thickness


def dirt(
    side: int, diameter: float, pixel_size: float, severity: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Potential in V Å, cover (bool) and lost amplitude (exponent) of crystals, clouds and film."""
    potential, loss = np.zeros((2, side, side), np.float32)
    cover = np.zeros((side, side), bool)
    for _ in range(rng.poisson(3 * severity)):
        thickness = crystal(side, diameter / pixel_size * math.exp(rng.uniform(-1.2, 1.2)), rng)
        potential += ICE_MEAN * rng.uniform(100, 900) * thickness
        cover |= thickness > 0.3
    if rng.random() < 0.4 * severity:
        height = fractal(side, rng)
        cloud = np.maximum(height - np.quantile(height, 1 - rng.uniform(0.01, 0.15)), 0)
        potential += PROTEIN_EXCESS * rng.uniform(150, 600) * cloud
        cover |= cloud > 0.3
    if rng.random() < 0.3 * severity:
        y, x = np.mgrid[:side, :side] * pixel_size
        angle, hole = rng.uniform(0, 2 * math.pi), rng.uniform(3000, 9000)
        reach = hole - rng.uniform(0.0, 0.45) * side * pixel_size
        middle = side * pixel_size / 2 - reach * np.array([math.cos(angle), math.sin(angle)])
        rim = np.hypot(x - middle[0], y - middle[1]) - hole + 15 * fractal(side, rng, 0.8)
        film = (1 / (1 + np.exp(-rim / rng.uniform(8, 30)))).astype(np.float32)
        film_thickness = rng.uniform(80, 250)
        atoms = CARBON_DENSITY * film_thickness * pixel_size**2 * rng.uniform(0.3, 1.0)
        potential += film * (CARBON_MEAN - ICE_MEAN) * film_thickness
        potential += scatterers(atoms * film, CARBON_POTENTIAL, pixel_size, rng)
        loss += film * film_thickness / (2 * CARBON_MEAN_FREE_PATH)
        cover |= film > 0.5
    return potential, cover, loss


def soup(solid: VoxelMap, side: int, pixel_size: float, rng: np.random.Generator) -> np.ndarray:
    """Denatured protein: up to eight fragments, of eight kinds, for every (100 Å)²."""
    count = rng.poisson(rng.choice([0.0, 2.0, 8.0]) * rng.random() * (side * pixel_size / 100) ** 2)
    return scattered(fragments(solid, (20, 60), pixel_size, 8, rng), count, side, rng)


def broken(solid: VoxelMap, particles: int, side: int, pixel_size: float, rng: np.random.Generator) -> np.ndarray:
    """Pieces of particles, up to half as many as there are whole ones."""
    widths = (0.3 * solid.diameter, 0.6 * solid.diameter)
    count = rng.poisson(rng.choice([0.0, 0.1, 0.5]) * particles)
    return scattered(fragments(solid, widths, pixel_size, 8, rng), count, side, rng)


def scattered(stamps: list[np.ndarray], count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    field = np.zeros((side, side), np.float32)
    for kind, x, y in zip(rng.integers(len(stamps), size=count), *rng.integers(0, side, (2, count)), strict=True):
        paste(field, stamps[kind], int(x), int(y))
    return field
