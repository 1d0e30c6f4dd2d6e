"""A simulator of another construction than the one the default model learned from, and how well it picks there.

Usage: python benchmarks/second_simulator.py [--structures DIR] [--micrographs 24] [--size 1536] [--weights NAME|FILE]
       python benchmarks/second_simulator.py --out DIR    (also writes a CryoPPP tree)

What a model loses from its own simulator to this one says how much it leans on the ways of the former. Here:

particles   voxel maps, turned in three dimensions and summed along the beam; no beads
specimen    water and film are single scatterers counted in each pixel; soup and broken particles are pieces of maps
optics      a strong, absorbing phase object |F^-1{F[exp(i sigma V - a)] exp(i chi) E}|^2, source and energy spread
camera      Poisson counts of electrons, then the modulation transfer of the camera, 2-4 Å per pixel
dirt        faceted crystals, fractal clouds, and film around holes with a ragged rim
placement   random points that push each other apart

Particles under dirt, on film or cut by the border are neither right nor wrong to pick. d' is the signal-to-noise ratio
of the matched filter for a typical particle against a field without particles.
"""

from __future__ import annotations

import argparse
import gzip
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.micrographs.micrograph import Micrograph, write_micrograph
from machine import describe_machine
from scoring import COLUMNS, Judged, Scene, judge, summary

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


@dataclass(frozen=True, eq=False)
class Field:
    """One simulated micrograph with its scene and the circumstances that the table is grouped by."""

    scene: Scene
    name: str
    defocus: float  # µm
    coverage: float  # share of the area under particle discs
    junk: float  # share of the area under film or dirt
    detectability: float  # d'


# ---- voxel maps ------------------------------------------------------------------------------------------------------


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


# ---- specimen --------------------------------------------------------------------------------------------------------


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
    return ((rng.poisson(density) - density) * (potential / pixel_size**2)).astype(np.float32)


def fractal(side: int, rng: np.random.Generator, roughness: float = 0.6) -> np.ndarray:
    """Noise of many lengths, each half as long as the one before and `roughness` times as strong; unit variance."""
    total = np.zeros((side, side), np.float32)
    for octave in range(2, int(math.log2(side))):
        coarse = rng.normal(size=(2**octave + 3,) * 2)
        fine = ndimage.zoom(coarse, side / 2**octave, order=1)[:side, :side]
        total += roughness**octave * fine.astype(np.float32)
    return total / total.std()


def crystal(side: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Thickness (0 to 1) of a faceted crystal: the inside of five to eight straight lines with bevelled edges."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - rng.uniform(0, side, (2, 1, 1)).astype(np.float32)
    angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(5, 9))))
    depth = np.min([radius * rng.uniform(0.6, 1.1) - (x * np.cos(a) + y * np.sin(a)) for a in angles], axis=0)
    depth = np.minimum(depth, 1.4 * radius - np.hypot(x, y))
    return np.clip(depth / (rng.uniform(0.05, 0.5) * radius), 0, 1).astype(np.float32)


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
        thickness = rng.uniform(80, 250)
        atoms = CARBON_DENSITY * thickness * pixel_size**2 * rng.uniform(0.3, 1.0)
        potential += film * (CARBON_MEAN - ICE_MEAN) * thickness
        potential += scatterers(atoms * film, CARBON_POTENTIAL, pixel_size, rng)
        loss += film * thickness / (2 * CARBON_MEAN_FREE_PATH)
        cover |= film > 0.5
    return potential, cover, loss


# ---- microscope ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Microscope:
    """Settings for one micrograph; lengths in Å."""

    kilovolts: float
    defocus: float
    astigmatism: float
    axis: float
    b_factor: float
    focal_spread: float
    divergence: float  # rad
    absorption: float
    dose: float  # electrons/Å² that are counted
    camera: float  # modulation transfer at the Nyquist frequency

    @property
    def wavelength(self) -> float:
        volts = 1e3 * self.kilovolts
        return 12.2643 / math.sqrt(volts * (1 + 0.978466e-6 * volts))

    @property
    def interaction(self) -> float:
        """Phase in rad that 1 V Å adds."""
        ratio = (511 + self.kilovolts) / (2 * 511 + self.kilovolts)
        return 2 * math.pi * ratio / (self.wavelength * 1e3 * self.kilovolts)


