"""CryoSPARC's files as jobs leave them: places in the passthrough file, groups, rows without micrograph or score."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.cryosparc import read_exposures
from cryotx_cli.errors import ParticleFileError

SHAPE = (("<u4", (2,)), (100, 200))  # height, width
LOCATION = {
    "location/micrograph_path": ("S8", [b"J1/a.mrc", b"J1/a.mrc", b"J1/b.mrc"]),
    "location/micrograph_shape": SHAPE,
    "location/center_x_frac": ("<f4", [0.5, 0.25, 0.75]),
    "location/center_y_frac": ("<f4", [0.1, 0.2, 0.3]),
}
CENTRES = {"J1/a.mrc": [[100, 10], [50, 20]], "J1/b.mrc": [[150, 30]]}
UIDS = [2**63 + 5, 7, 2**40]


def save(path, uids, fields):
    kinds = [(name, kind) if isinstance(kind, str) else (name, *kind) for name, (kind, _) in fields.items()]
    rows = np.zeros(len(uids), [("uid", "<u8"), *kinds])
    rows["uid"] = uids
    for name, (_, values) in fields.items():
        rows[name] = values
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        np.save(file, rows)
    return path


def rows_of(fields, rows):
    """Return some of the rows, in another order."""
    return {n: (kind, v if n.endswith("shape") else np.array(v)[rows]) for n, (kind, v) in fields.items()}


def read(path):
    told = []
    found = read_particles(path, told.append)
    return found, [event.text.removeprefix(f"{path}: ") for event in told]


def centres(found):
    return {name: here.centres.round(3).tolist() for name, here in found.items()}


def test_places_of_selected_particles_are_in_the_passthrough_file(tmp_path):
    """CryoSPARC's rows have another order there, and others are among them."""
    classes = {"alignments2D/class": ("<u4", [3, 1])}
    selected = save(tmp_path / "J9_particles_selected.cs", UIDS[:2], classes)
    save(tmp_path / "J9_passthrough_micrographs.cs", UIDS, {"micrograph_blob/path": ("S8", b"x")})
    (tmp_path / "J9_passthrough_broken.cs").write_bytes(b"no table")
    save(tmp_path / "J9_passthrough_particles_excluded.cs", [1, 2, 3], LOCATION)
    save(tmp_path / "J9_passthrough_particles_selected.cs", UIDS[::-1], rows_of(LOCATION, [2, 1, 0]))
    found, told = read(selected)
    assert centres(found) == {"J1/a.mrc": [[100, 10], [50, 20]]}
    assert told == ["location fields of its particle locations are those in J9_passthrough_particles_selected.cs"]


@pytest.mark.parametrize("names", [(), ("J9_passthrough_particles.cs",)])
def test_particles_without_places_are_refused_with_the_way_out(tmp_path, names):
    selected = save(tmp_path / "particles_selected.cs", UIDS, {"alignments2D/class": ("<u4", 1)})
    for name in names:
        save(tmp_path / name, UIDS[:2], rows_of(LOCATION, [0, 1]))
    with pytest.raises(ParticleFileError, match="no location/micrograph_path") as caught:
        read_particles(selected)
    assert "passthrough" in caught.value.hint


def test_the_file_of_a_group_names_both(tmp_path):
    save(tmp_path / "selected.cs", UIDS, {"alignments2D/class": ("<u4", 1)})
    save(tmp_path / "J9_places.cs", UIDS, LOCATION)
    group = tmp_path / "particles.csg"
    group.write_text(
        "created: 2026-01-01\ngroup:\n  type: particle\nresults:\n"
        "  alignments2D:\n    metafile: '>selected.cs'\n    num_items: 3\n"
        "  location:\n    metafile: '>J9_places.cs'\n    num_items: 3\n"
    )
    assert centres(read(group)[0]) == CENTRES
    (tmp_path / "J9_places.cs").unlink()
    with pytest.raises(ParticleFileError, match=r"names J9_places\.cs, which is not beside it"):
        read_particles(group)


