"""Macromolecules: invented ones obey their promises, and those in files are read as their formats say."""

import bz2
import gzip
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.spatial import cKDTree

from cryotx_cli.errors import DatasetError
from cryotx_cli.simulator.structures import Structure, procedural_structure, read_structures

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "structures"


def rng(seed=0):
    return np.random.default_rng(seed)


def ball(n, radius, seed=0):
    points = rng(seed).normal(size=(n, 3))
    return points * radius * rng(seed + 1).random((n, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)


# --- Structure -------------------------------------------------------------------------------------------------------


def test_beads_lie_around_the_centre_of_mass():
    structure = Structure.from_beads(np.array([[0, 0, 0], [12.0, 0, 0]]), np.array([3.0, 1.0]), "pair", rng())
    assert_allclose(structure.beads, [[-3, 0, 0], [9, 0, 0]])
    assert_array_equal(structure.weights, [3, 1])


def test_the_diameter_holds_all_but_a_few_beads_and_their_side_chains():
    structure = Structure.from_beads(ball(5000, 60.0) + 100, np.full(5000, 470.0), "ball", rng())
    assert structure.diameter == pytest.approx(2 * (60 * 0.995 ** (1 / 3) + 2), rel=0.003)


def test_thinning_keeps_the_total_weight():
    weights = rng(3).uniform(1, 9, 15000)
    structure = Structure.from_beads(ball(15000, 80.0), weights, "ball", rng())
    assert len(structure.beads) == len(structure.weights) == 6000
    assert structure.weights.sum() == pytest.approx(weights.sum(), rel=1e-5)
    assert structure.diameter == pytest.approx(2 * (80 * 0.995 ** (1 / 3) + 2), rel=0.01)


# --- procedural structures -------------------------------------------------------------------------------------------


def test_scaling_keeps_the_density():
    original = procedural_structure(np.random.default_rng(3))
    doubled = original.scaled(2.0)
    assert doubled.diameter == pytest.approx(2 * original.diameter)
    assert np.ptp(doubled.beads) == pytest.approx(2 * np.ptp(original.beads), rel=1e-5)
    assert doubled.weights.sum() == pytest.approx(8 * original.weights.sum(), rel=1e-5)


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_a_piece_is_a_compact_share_of_the_whole(share):
    original = Structure.from_beads(ball(4000, 50.0), np.full(4000, 470.0), "ball", rng())
    piece = original.piece(share, rng())
    assert len(piece.beads) == pytest.approx(share * len(original.beads), rel=0.02)
    assert np.ptp(piece.beads @ np.linalg.svd(piece.beads, full_matrices=False)[2][2]) < 0.6 * original.diameter
    assert_allclose(np.average(piece.beads, axis=0, weights=piece.weights), 0, atol=1e-2)


@pytest.fixture(scope="module")
def invented():
    return [procedural_structure(rng(seed)) for seed in range(60)]


def test_invented_structures_have_the_sizes_of_macromolecules(invented):
    for s in invented:
        assert s.beads.shape == (len(s.weights), 3)
        assert s.beads.dtype == s.weights.dtype == np.float32
        assert np.isfinite(s.beads).all()
        assert (s.weights > 0).all()
        assert 40 < s.diameter < 700
        # 470 V Å^3 a residue: from a small protein to a virus.
        assert 400 < s.weights.sum() / 470 < 1e5
    diameters = [s.diameter for s in invented]
    assert min(diameters) < 100
    assert max(diameters) > 300


def test_invented_structures_are_centred(invented):
    for s in invented:
        offset = np.linalg.norm(np.average(s.beads, axis=0, weights=s.weights))
        assert offset < 0.01 * s.diameter, s.name


def test_invented_structures_hang_together(invented):
    for s in invented:
        spacing = np.median(cKDTree(s.beads).query(s.beads[:500], 2)[0][:, 1])
        cells = np.floor((s.beads - s.beads.min(0)) / max(8.0, 3 * spacing)).astype(int)
        occupied = np.zeros(cells.max(0) + 1)
        np.add.at(occupied, tuple(cells.T), 1)
        parts, count = ndimage.label(occupied, np.ones((3, 3, 3)))
        assert ndimage.sum_labels(occupied, parts, range(1, count + 1)).max() > 0.98 * len(cells), s.name


def test_every_family_occurs(invented):
    assert {s.name for s in invented} == {"assembly", "shell", "barrel", "rod", "membrane_protein"}


def test_a_seed_names_one_structure():
    first, again, other = (procedural_structure(rng(seed)) for seed in (5, 5, 6))
    assert_array_equal(first.beads, again.beads)
    assert_array_equal(first.weights, again.weights)
    assert first.beads.shape != other.beads.shape or (first.beads != other.beads).any()


# --- structures in files ---------------------------------------------------------------------------------------------


ATOMS = [("CA", *xyz) for xyz in ball(30, 25.0).round(3)] + [("P", *xyz) for xyz in ball(10, 25.0, seed=7).round(3)]
WEIGHTS = np.array([470.0] * 30 + [1300.0] * 10)


def pdb_line(atom, x, y, z, record="ATOM", serial=1):
    return f"{record:<6}{serial:5d}  {atom:<3} ALA A{serial:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"


def pdb_text():
    lines = ["HEADER    TEST\n", "MODEL        1\n"]
    for i, (atom, x, y, z) in enumerate(ATOMS):
        lines += [pdb_line("N", x + 50, y, z, serial=i), pdb_line(atom, x, y, z, serial=i)]
    lines.append(pdb_line("CA", 500, 0, 0, record="HETATM"))  # a calcium ion
    lines += ["ENDMDL\n", "MODEL        2\n", pdb_line("CA", 900, 0, 0), "ENDMDL\n", "END\n"]
    return "".join(lines)


def mmcif_text(quote=""):
    columns = ["group_PDB", "id", "label_atom_id", "Cartn_z", "Cartn_x", "Cartn_y", "pdbx_PDB_model_num"]
    lines = ["data_TEST\n", "loop_\n", *(f"_atom_site.{name}\n" for name in columns)]
    for i, (atom, x, y, z) in enumerate(ATOMS):
        lines.append(f"ATOM {i} {quote}{atom}{quote} {z:.3f} {x:.3f} {y:.3f} 1\n")
        lines.append(f"ATOM {i} CB 0.0 {x + 50:.3f} 0.0 1\n")
    lines += ["HETATM 1 CA 0.0 500.0 0.0 1\n", "ATOM 1 CA 0.0 900.0 0.0 2\n", "#\n"]
    return "".join(lines)


def write_map(path, volume, voxel=2.0):
    with mrcfile.new(path, compression="gzip" if path.suffix == ".gz" else None) as mrc:
        mrc.set_data(volume.astype(np.float32))
        mrc.voxel_size = voxel
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.pdb", pdb_text().encode()),
        ("x.ent", pdb_text().encode()),
        ("x.PDB.gz", gzip.compress(pdb_text().encode(), mtime=0)),
        ("x.pdb.bz2", bz2.compress(pdb_text().encode())),
        ("x.cif", mmcif_text().encode()),
        ("x.cif", mmcif_text('"').encode()),
        ("x.mmcif.gz", gzip.compress(mmcif_text().encode(), mtime=0)),
    ],
)
def test_one_bead_for_each_c_alpha_and_phosphorus_of_the_first_model(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (structure,) = read_structures(tmp_path, rng())
    positions = np.array([xyz for _, *xyz in ATOMS])
    assert structure.name == name
    assert_allclose(structure.beads, positions - np.average(positions, axis=0, weights=WEIGHTS), atol=1e-4)
    assert_array_equal(structure.weights, WEIGHTS)


# ---- mmCIF and PDB as they come --------------------------------------------------------------------------------------

HELIX = [(2.3 * np.cos(1.745 * i), 2.3 * np.sin(1.745 * i), 1.5 * i) for i in range(24)]
COLUMNS = ("group_PDB", "type_symbol", "label_atom_id", "label_comp_id", "Cartn_x", "Cartn_y", "Cartn_z")


def mmcif_of(rows, columns=(*COLUMNS, "pdbx_PDB_model_num"), before="data_TEST\n"):
    return before + "loop_\n" + "".join(f"_atom_site.{name}\n" for name in columns) + "\n".join(rows) + "\n#\n"


def ca_rows(model="1", shift=0.0):
    return [f"ATOM C CA ALA {x + shift:.3f} {y:.3f} {z:.3f} {model}" for x, y, z in HELIX]


def read_text(folder, name, text):
    content = text.encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (structure,) = read_structures(folder, rng())
    return structure


def assert_is_helix(structure, extra=()):
    """The C-alpha atoms of the helix, and beads of nucleotides at other places."""
    positions = np.array([*HELIX, *extra]).round(3)
    weights = np.array([470.0] * len(HELIX) + [1300.0] * len(extra))
    assert_array_equal(structure.weights, weights)
    assert_allclose(structure.beads, positions - np.average(positions, axis=0, weights=weights), atol=2e-4)


@pytest.mark.parametrize("name", ["x.cif", "x.cif.gz"])
def test_only_polymer_atoms_named_ca_and_p_of_the_first_model_are_beads(tmp_path, name):
    rows = [
        "ATOM H HA ALA 700 0 0 1",
        "ATOM C CB ALA 700 0 0 1",
        *ca_rows(),
        "ATOM P P   A 10 20 30 1",
        "ATOM O OP1 A 700 0 0 1",
        "HETATM CA CA CA 700 0 0 1",  # a calcium ion
        "HETATM O O HOH 700 0 0 1",
        *ca_rows(model="2", shift=900),
    ]
    assert_is_helix(read_text(tmp_path, name, mmcif_of(rows)), [(10, 20, 30)])


def test_the_first_model_is_that_of_the_first_atom_whatever_its_number(tmp_path):
    text = mmcif_of([*ca_rows(model="7"), *ca_rows(model="8", shift=900)])
    assert_is_helix(read_text(tmp_path, "x.cif", text))


def test_a_table_without_models_is_one_model(tmp_path):
    text = mmcif_of([row.rsplit(" ", 1)[0] for row in ca_rows()], COLUMNS)
    assert_is_helix(read_text(tmp_path, "x.cif", text))


def test_values_in_quotes_and_over_several_lines_are_one_value(tmp_path):
    # Told apart by blanks alone, these rows have other columns than they seem to.
    quoted = [
        row.replace("ALA", ("'A L A'", "\"A 'L' A\"", "\n;A\nL A\n;\n")[i % 3]) for i, row in enumerate(ca_rows())
    ]
    quoted += ['ATOM C "C1\'" A 700 0 0 1', "ATOM P 'P' 'A T' 1 2 3 1"]
    assert_is_helix(read_text(tmp_path, "x.cif", mmcif_of(quoted)), [(1, 2, 3)])


def test_text_that_looks_like_atoms_is_none(tmp_path):
    described = "data_TEST\n_struct.title\n;A title\n_atom_site.group_PDB\nATOM C CA ALA 700 0 0 1\n;\n"
    assert_is_helix(read_text(tmp_path, "x.cif", mmcif_of(ca_rows(), before=described)))


def test_the_first_block_with_atoms_counts(tmp_path):
    text = "data_OTHER\n_cell.length_a 90\n" + mmcif_of(ca_rows()) + mmcif_of(ca_rows(shift=900), before="data_LATER\n")
    assert_is_helix(read_text(tmp_path, "x.cif", text))


def test_rows_may_go_over_lines_and_numbers_have_uncertainties(tmp_path):
    rows = [row.replace(" ALA ", "\nALA ").replace(" 1.500 1", " 1.500(12) 1") for row in ca_rows()]
    assert any("(12)" in row for row in rows)
    assert_is_helix(read_text(tmp_path, "x.cif", mmcif_of(rows)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({" 1.500 1": " ? 1"}, "CA atom 2 has no finite coordinates"),
        ({" 1.500 1": " 1.5x 1"}, "CA atom 2 has no finite coordinates"),
        ({" 1.500 1": " 1"}, "Wrong number of values"),
        ({"_atom_site.Cartn_y\n": "_atom_site.y\n"}, "no table _atom_site with"),
        ({"data_TEST\n": ""}, "data_"),
        ({" 1.500 1": " 9e12 1"}, "reaches to 9e+12 Å"),
        ({"_atom_site.Cartn_x\n": "_atom_site.Cartn_y\n"}, "duplicate tag"),
    ],
)
def test_an_mmcif_file_that_is_damaged_is_named_with_what_is_wrong(tmp_path, change, said):
    text = mmcif_of(ca_rows())
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(DatasetError, match=r"x\.cif: not a readable structure") as caught:
        read_text(tmp_path, "x.cif", text)
    assert said in caught.value.message


@pytest.mark.parametrize("name", ["x.pdb", "x.ent.gz"])
def test_pdb_columns_hold_alternatives_hydrogens_and_water(tmp_path, name):
    # The columns of the wwPDB format: name 13-16, alternative 17, residue 18-20, chain 22, number 23-26, x y z 31-54.
    def line(atom, x, y, z, alternative=" ", residue="ALA", record="ATOM", number=1):
        name = f" {atom:<3}" if len(atom) < 4 else atom
        return f"{record:<6}{1:5d} {name}{alternative}{residue:>3} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00\n"

    text = "".join(line("CA", *xyz, number=i) for i, xyz in enumerate(HELIX[:-1]))
    text += line("HA", 700, 0, 0) + line("HD11", 700, 0, 0) + line("O", 700, 0, 0, residue="HOH", record="HETATM")
    text += (
        line("CA", *HELIX[-1], alternative="A") + line("P", 10, 20, 30, "A", "DT") + line("P", 11, 20, 30, "B", "DT")
    )
    text += "ENDMDL\n" + line("CA", 900, 0, 0)
    assert_is_helix(read_text(tmp_path, name, text), [(10, 20, 30), (11, 20, 30)])


def test_a_pdb_coordinate_that_is_not_finite_is_refused(tmp_path):
    lines = [pdb_line("CA", *xyz) for xyz in HELIX]
    lines[3] = lines[3][:30] + "     nan" + lines[3][38:]
    with pytest.raises(DatasetError, match=r"x\.pdb: .*CA atom 4 has no finite coordinates"):
        read_text(tmp_path, "x.pdb", "".join(lines))


# ---- maps, and files that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map.mrc", "map.map", "map.mrc.gz"])
def test_a_map_becomes_beads_with_the_potential_of_protein(tmp_path, name):
    volume = rng().normal(0, 0.02, (48, 48, 48))
    volume[18:30, 12:36, 8:40] = 1.0  # z, y, x: 24 x 48 x 64 Å
    write_map(tmp_path / name, volume, voxel=2.0)
    (structure,) = read_structures(tmp_path, rng())
    assert_allclose(np.ptp(structure.beads, axis=0), [64, 48, 24], rtol=0.02)
    assert_allclose(structure.beads.mean(0), 0, atol=0.5)
    assert structure.weights.sum() == pytest.approx(3.5 * 24 * 48 * 64, rel=0.01)


def test_files_are_read_in_the_order_of_their_names_from_all_folders(tmp_path):
    for name in ("b/z.pdb", "a/y.cif", "a/c/x.pdb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(pdb_text() if name.endswith("pdb") else mmcif_text())
    (tmp_path / "a" / "readme.txt").write_text("no structure")
    assert [s.name for s in read_structures(tmp_path, rng())] == ["x.pdb", "y.cif", "z.pdb"]


def test_a_folder_without_structures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DatasetError, match="no structures") as caught:
        read_structures(tmp_path, rng())
    assert str(tmp_path) in caught.value.message
    assert ".pdb" in caught.value.hint


def corrupted(content):
    """Flip bytes in the middle of a compressed stream."""
    content = bytearray(content)
    content[200:260] = bytes(255 - b for b in content[200:260])
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("short.pdb", "".join(pdb_line("CA", i, 0, 0) for i in range(19)).encode()),
        ("empty.pdb", b""),
        ("garbled.pdb", pdb_line("CA", 1, 2, 3).replace("1.000", "one  ").encode() * 30),
        ("nowhere.cif", mmcif_text().replace("_atom_site.Cartn_x\n", "_atom_site.Cartn_x_esd\n").encode()),
        ("half.pdb.gz", gzip.compress(pdb_text().encode(), mtime=0)[:500]),
        ("spoiled.pdb.gz", corrupted(gzip.compress(pdb_text().encode(), mtime=0))),
        ("not.pdb.gz", b"this is no gzip stream"),
        ("not.pdb.bz2", b"this is no bzip2 stream"),
        ("not.mrc", b"this is no map"),
        ("half.mrc.gz", gzip.compress(bytes(5000), mtime=0)[:20]),
    ],
)
def test_a_file_that_is_no_structure_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=name):
        read_structures(tmp_path, rng())


