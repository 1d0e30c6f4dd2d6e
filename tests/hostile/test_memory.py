"""What is not in a file gets no memory, and what is in it not much more than it needs.

The rule: while it is read a file takes at most four times its own size, or four times the float32 image or the float64
table that it truly holds where that is larger, and 48 MiB for what the libraries keep. A child process reads the files
under a limit of its address space, and measures its peak of resident memory.
"""

import bz2
import gzip
import io
import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from hostile.odd_files import png, raw_tiff, with_words
from hostile.valid_files import MRC, cs_rows, mrc_bytes, npy_bytes, picture_bytes

MIB = 1 << 20
ALLOWANCE = 48 * MIB

CHILD = """
import json, resource, sys, time
from pathlib import Path
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.errors import CryotxError

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) * 1024

def attempt(path):
    try:
        if path.name.endswith((".star", ".box", ".csv", ".txt", ".cs", ".cbox", ".json")):
            return f"{sum(map(len, read_particles(path).values()))} particles"
        return f"{read_micrograph(path, 1.25).image.shape}"
    except CryotxError as error:
        return error.message

warm, *jobs = json.loads(sys.stdin.read())
for path in warm:
    attempt(Path(path))
for path, limit in jobs:
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + limit + (64 << 20), resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")  # begin a new peak
    before, started = memory("VmRSS"), time.process_time()
    said = attempt(Path(path))
    print(json.dumps([said, memory("VmHWM") - before, time.process_time() - started]))
"""


def read_in_a_child(folder, files, largest):
    """Write the files, read each in a child process; return what it said, its peak in bytes and its seconds."""
    (folder / "warm.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n")
    for name, content in {
        "warm.mrc": MRC,
        "warm.tif": raw_tiff(8, 8, [bytes(range(64))]),
        "warm.png": picture_bytes(".png"),
        **files,
    }.items():
        (folder / name).write_bytes(content)
    warm = [str(folder / f"warm.{suffix}") for suffix in ("mrc", "tif", "png", "star")]
    jobs = [(str(folder / name), 4 * largest[name] + ALLOWANCE) for name in files]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps([warm, *jobs]), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))


def claiming(side):
    return with_words(MRC, at_0=side, at_4=side)


ZEROS = bytes(16 * MIB)
TEN_MB_OF_GZ = gzip.compress(ZEROS, mtime=0) * 640  # members of 16 KB that unpack to 16 MiB each: 10 GiB
BZ2_OF_80_GB = bz2.compress(ZEROS) * 5_000