def test_a_folder_with_both_files_has_the_particles_once(tmp_path):
    save(tmp_path / "J9/J9_particles_selected.cs", UIDS[::-1], {"alignments2D/class": ("<u4", 1)})
    save(tmp_path / "J9/J9_passthrough_particles_selected.cs", UIDS, LOCATION)
    found = read(tmp_path / "J9")[0]
    assert {name: sorted(here) for name, here in centres(found).items()} == {n: sorted(c) for n, c in CENTRES.items()}


def test_exposures_are_found_in_the_passthrough_file(tmp_path):
    ctf = save(tmp_path / "exposures_ctf.cs", [11, 12], {"ctf/df1_A": ("<f4", 1)})
    with pytest.raises(ParticleFileError, match="no micrograph_blob/path") as caught:
        read_exposures(ctf)
    assert "passthrough" in caught.value.hint
    blob = {"path": ("S8", [b"J1/a.mrc", b"J1/b.mrc"]), "shape": SHAPE, "psize_A": ("<f4", 1.5)}
    save(tmp_path / "J2_passthrough_exposures.cs", [11, 12], {f"micrograph_blob/{n}": f for n, f in blob.items()})
    told = []
    found = read_exposures(ctf, told.append)
    assert [(one.uid, one.path, one.height, one.width) for one in found.values()] == [
        (11, "J1/a.mrc", 100, 200),
        (12, "J1/b.mrc", 100, 200),
    ]
    assert "J2_passthrough_exposures.cs" in told[0].text
    with pytest.raises(ParticleFileError, match="particle locations"):
        read_particles(ctf)


def test_rows_without_a_micrograph_are_left_out_and_counted(tmp_path):
    unassigned = LOCATION | {
        "location/micrograph_path": ("S8", [b"J1/a.mrc", b"", b"J1/b.mrc"]),
        "location/micrograph_shape": (("<u4", (2,)), [(100, 200), (0, 0), (100, 200)]),
        "location/center_x_frac": ("<f4", [0.5, np.nan, 0.75]),
    }
    found, told = read(save(tmp_path / "p.cs", UIDS, unassigned))
    assert centres(found) == {"J1/a.mrc": [[100, 10]], "J1/b.mrc": [[150, 30]]}
    assert told == ["1 of 3 particles lie on no micrograph: left out"]
    nowhere = save(tmp_path / "q.cs", UIDS, unassigned | {"location/micrograph_path": ("S8", b"")})
    with pytest.raises(ParticleFileError, match="none of its 3 particles lies on a micrograph"):
        read_particles(nowhere)


def test_scores_and_pixel_sizes_that_are_none(tmp_path):
    more = {
        "pick_stats/ncc_score": ("<f4", [0.5, np.nan, np.inf]),
        "location/micrograph_psize_A": ("<f4", [np.nan, 1, 1.5]),
        "alignments3D/shift": (("<f4", (2,)), [(0, 0), (1.5, 0), (0, 0)]),
    }
    found, told = read(save(tmp_path / "p.cs", UIDS, LOCATION | more))
    assert [here.scores.tolist() for here in found.values()] == [[0.5, 1], [1]]
    assert_allclose([here.pixel_size for here in found.values()], [np.nan, 1.5])
    assert [here.shape for here in found.values()] == [(100, 200)] * 2
    assert len(told) == 2
    assert [bool(re.search("score|shifts .* were not applied", line)) for line in told] == [True, True]


def test_a_micrograph_of_two_shapes_is_refused(tmp_path):
    two = LOCATION | {"location/micrograph_shape": (("<u4", (2,)), [(100, 200), (50, 100), (100, 200)])}
    with pytest.raises(ParticleFileError, match=r"micrograph_shape of J1/a\.mrc is not the same"):
        read_particles(save(Path(tmp_path) / "p.cs", UIDS, two))
