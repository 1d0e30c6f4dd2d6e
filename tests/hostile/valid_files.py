"""A small valid file for every reader, and what its bytes become when they are damaged with a plan."""

import bz2
import gzip
import io
import json
import random
import re
import struct

import cv2
import numpy as np
import tifffile

IMAGE = np.random.default_rng(7).normal(120, 30, (24, 32)).clip(0, 255).astype(np.uint8)
CENTRES = [[812.25, 1440.5], [10.0, 20.75], [3000.125, 4000.0]]


FLOATS = IMAGE.astype("f4")


def volume_bytes():
    """Return a ball of density in a cube of 24 px."""
    x = np.arange(24) - 11.5
    density = np.exp(-(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2) / 40).astype("f4")
    content = bytearray(mrc_bytes(density[0]) + density[1:].tobytes())
    struct.pack_into("<i", content, 8, 24)
    struct.pack_into("<i", content, 36, 24)
    struct.pack_into("<f", content, 48, 24 * 1.5)
    struct.pack_into("<i", content, 88, 1)
    return bytes(content)


def mrc_bytes(image=FLOATS, mode=2, pixel_size=1.5, order="<", stamp=b"DD\0\0", magic=b"MAP ", extended=b""):
    """Words of https://www.ccpem.ac.uk/mrc-format/mrc2014, written here without mrcfile."""
    height, width = image.shape
    header = bytearray(1024)
    struct.pack_into(f"{order}10i", header, 0, width, height, 1, mode, 0, 0, 0, width, height, 1)
    struct.pack_into(f"{order}3f", header, 40, width * pixel_size, height * pixel_size, pixel_size)
    struct.pack_into(f"{order}i", header, 92, len(extended))
    header[208:212], header[212:216] = magic, stamp
    return bytes(header) + extended + image.astype(image.dtype.newbyteorder(order)).tobytes()


def tiff_bytes(image=IMAGE, **settings):
    file = io.BytesIO()
    tifffile.imwrite(file, image, **settings)
    return file.getvalue()


def lzw_tiff_bytes(image=IMAGE):
    return cv2.imencode(".tif", image, [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()


def picture_bytes(suffix, image=IMAGE):
    return cv2.imencode(suffix, image)[1].tobytes()


STAR = """
# version 50001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
opticsGroup1 1 0.885000


data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnAutopickFigureOfMerit #4
_rlnOpticsGroup #5
mics/a.mrc 812.25 1440.5 0.5 1
"mics/b c.mrc" 10 20.75 0.25 1
mics/a.mrc 3000.125 4000 1 1
"""

MICROGRAPHS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnMicrographPixelSize #2
1 0.885

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
mics/a.mrc 1 12000.5
"mics/b c.mrc" 1 nan
"""

CBOX = """
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_EstWidth #6
_EstHeight #7
_Confidence #8
712.25 1340.5 <NA> 200 200 180 180 0.5
-90 -79.25 <NA> 200 200 <NA> <NA> 0.25
2900.125 3900 <NA> 200 200 190 170 <NA>
"""

REFINED = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnImagePixelSize #3
_rlnMicrographPixelSize #4
opticsGroup1 1 1.770000 0.885000

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnImageName #3
_rlnMicrographName #4
_rlnOpticsGroup #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnHelicalTubeID #8
812.25 1440.5 000001@a.mrcs mics/a.mrc 1 1.5 -2.25 1
10 20.75 000002@a.mrcs mics/b.mrc 1 0 0.5 2
"""
SUFFIX = "mics/micrographs.star\n"  # which RELION 3 writes into coords_suffix_autopick.star
GROUP = """created: 2026-01-01 00:00:00
group:
  name: particles
  title: Particles
results:
  location:
    metafile: '>listed.cs'
    num_items: 3
    type: particle.location
type: particle
"""
MANY = "micrograph,x,y,score\na.mrc,812.25,1440.5,0.5\nb.mrc,10,20.75,0.25\n"

_ATOMS = [(1.5 * i, (i * 7) % 11 + 0.25, (i * 3) % 5 - 0.5) for i in range(24)]
PDB = "".join(
    f"ATOM  {i:5d}  CA  ALA A{i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           C\n"
    for i, (x, y, z) in enumerate(_ATOMS, 1)
)
CIF = "data_x\nloop_\n" + "".join(
    f"_atom_site.{name}\n"
    for name in ("group_PDB", "label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z", "pdbx_PDB_model_num")
)
CIF += "".join(f"ATOM CA {x:.3f} {y:.3f} {z:.3f} 1\n" for x, y, z in _ATOMS)
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [3, 4, 20, 20], "area": 400, "iscrowd": 0}],
        "categories": [{"id": 0, "name": "particle"}],
    }
)

INDEX = "data_coordinate_files\n\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\nmics/a.mrc a_autopick.star\n"
BOX = "712\t1340\t200\t200\n-90\t-79\t200\t200\t0.25\n2900.5 3900 200 200\n"
CSV = "X-Coordinate,Y-Coordinate,Diameter,Score\n812.25,1440.5,180,0.5\n10,20.75,,0.25\n3000.125,4000,190,\n"
TOPAZ = "image_name\tx_coord\ty_coord\tscore\na\t812.25\t1440.5\t-0.5\nb c\t10\t20.75\t2\na\t3000.125\t4000\t1e-3\n"
EMAN = json.dumps({"apix": 0.885, "boxes": [[*centre, "manual", 0.5] for centre in CENTRES]})
CANDIDATES = (
    '# {"key": "abc", "height": 4096, "width": 4096, "pixel_size": 0.885}\nx_px,y_px,score,diameter_px\n'
    "812.25,1440.5,0.5,180.0\n10.0,20.75,0.25,181.5\n"
)