BOMBS = {
    "claims_more_than_a_camera.mrc.gz": (gzip.compress(claiming(50_000)) + TEN_MB_OF_GZ, "more than any camera", 0),
    "claims_ten_gigabytes.mrc.gz": (gzip.compress(claiming(30_000)) + TEN_MB_OF_GZ, "claim to unpack to", 0),
    "claims_16_megabytes.mrc.gz": (
        gzip.compress(claiming(2048)) + TEN_MB_OF_GZ,
        "unpacks to more than twice",
        16 * MIB,
    ),
    "claims_16_megabytes.mrc.bz2": (
        bz2.compress(claiming(2048)) + BZ2_OF_80_GB,
        "unpacks to more than twice",
        16 * MIB,
    ),
    "extended_header.mrc.gz": (
        gzip.compress(with_words(MRC, at_92=2**29)) + TEN_MB_OF_GZ,
        "unpacks to more than twice|constant|truncated",
        0,
    ),
    "claims_ten_gigabytes.mrc": (claiming(50_000), "truncated", 0),
    "strip.tif": (raw_tiff(64, 64, [zlib.compress(bytes(1 << 28))], compression=8), "more than its pixels", 0),
    "claims_4_gigabytes.tif": (raw_tiff(30_000, 30_000, [bytes(999)], 32, kind=3), "truncated or damaged", 0),
    "deflate_claims_4_gigabytes.tif": (raw_tiff(30_000, 30_000, [zlib.compress(b"a")], 32, 8, 3), "claim to unpack", 0),
    "claims_a_gigabyte.png": (png(30_000, 30_000, bytes(10_000)), "claim to unpack", 0),
    "claims_16_megabytes.png": (png(4000, 4000, bytes(10_000)), "decoded", 64 * MIB),
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux counts it")
def test_bombs_get_no_memory(tmp_path):
    files = {name: content for name, (content, _, _) in BOMBS.items()}
    largest = {name: max(len(content), held) for name, (content, _, held) in BOMBS.items()}

    results = read_in_a_child(tmp_path, files, largest)

    for name, (said, peak, seconds) in results.items():
        assert any(part in said for part in BOMBS[name][1].split("|")), f"{name}: {said}"
        assert peak <= 4 * largest[name] + ALLOWANCE, f"{name}: {peak / MIB:.0f} MiB"
        assert seconds < 60, name


def noise(height, width, kind):
    return (np.random.default_rng(1).normal(50, 9, (height, width))).astype(kind)


def compressed_tiff(image):
    return raw_tiff(image.shape[1], image.shape[0], [zlib.compress(image.tobytes(), 1)], compression=8)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux counts it")
def test_images_take_four_times_their_pixels_at_most(tmp_path):
    side = 3000
    files = {
        "f4.mrc": mrc_bytes(noise(side, side, "f4")),
        "big_endian.mrc": mrc_bytes(noise(side, side, "f4"), order=">", stamp=b"\x11\x11\0\0"),
        "i1.mrc": mrc_bytes(noise(side, side, "i1"), 0),
        "f4.mrc.gz": gzip.compress(mrc_bytes(noise(side, side, "f4")), 1),
        "u1.tif": compressed_tiff(noise(side, side, "u1")),
        "u1.png": png(side, side, b"".join(b"\0" + row.tobytes() for row in noise(side, side, "u1"))),
    }
    largest = {name: max(len(content), 4 * side**2) for name, content in files.items()}

    results = read_in_a_child(tmp_path, files, largest)

    for name, (said, peak, _) in results.items():
        assert said == f"({side}, {side})", f"{name}: {said}"
        assert peak <= 4 * largest[name] + ALLOWANCE, f"{name}: {peak / MIB:.0f} MiB"


def tables(rows):
    """Files of so many particles on a hundred micrographs."""
    x, y = np.random.default_rng(2).integers(0, 4096, (2, rows)).tolist()
    lines = {
        "a.star": (
            "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n",
            "mics/m{i}.mrc {x}.25 {y}.5\n",
        ),
        "a.txt": ("image_name\tx_coord\ty_coord\tscore\n", "m{i}\t{x}.25\t{y}.5\t0.5\n"),
        "a.box": ("", "{x}\t{y}\t180\t180\n"),
        "a.csv": ("x,y,score\n", "{x}.25,{y}.5,0.5\n"),
    }
    files = {}
    for name, (head, line) in lines.items():
        file = io.StringIO(head)
        file.seek(0, io.SEEK_END)
        file.writelines(line.format(i=i % 100, x=x[i], y=y[i]) for i in range(rows))
        files[name] = file.getvalue().encode()
    names = [f"J1/m{i % 100}.mrc".encode() for i in range(rows)]
    return files | {"a.cs": npy_bytes(cs_rows(names))}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux counts it")
@pytest.mark.slow
@pytest.mark.parametrize("rows", [50_000, 1_000_000])
def test_long_tables_take_four_times_their_size_at_most(tmp_path, rows):
    files = tables(rows)
    held = 8 * 4 * rows  # x, y, score and diameter in double precision
    largest = {name: max(len(content), held) for name, content in files.items()}

    results = read_in_a_child(tmp_path, files, largest)

    for name, (said, peak, seconds) in results.items():
        assert said == f"{rows} particles", f"{name}: {said}"
        assert peak <= 4 * largest[name] + ALLOWANCE, f"{name}: {peak / MIB:.0f} MiB"
        assert seconds < 120, name