@pytest.mark.parametrize("spoil", ["flat", "no voxel size", "one section"])
def test_a_map_without_density_or_scale_is_named(tmp_path, spoil):
    volume = np.full((20, 20, 20), -1.0) if spoil == "flat" else rng().normal(size=(20, 20, 20))
    volume = volume[0] if spoil == "one section" else volume
    write_map(tmp_path / "map.mrc", volume, 0.0 if spoil == "no voxel size" else 2.0)
    with pytest.raises(DatasetError, match=r"map\.mrc"):
        read_structures(tmp_path, rng())


def test_the_proteasome_has_its_known_size(tmp_path):
    # The archaeal 20S core particle is a barrel of 148 x 113 Å (Löwe et al. 1995).
    source = SHARED / "3j9i.pdb.gz"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (structure,) = read_structures(tmp_path, rng())
    _, axes = np.linalg.eigh(np.cov(structure.beads.T))
    extent = np.ptp(structure.beads @ axes, axis=0)
    assert extent[2] == pytest.approx(148, abs=10)
    assert extent[:2] == pytest.approx(113, abs=10)


@pytest.mark.parametrize(("word", "value"), [(0, 30_000_000), (23, 2**31 - 2)], ids=["columns", "extended header"])
def test_a_map_whose_header_tells_of_more_than_there_is_takes_no_memory(tmp_path, word, value):
    write_map(tmp_path / "map.mrc", rng().normal(size=(20, 20, 20)), 2.0)
    with (tmp_path / "map.mrc").open("r+b") as file:
        file.seek(4 * word)
        file.write(value.to_bytes(4, "little"))
    with pytest.raises(DatasetError, match=r"map\.mrc: not a readable structure: its header tells of \d+ bytes"):
        read_structures(tmp_path, rng())