def draw_microscope(rng: np.random.Generator) -> Microscope:
    return Microscope(
        kilovolts=float(rng.choice([300, 200], p=[0.75, 0.25])),
        defocus=rng.uniform(0.4e4, 3.0e4),
        astigmatism=rng.uniform(0, 400),
        axis=rng.uniform(0, math.pi),
        b_factor=rng.uniform(80, 350),
        focal_spread=rng.uniform(50, 120),
        divergence=rng.uniform(1e-5, 1e-4),
        absorption=rng.uniform(0.06, 0.11),
        dose=rng.uniform(8, 40),
        camera=rng.uniform(0.25, 0.9),
    )


def transfer(scope: Microscope, side: int, pixel_size: float) -> np.ndarray:
    """exp(i chi) E of the lens, so that protein comes out dark below focus: (side, side) complex64."""
    frequency = fft.fftfreq(side, pixel_size)
    ky, kx = np.meshgrid(frequency, frequency, indexing="ij")
    k2, wavelength, aberration = kx**2 + ky**2, scope.wavelength, 2.7e7
    defocus = scope.defocus + scope.astigmatism * np.cos(2 * (np.arctan2(ky, kx) - scope.axis))
    chi = math.pi * wavelength * defocus * k2 - math.pi / 2 * aberration * wavelength**3 * k2**2
    energy = np.exp(-((math.pi * wavelength * scope.focal_spread * k2) ** 2) / 2)
    slope = aberration * wavelength**2 * k2**1.5 - defocus * np.sqrt(k2)
    source = np.exp(-((math.pi * scope.divergence * slope) ** 2))
    return (np.exp(1j * chi - scope.b_factor * k2 / 4) * energy * source).astype(np.complex64)


def expose(
    potential: np.ndarray, loss: np.ndarray, scope: Microscope, lens: np.ndarray, pixel_size: float
) -> np.ndarray:
    """Electrons expected in each pixel behind a specimen of projected potential (V Å)."""
    phase = scope.interaction * potential
    wave = np.exp((1j - scope.absorption) * phase - loss).astype(np.complex64)
    wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * lens, overwrite_x=True)
    return scope.dose * pixel_size**2 * (wave.real**2 + wave.imag**2)


def record(electrons: np.ndarray, scope: Microscope, rng: np.random.Generator) -> np.ndarray:
    """Count electrons and blur the counts as the camera does; a few pixels are hot."""
    side = len(electrons)
    frequency = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None])
    blur = (scope.camera ** ((2 * frequency) ** 2)).astype(np.float32)
    counts = rng.poisson(electrons).astype(np.float32)
    image = fft.irfft2(fft.rfft2(counts) * blur, s=counts.shape)
    hot = rng.random(image.shape) < 3e-6
    return np.where(hot, image * 8, image).astype(np.float32)


