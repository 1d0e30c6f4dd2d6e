"""Make a COCO dataset folder of a CryoPPP tree: split, write the images in parallel, carry on after a stop."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock

from cryotx_cli.config import MakeCocoConfig, save_config
from cryotx_cli.datasets.coco import (
    SPLITS,
    CocoImage,
    annotation_file,
    image_file,
    labelled_image,
    png_pixels,
    require_coco,
    write_coco,
)
from cryotx_cli.datasets.cryoppp import CryopppMicrograph, find_labelled_micrographs
from cryotx_cli.errors import CryotxError, DatasetError, MicrographError
from cryotx_cli.events import Tell
from cryotx_cli.files.json_lines import append_json_line, read_json_lines, write_json_lines
from cryotx_cli.micrographs.denoise import denoise as denoise_image
from cryotx_cli.micrographs.micrograph import read_micrograph, write_micrograph
from cryotx_cli.processor import granted_cores
from cryotx_cli.runs.folder import fingerprint
from cryotx_cli.version import __version__

_LEDGER = "images.jsonl"
_MOST_WORKERS = 8  # denoising takes up to 700 MiB for an image of 4096 x 4096


@dataclass(frozen=True)
class MakeCocoResult:
    """What became of one labelled micrograph.

    Parameters
    ----------
    image
        Its name in the annotations.
    split
        ``train``, ``val`` or ``test``.
    error
        Why it was skipped, with the name of the file; None where its image is complete.
    resumed
        True where an earlier run had written the image.
    """

    image: str
    split: str
    error: str | None
    resumed: bool


@dataclass(frozen=True)
class DatasetCounts:
    """What one data set gave.

    Parameters
    ----------
    dataset
        EMPIAR id.
    micrographs, labelled
        Found, and found with a file of labels; the others are left out.
    skipped
        Labelled but left out because of an error.
    particles, outside
        In the annotations; and labels left out because their centres lie outside their micrographs.
    train, val, test
        Images of each split.
    """

    dataset: str
    micrographs: int
    labelled: int
    skipped: int
    particles: int
    outside: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class _ImageRow:
    """One line of ``images.jsonl``: a complete image, where it lies, its size, and what it was made of."""

    image: str
    split: str
    key: str
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class _Job:
    micrograph: CryopppMicrograph
    image: str
    split: str


@dataclass(frozen=True, eq=False)
class _Made:
    image: CocoImage
    outside: int
    resumed: bool


def make_coco(
    data: str | Path,
    out: str | Path,
    config: MakeCocoConfig,
    denoise: bool = True,
    tell: Tell = lambda _: None,
) -> MakeCocoRun:
    """Prepare to make a dataset folder; see `cryotx_cli.datasets.coco` for its layout.

    Parameters
    ----------
    data
        CryoPPP tree: the folder of one data set or of several.
    out
        The dataset's folder: a new or empty one, or one of an earlier run, which is continued.
    config
        Settings.
    denoise
        Denoise the images as the CryoTransformer paper does, to 8 bits. Otherwise their pixels are kept as
        `cryotx_cli.datasets.coco.png_pixels` describes.
    tell
        Takes which files of the tree are left out.

    Raises
    ------
    DatasetError
        `data` is not a CryoPPP tree, none of it is labelled, or `out` holds other files.
    MicrographError
        A data set holds no micrographs.
    """
    out = Path(out)
    micrographs = find_labelled_micrographs(data, tell)
    if not any(micrograph.labels for micrograph in micrographs):
        raise DatasetError(
            f"{data}: none of {len(micrographs)} micrographs has labels",
            "Labels are ground_truth/particle_coordinates/<stem>.csv: the same stem as the micrograph's.",
        )
    if out.exists() and not (out.is_dir() and ((out / _LEDGER).exists() or not any(out.iterdir()))):
        raise DatasetError(f"{out}: holds other files", "Give a new folder to --out.")
    return MakeCocoRun(micrographs, out, config, denoise)


def assign_splits(names: Sequence[str], shares: Sequence[float], seed: str) -> dict[str, str]:
    """Divide names at random into ``train``, ``val`` and ``test``.

    A checksum of seed and name decides the order in which they fill the splits, whatever the platform and the order of
    `names`; a name that is added later moves few of the others. Shares that do not come out even are rounded to the
    largest remainders, the earlier split first.
    """

    def drawn(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()

    wanted = [round(share * len(names), 6) for share in shares]
    counts = [math.floor(number) for number in wanted]
    remainders = sorted(range(len(counts)), key=lambda i: counts[i] - wanted[i])
    for i in remainders[: len(names) - sum(counts)]:
        counts[i] += 1
    places = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return dict(zip(sorted(names, key=drawn), places, strict=True))


class MakeCocoRun:
    """One run: iterate over it once to do the work.

    Iterating yields a `MakeCocoResult` for each labelled micrograph as soon as its image is complete, in any order.
    The annotations are written at the end of the loop; those of an earlier run are removed at its beginning, so that
    annotations never stand beside images that they do not describe. Micrographs with an error are reported and the
    others go on; if none is left, or if pycocotools reads something else than was written, the loop raises
    `DatasetError` at its end.
    """

    def __init__(
        self, micrographs: Sequence[CryopppMicrograph], out: Path, config: MakeCocoConfig, denoise: bool
    ) -> None:
        self._micrographs, self._out, self._config, self._denoise = micrographs, out, config, denoise
        self._jobs = _jobs(micrographs, config)
        self._made: dict[str, _Made] = {}
        self._ledger_lock = Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[MakeCocoResult]:
        rows = self._start()
        first_error = None
        workers = self._config.workers or min(granted_cores().count, _MOST_WORKERS)
        # Threads suffice: reading, OpenCV, SciPy and NumPy release the interpreter while they work on an image.
        with ThreadPoolExecutor(workers) as pool:
            futures = {pool.submit(self._make, job, rows.get(job.image)): job for job in self._jobs}
            try:
                for future in as_completed(futures):
                    job = futures[future]
                    try:
                        made = future.result()
                    except CryotxError as error:
                        first_error = first_error or error
                        yield MakeCocoResult(job.image, job.split, error.message, resumed=False)
                    else:
                        self._made[job.image] = made
                        yield MakeCocoResult(job.image, job.split, None, made.resumed)
            finally:
                pool.shutdown(cancel_futures=True)
        if first_error and not self._made:
            raise DatasetError(
                f"none of {len(self)} micrographs could be used; the first: {first_error.message}", first_error.hint
            )
        for split in SPLITS:
            images = [self._made[j.image].image for j in self._jobs if j.split == split and j.image in self._made]
            write_coco(self._out, split, images, self._denoise)
            require_coco(self._out, split, images)

    @property
    def counts(self) -> list[DatasetCounts]:
        """Counts of each data set, in the order of the tree; complete when the loop has ended."""
        return [self._counts(name) for name in dict.fromkeys(micrograph.dataset for micrograph in self._micrographs)]

    def _counts(self, dataset: str) -> DatasetCounts:
        jobs = [job for job in self._jobs if job.micrograph.dataset == dataset]
        made = [self._made[job.image] for job in jobs if job.image in self._made]
        splits = Counter(job.split for job in jobs if job.image in self._made)
        return DatasetCounts(
            dataset,
            micrographs=sum(micrograph.dataset == dataset for micrograph in self._micrographs),
            labelled=len(jobs),
            skipped=len(jobs) - len(made),
            particles=sum(len(one.image.particles) for one in made),
            outside=sum(one.outside for one in made),
            **{split: splits[split] for split in SPLITS},
        )

    def _start(self) -> dict[str, _ImageRow]:
        """Prepare the folder, move complete images to their splits, and return their rows of the ledger."""
        ledger = self._out / _LEDGER
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            for split in SPLITS:
                annotation_file(self._out, split).unlink(missing_ok=True)
            earlier = _read_ledger(ledger)
            kept = [self._kept(job, earlier[job.image]) for job in self._jobs if job.image in earlier]
            rows = {row.image: row for row in kept if row}
            write_json_lines(ledger, map(asdict, rows.values()))
            save_config(self._config, self._out / "config.toml")
        except OSError as error:
            raise DatasetError(
                f"{self._out}: cannot write there ({error.strerror})", "Choose another folder with --out."
            ) from error
        return rows

    def _kept(self, job: _Job, row: _ImageRow) -> _ImageRow | None:
        """Return the row of an image that is still good, moved to its split; None if it has to be made again."""
        path = image_file(self._out, row.split, row.image)
        if row.key != self._key(job) or not path.is_file():
            return None
        if row.split != job.split:
            target = image_file(self._out, job.split, job.image)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        return replace(row, split=job.split)

    def _key(self, job: _Job) -> str | None:
        """Fingerprint of everything that decides the pixels of an image; None if the micrograph is not there."""
        with suppress(OSError):
            file = job.micrograph.file.path.stat()
            return fingerprint(__version__, self._denoise, file.st_size, file.st_mtime_ns)
        return None

    def _make(self, job: _Job, row: _ImageRow | None) -> _Made:
        """Read the labels, and make the image unless `row` says that it is there."""
        labels = job.micrograph.read_particles()
        made = row or self._make_image(job)
        source = job.micrograph.file.path.name
        image = labelled_image(job.image, (made.height, made.width), labels, job.micrograph.dataset, source)
        return _Made(image, outside=len(labels) - len(image.particles), resumed=row is not None)

    def _make_image(self, job: _Job) -> _ImageRow:
        key = self._key(job)  # before reading: a file that changes meanwhile is made again by the next run
        # NaN, "unknown", where the header does not know the pixel size: no pixel depends on it.
        micrograph = read_micrograph(job.micrograph.file, math.nan)
        try:
            pixels = denoise_image(micrograph.image) if self._denoise else png_pixels(micrograph.image)
        except MicrographError as error:
            raise MicrographError(f"{micrograph.source}: {error.message}", error.hint) from error
        write_micrograph(image_file(self._out, job.split, job.image), pixels)
        row = _ImageRow(job.image, job.split, key or "", *pixels.shape)
        with self._ledger_lock:
            append_json_line(self._out / _LEDGER, asdict(row))
        return row


def _jobs(micrographs: Sequence[CryopppMicrograph], config: MakeCocoConfig) -> list[_Job]:
    labelled: dict[str, dict[str, CryopppMicrograph]] = {}
    for micrograph in micrographs:
        if micrograph.labels is None:
            continue
        of_dataset = labelled.setdefault(micrograph.dataset, {})
        if micrograph.stem in of_dataset:
            raise DatasetError(
                f"{micrograph.file.path} and {of_dataset[micrograph.stem].file.path} have the same data set and name",
                "Leave one of the two folders out.",
            )
        of_dataset[micrograph.stem] = micrograph
    jobs = []
    for dataset, by_stem in labelled.items():
        splits = assign_splits(list(by_stem), config.split, f"{config.seed}/{dataset}")
        jobs += [_Job(one, f"{dataset}/{stem}.png", splits[stem]) for stem, one in by_stem.items()]
    return jobs


def _read_ledger(path: Path) -> dict[str, _ImageRow]:
    """Return the last row of each image."""
    rows = {}
    for line in read_json_lines(path):
        with suppress(TypeError):  # a row of another version
            row = _ImageRow(**line)
            rows[row.image] = row
    return rows