def cs_rows(paths=(b"J1/a.mrc", b"J1/b c.mrc", b"J1/a.mrc")):
    rows = np.zeros(
        len(paths),
        [
            ("uid", "<u8"),
            ("location/micrograph_uid", "<u8"),
            ("location/micrograph_path", "S24"),
            ("location/micrograph_shape", "<u4", (2,)),
            ("location/micrograph_psize_A", "<f4"),
            ("location/center_x_frac", "<f4"),
            ("location/center_y_frac", "<f4"),
            ("pick_stats/ncc_score", "<f4"),
            ("micrograph_blob/path", "S24"),
            ("micrograph_blob/shape", "<u4", (2,)),
            ("micrograph_blob/psize_A", "<f4"),
        ],
    )
    rows["uid"] = np.arange(1, len(paths) + 1)
    rows["location/micrograph_path"], rows["micrograph_blob/path"] = paths, paths
    rows["location/micrograph_shape"], rows["micrograph_blob/shape"] = (4000, 8000), (4000, 8000)
    rows["location/micrograph_psize_A"], rows["micrograph_blob/psize_A"] = 0.885, 0.885
    rows["location/center_x_frac"], rows["location/center_y_frac"] = 0.25, 0.5
    return rows


def npy_bytes(array, **settings):
    file = io.BytesIO()
    np.save(file, array, **settings)
    return file.getvalue()


MRC = mrc_bytes(extended=b"x" * 96)
IMAGES = {
    "a.mrc": MRC,
    "big_endian.mrc": mrc_bytes(IMAGE.astype("i2"), 1, order=">", stamp=b"\x11\x11\0\0"),
    "a.mrc.gz": gzip.compress(MRC, mtime=0),
    "a.mrc.bz2": bz2.compress(MRC),
    "a.tif": tiff_bytes(),
    "deflate.tif": tiff_bytes(IMAGE.astype("f4"), compression="zlib", tile=(16, 16)),
    "lzw.tif": lzw_tiff_bytes(),
    "big.tif": tiff_bytes(IMAGE.astype("u2"), bigtiff=True, byteorder=">"),
    "a.png": picture_bytes(".png"),
    "a.jpg": picture_bytes(".jpg"),
}
TABLES = {
    "a.star": STAR.encode(),
    "autopick.star": INDEX.encode(),
    "a.cbox": CBOX.encode(),
    "a.box": BOX.encode(),
    "a.csv": CSV.encode(),
    "a.txt": TOPAZ.encode(),
    "a_info.json": EMAN.encode(),
    "a.cs": npy_bytes(cs_rows()),
    "refined.star": REFINED.encode(),
    "coords_suffix_autopick.star": SUFFIX.encode(),
    "particles.csg": GROUP.encode(),
    "many.csv": MANY.encode(),
}
LISTS = {
    "micrographs.star": MICROGRAPHS.encode(),
    "exposures.cs": npy_bytes(cs_rows()),
    "candidates.csv": CANDIDATES.encode(),
}
SIZES = {"sets.csv": b"set,diameter,pixel_size\n10017,191.2,1.77\n10028,,5.36\n"}
STRUCTURES = {"a.pdb": PDB.encode(), "a.cif": CIF.encode(), "map.mrc": volume_bytes()}
DATASETS = {"annotations.json": COCO.encode()}

_NUMBERS = [b"0", b"-1", b"1e308", b"-1e308", b"nan", b"inf", b"2147483648", b"9" * 40, b"1e-320", b"0x10", b"", b"1,5"]
_WORDS = [0, 1, 2, 3, 255, 2**15, 2**16, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1]
_TOKENS = [b'"', b"'", b"#", b"\t", b"\r", b"\n\n", b"\0", b"\xff", b"\xe2\x80\xa8", b"data_x\n", b"loop_\n", b"_x 1\n"]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return a file with one to four flips, cuts, copies, words or numbers that were not in it."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        chance.choice([_flipped, _cut, _copied, _with_word, _with_number, _with_token, _removed])(changed, chance)
    return bytes(changed)


def _flipped(content, chance):
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _cut(content, chance):
    if chance.random() < 0.3:
        del content[chance.randint(0, len(content)) :]


def _copied(content, chance):
    start = chance.randint(0, len(content))
    piece = content[start : start + chance.choice([1, 4, 12, 60, 400])]
    content[start:start] = piece * chance.choice([1, 1, 2, 20])


def _removed(content, chance):
    start = chance.randint(0, len(content))
    del content[start : start + chance.choice([1, 4, 12, 60])]


def _with_word(content, chance):
    order, size = chance.choice("<>"), chance.choice("HIQ")
    width = struct.calcsize(size)
    if len(content) >= width:
        # Headers are where it matters, and mostly they come first.
        start = chance.randint(0, min(len(content), chance.choice([64, 256, len(content)])) - 1)
        start = min(start, len(content) - width)
        struct.pack_into(order + size, content, start, chance.choice(_WORDS) & (256**width - 1))


def _with_number(content, chance):
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(content[:4096])))
    if numbers:
        start, end = chance.choice(numbers).span()
        content[start:end] = chance.choice(_NUMBERS)


def _with_token(content, chance):
    start = chance.randint(0, len(content))
    content[start:start] = chance.choice(_TOKENS)