def detectability(
    views: np.ndarray, empty: np.ndarray, scope: Microscope, lens: np.ndarray, pixel_size: float
) -> float:
    """Return d' of the matched filter, median over views, faster changes than half a cycle a diameter alone.

    The noise is the spectrum of the field without particles, averaged over rings.
    """
    side = len(empty)
    cycles = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None]) * side
    ring = np.minimum(cycles.astype(int), side // 2)
    power = np.abs(fft.rfft2(empty - empty.mean())) ** 2
    rings = np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    blur = scope.camera ** ((2 * cycles / side) ** 2)
    half_spectrum = np.full(power.shape, 2.0)
    half_spectrum[:, 0] = 1
    counted = half_spectrum * (cycles > side / (1.1 * views.shape[1])) * blur**2 / rings[ring]
    squared = []
    for view in views[:6]:
        alone = np.zeros((side, side), np.float32)
        paste(alone, view, side // 2, side // 2)
        signal = expose(alone, np.zeros_like(alone), scope, lens, pixel_size)
        squared.append((np.abs(fft.rfft2(signal - signal[0, 0])) ** 2 * counted).sum())
    return float(np.sqrt(np.median(squared)))


# ---- micrographs -----------------------------------------------------------------------------------------------------


def simulate(maps: list[VoxelMap], number: int, size: int, seed: int) -> Field:
    """Simulate one micrograph; it depends on the maps, the size, the seed and its number alone."""
    rng = np.random.default_rng([seed, number])
    # Small particles are the hard ones, and large ones the most of those whose maps are at hand.
    likely = np.array([one.diameter**-2.0 for one in maps])
    solid, other = (maps[i] for i in rng.choice(len(maps), 2, p=likely / likely.sum()))
    pixel_size = float(np.clip(solid.diameter / 48, 2.0, 4.0))
    scope, severity = draw_microscope(rng), float(rng.choice([0.0, 0.5, 1.5]))
    margin = int(0.6 * solid.diameter / pixel_size)
    side = int(fft.next_fast_len(size + 2 * margin))
    margin, diameter = (side - size) // 2, solid.diameter / pixel_size
    views = projections(solid, pixel_size, int(np.clip(2e7 / diameter**3, 10, 40)), rng)
    liked = rng.permutation(len(views))[: int(rng.choice([3, len(views)]))]
    covered = float(rng.choice([rng.uniform(0, 0.15), rng.uniform(0.15, 0.4), rng.uniform(0.4, 0.75)]))
    centres = place(side, diameter, int(covered * (side + 2 * diameter) ** 2 / (math.pi / 4 * diameter**2)), rng)

    particles = np.zeros((side, side), np.float32)
    for x, y in centres:
        view = np.rot90(views[rng.choice(liked)], int(rng.integers(4)))
        paste(particles, view * np.float32(rng.uniform(0.8, 1.1)), x, y)
    potential, cover, loss = dirt(side, solid.diameter, pixel_size, severity, rng)
    potential += soup(other, side, pixel_size, rng)
    potential += broken(solid, len(centres), side, pixel_size, rng)
    thickness = math.exp(rng.uniform(math.log(250), math.log(1200)))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    slab = thickness * (1 + rng.uniform(0, 0.6) * (x**2 + y**2) / 2 + rng.uniform(-0.2, 0.2) * x)
    # Water is far from a gas: over distances beyond a molecule it fluctuates that much less.
    water = scatterers(
        slab * WATER_DENSITY * pixel_size**2 * math.exp(rng.uniform(math.log(0.07), math.log(0.6))),
        WATER_POTENTIAL,
        pixel_size,
        rng,
    )
    potential += ndimage.gaussian_filter(water, rng.uniform(2, 5) / pixel_size)
    loss = loss + (slab / (2 * ICE_MEAN_FREE_PATH)).astype(np.float32)

    lens = transfer(scope, side, pixel_size)
    image = record(expose(potential + particles, loss, scope, lens, pixel_size), scope, rng)
    empty = record(expose(potential, loss, scope, lens, pixel_size), scope, rng)
    inner = (slice(margin, margin + size), slice(margin, margin + size))
    at = centres - margin
    inside = ((at >= 0) & (at < size)).all(1)
    near = ((at > -diameter / 4) & (at < size + diameter / 4)).all(1)
    hidden = cover[tuple(np.clip(centres, 0, side - 1).T[::-1])]
    source = Path(f"{number + 1:03d} {solid.name}")
    scene = Scene(
        Micrograph(np.ascontiguousarray(image[inner]), pixel_size, source),
        at[near].astype(float),
        (hidden | ~inside)[near],
        solid.diameter,
    )
    area = math.pi / 4 * diameter**2 * inside.sum() / size**2
    strength = detectability(views, empty, scope, lens, pixel_size)
    return Field(scene, solid.name, scope.defocus / 1e4, float(area), float(cover[inner].mean()), strength)


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


def write(out: Path, number: int, field: Field) -> None:
    """Write a micrograph and its labels as a data set of its own: each has another particle."""
    dataset, scene = out / f"second{number + 1:03d}", field.scene
    path = dataset / "micrographs" / f"{dataset.name}.mrc"
    wanted = scene.centres[~scene.ignored]
    pixel_size = scene.micrograph.pixel_size
    diameters = np.full(len(wanted), scene.diameter / pixel_size)
    write_labels(
        dataset, path, Particles(wanted, np.ones(len(wanted)), diameters, pixel_size), len(scene.micrograph.image)
    )
    write_micrograph(path, scene.micrograph.image, pixel_size)


# ---- table -----------------------------------------------------------------------------------------------------------

GROUPS: dict[str, Callable[[Field], bool]] = {
    "all": lambda field: True,
    "d' below 6": lambda field: field.detectability < 6,
    "d' 6 to 12": lambda field: 6 <= field.detectability < 12,
    "d' from 12": lambda field: field.detectability >= 12,
    "defocus below 1.2 µm": lambda field: field.defocus < 1.2,
    "defocus 1.2 to 2.2 µm": lambda field: 1.2 <= field.defocus < 2.2,
    "defocus from 2.2 µm": lambda field: field.defocus >= 2.2,
    "coverage below 0.15": lambda field: field.coverage < 0.15,
    "coverage 0.15 to 0.4": lambda field: 0.15 <= field.coverage < 0.4,
    "coverage from 0.4": lambda field: field.coverage >= 0.4,
    "dirt below 1 %": lambda field: field.junk < 0.01,
    "dirt 1 to 10 %": lambda field: 0.01 <= field.junk < 0.1,
    "dirt from 10 %": lambda field: field.junk >= 0.1,
    "invented particles": lambda field: field.name == "invented",
}


def rows(judged: list[tuple[Field, Judged]]) -> Iterator[str]:
    yield f"| {'micrographs':22} | {'n':>3} | {'particles':>9} | " + " | ".join(f"{c:>5}" for c in COLUMNS) + " |"
    yield "|---" * (3 + len(COLUMNS)) + "|"
    for label, belongs in GROUPS.items():
        group = [one for field, one in judged if belongs(field)]
        if group:
            numbers = " | ".join(f"{value:5.3f}" for value in summary(group).values())
            yield f"| {label:22} | {len(group):3d} | {sum(one.wanted for one in group):9d} | {numbers} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--structures", type=Path, help="folder of .pdb.gz and .mrc.gz files; none: invented maps alone"
    )
    parser.add_argument("--micrographs", type=int, default=24)
    parser.add_argument("--size", type=int, default=1536, help="side in px of 2 to 4 Å, 48 to a diameter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="also write the micrographs as a CryoPPP tree")
    args = parser.parse_args()
    print(describe_machine("torch", "numpy", "scipy"))
    maps = voxel_maps(args.structures, np.random.default_rng([args.seed]))
    print(f"{len(maps)} maps, {sum(one.name == 'invented' for one in maps)} of them invented; weights {args.weights}")
    picker = Picker(load_checkpoint(args.weights), resolve_device(args.device))
    judged = []
    for number in range(args.micrographs):
        field = simulate(maps, number, args.size, args.seed)
        if args.out:
            write(args.out, number, field)
        one = judge(picker, field.scene)
        judged.append((field, one))
        print(
            f"{field.scene.micrograph.source!s:20} D {field.scene.diameter:4.0f} Å  defocus {field.defocus:.2f} µm  "
            f"coverage {field.coverage:.2f}  dirt {field.junk:.2f}  d' {field.detectability:5.1f}  "
            f"{one.wanted:4d} particles  F1 {summary([one])['F1']:.3f}",
            flush=True,
        )
    print("\n" + "\n".join(rows(judged)))


if __name__ == "__main__":
    main()
