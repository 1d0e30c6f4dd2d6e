"""Folders as RELION, CryoSPARC, EMAN2 and crYOLO leave them: picks are read, everything else is passed over."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.star import write_coordinate_index, write_micrograph_star, write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError

ONE, TWO = Particles([[10, 20]], [0.5], [np.nan], np.nan), Particles([[1, 2], [3, 4]], [1, 0.25], [np.nan] * 2, np.nan)
STATE = {
    "job.star": "data_job\n\n_rlnJobTypeLabel relion.autopick.log\n_rlnJobIsContinue 0\n",
    "job_pipeline.star": "data_pipeline_general\n\n_rlnPipeLineJobCounter 7\n",
    "default_pipeline.star": "data_pipeline_general\n\n_rlnPipeLineJobCounter 7\n",
    "summary.star": "data_\n\nloop_\n_rlnMicrographName #1\n_rlnGroupNrParticles #2\nMovies/m1.mrc 2\n",
    "note.txt": "++++ Executing new job\n",
    "run.out": "picking\n",
}


def counts(path):
    return {name: len(particles) for name, particles in read_particles(path).items()}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.fixture
def job(tmp_path):
    """An AutoPick job of RELION without what says which micrographs the files belong to."""
    folder = tmp_path / "AutoPick/job006"
    write(folder, STATE)
    write_micrograph_star(folder / "Movies/m1_autopick.star", ONE)
    write_micrograph_star(folder / "Movies/m2_autopick.star", TWO)
    return folder


# --- RELION ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("called", ["autopick.star", "manualpick.star"])
def test_the_list_of_a_job_is_preferred(job, called):
    names = ["MotionCorr/job002/Movies/m1.mrc", "MotionCorr/job002/Movies/m2.mrc"]
    files = [f"AutoPick/job006/Movies/m{i}_autopick.star" for i in (1, 2)]
    write_coordinate_index(job / called, zip(names, files, strict=True))
    write_micrograph_star(job / "Movies/old_autopick.star", ONE)  # which RELION would not read either
    assert counts(job) == counts(job / called) == counts(job.parent) == dict(zip(names, (1, 2), strict=True))
    copied = job.rename(job.parents[1] / "copied")  # without the project around it
    assert counts(copied) == dict(zip(names, (1, 2), strict=True))


def test_what_lies_beside_the_folder_of_a_list_is_read_as_well(job):
    write_coordinate_index(job / "autopick.star", [("Movies/m1.mrc", "AutoPick/job006/Movies/m1_autopick.star")])
    write_micrograph_star(job.parent / "job007/Movies/m3_autopick.star", TWO)
    assert counts(job.parent) == {"Movies/m1.mrc": 1, "job007/Movies/m3": 2}


def test_two_lists_of_one_micrograph_are_refused(job):
    for called, number in (("autopick", 1), ("manualpick", 2)):
        files = [("Movies/m1.mrc", f"Movies/m{number}_autopick.star")]
        write_coordinate_index(job / f"{called}.star", files)
    with pytest.raises(ParticleFileError, match=r"manualpick\.star and .*autopick\.star both hold"):
        read_particles(job)


def test_a_job_without_a_list(job):
    assert counts(job) == {"Movies/m1": 1, "Movies/m2": 2}
    assert counts(job / "Movies") == {"m1": 1, "m2": 2}


@pytest.mark.parametrize("content", ["CtfFind/job003/micrographs_ctf.star\n", "", "nowhere.star \n", "x" * 3000])
def test_what_relion_3_has_for_a_list(job, content):
    (job / "coords_suffix_autopick.star").write_text(content)
    write_micrograph_star(job / "Movies/m2_manualpick.star", ONE)
    assert counts(job) == counts(job / "coords_suffix_autopick.star") == {"Movies/m1": 1, "Movies/m2": 2}
    with pytest.raises(ParticleFileError, match=r"stands for files that end in _topazpicks\.star below"):
        read_particles((job / "coords_suffix_autopick.star").rename(job / "coords_suffix_topazpicks.star"))


def test_what_relion_3_has_for_a_list_gives_the_names_of_its_micrographs(job):
    (job / "coords_suffix_autopick.star").write_text("CtfFind/job003/micrographs_ctf.star\n")
    names = [f"MotionCorr/job002/Movies/m{i}.mrc" for i in (2, 1, 3)]
    listed = "data_micrographs\n\nloop_\n_rlnMicrographName #1\n" + "\n".join(names) + "\n"
    write(job.parents[1] / "CtfFind/job003", {"micrographs_ctf.star": listed})
    (job / "Movies/m3_autopick.star").mkdir()
    for path in (job, job / "coords_suffix_autopick.star"):
        assert counts(path) == {names[0]: 2, names[1]: 1}


def test_an_extraction_job_holds_the_same_coordinates_twice(tmp_path):
    names = ["MotionCorr/job002/Movies/m1.mrc", "MotionCorr/job002/Movies/m2.mrc"]
    write_particles_star(tmp_path / "particles.star", zip(names, (ONE, TWO), strict=True))
    for name, particles in zip(names, (ONE, TWO), strict=True):
        write_particles_star(tmp_path / f"Movies/{Path(name).stem}_extract.star", [(name, particles)])
    assert counts(tmp_path) == dict(zip(names, (1, 2), strict=True))
    write_particles_star(tmp_path / "Movies/m2_extract.star", [(names[1], ONE)])
    with pytest.raises(ParticleFileError, match=r"particles\.star and .*m2_extract\.star both hold"):
        read_particles(tmp_path)


@pytest.mark.parametrize("empty", ["", "\n", "\ndata_\n\n", "# version 30001\n\ndata_\n\nloop_\n"])
def test_an_empty_file_means_no_picks(job, empty):
    (job / "Movies/m1_autopick.star").write_text(empty)
    (job / "job.star").write_text("")
    assert counts(job) == {"Movies/m1": 0, "Movies/m2": 2}
    assert counts(job / "Movies/m1_autopick.star") == {"m1": 0}
    names = ["Movies/m1.mrc", "Movies/m2.mrc"]
    files = [f"AutoPick/job006/Movies/m{i}_autopick.star" for i in (1, 2)]
    write_coordinate_index(job / "autopick.star", zip(names, files, strict=True))
    assert counts(job / "autopick.star") == {"Movies/m1.mrc": 0, "Movies/m2.mrc": 2}


@pytest.mark.parametrize("name", ["m1.cbox", "m1.box", "m1.csv"])
def test_an_empty_file_of_other_programs_means_no_picks(tmp_path, name):
    (tmp_path / name).touch()
    assert counts(tmp_path) == counts(tmp_path / name) == {"m1": 0}


def test_a_kind_of_files_without_a_single_pick_gives_way_to_another(tmp_path):
    write(tmp_path, {"m1.star": "", "m1.box": "1 2 10 10\n"})
    assert counts(tmp_path) == {"m1": 1}


# --- other programs --------------------------------------------------------------------------------------------------


def cs_rows(count, **fields):
    rows = np.zeros(count, [("uid", "<u8"), *((name.replace("__", "/"), kind) for name, (kind, _) in fields.items())])
    for name, (_, values) in fields.items():
        rows[name.replace("__", "/")] = values
    return rows


def write_cs_job(folder):
    folder.mkdir()
    locations = {
        "location__micrograph_path": ("S20", [b"J1/m1.mrc", b"J1/m2.mrc", b"J1/m2.mrc"]),
        "location__micrograph_shape": (("<u4", (2,)), (100, 200)),
        "location__center_x_frac": ("<f4", [0.5, 0.25, 0.75]),
        "location__center_y_frac": ("<f4", 0.5),
    }
    micrographs = cs_rows(2, micrograph_blob__path=("S20", [b"J1/m1.mrc", b"J1/m2.mrc"]))
    for name in ("picked_micrographs.cs", "J12_passthrough_micrographs.cs"):
        np.save(folder / name, micrographs)
        (folder / f"{name}.npy").rename(folder / name)
    for name in ("picked_particles.cs", "J12_passthrough_particles.cs"):
        np.save(folder / name, cs_rows(3, **locations))
        (folder / f"{name}.npy").rename(folder / name)


def test_a_job_of_cryosparc(tmp_path):
    write_cs_job(tmp_path / "J12")
    assert counts(tmp_path / "J12") == {"J1/m1.mrc": 1, "J1/m2.mrc": 2}
    (tmp_path / "J12/picked_particles.cs").unlink()
    assert counts(tmp_path / "J12") == {"J1/m1.mrc": 1, "J1/m2.mrc": 2}
    (tmp_path / "J12/J12_passthrough_particles.cs").unlink()
    with pytest.raises(ParticleFileError, match=r"no coordinate files in it; passed over .*_micrographs\.cs"):
        read_particles(tmp_path / "J12")


def test_an_eman_project(tmp_path):
    write(
        tmp_path,
        {
            "project.json": json.dumps({"global.apix": 1.2}),
            "info/m1_info.json": json.dumps({"boxes": [[1, 2, "manual"]], "quality": 5}),
            "info/m2_info.json": json.dumps({"quality": 5}),  # nobody has boxed it
        },
    )
    assert counts(tmp_path) == {"info/m1": 1}


CBOX = "data_cryolo\n\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n_Confidence\n300 400 40 40 0.66\n"


@pytest.mark.parametrize("given", ["boxfiles", "."])
def test_the_boxes_of_cryolo_are_those_with_scores(tmp_path, given):
    write_micrograph_star(tmp_path / "boxfiles/STAR/m1.star", ONE)
    write(
        tmp_path / "boxfiles",
        {
            "EMAN/m1.box": "300 400 40 40\n",
            "EMAN_HELIX_SEGMENTED/m1.box": "300 400 40 40\n",
            "CBOX/m1.cbox": CBOX,
            "DISTR/confidence_distribution.txt": "Metric, Value\nMEAN, 0.6\n",
        },
    )
    ((name, particles),) = read_particles(tmp_path / given).items()
    assert Path(name).name == "m1"
    assert "CBOX" not in name
    assert particles.scores.tolist() == [0.66]


def test_boxes_of_cryolo_outside_its_own_folder_outdo_nothing(tmp_path):
    write_micrograph_star(tmp_path / "STAR/m1.star", ONE)
    write(tmp_path, {"boxes/m1.cbox": CBOX, "CBOX/notes.out": "", "CBOX/m9.box": "1 2 10 10\n"})
    assert counts(tmp_path) == {"STAR/m1": 1}


def test_folders_stay_in_the_names_but_for_that_of_cryolo(tmp_path):
    write(tmp_path, {"boxes/m1.cbox": CBOX, "a/CBOX/m2.cbox": CBOX})
    assert counts(tmp_path) == {"boxes/m1": 1, "a/m2": 1}
    write(tmp_path / "other", {"CBOX/m1.box": "1 2 10 10\n"})
    assert counts(tmp_path / "other") == {"CBOX/m1": 1}


@pytest.mark.parametrize("name", ["m1.box", "m1.star", "job.star"])
def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path, name):
    write_micrograph_star(tmp_path / "m2.star", ONE)
    (tmp_path / name).symlink_to(tmp_path / "gone")
    for path in [tmp_path / name] + [tmp_path] * (name != "m1.box"):
        with pytest.raises(ParticleFileError, match=name):
            read_particles(path)


def test_foreign_files_are_passed_over_and_nothing_else_is(tmp_path):
    write(tmp_path, {"README.txt": "These are boxes.\n", "sizes.csv": "micrograph,size\nm1,5\n"})
    with pytest.raises(ParticleFileError, match=r"no coordinate files in it; passed over .*sizes\.csv: no columns"):
        read_particles(tmp_path)
    write(tmp_path, {"m1.csv": "x,y\n1,2\n"})
    assert counts(tmp_path) == {"m1": 1}
    write(tmp_path, {"m2.csv": "x,y\n1,two\n"})
    with pytest.raises(ParticleFileError, match=r"m2\.csv: line 2 has 'two'"):
        read_particles(tmp_path)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    box = "1 2 10 10\n"
    hidden = [".ipynb_checkpoints/m1-checkpoint.box", ".m1.box", "._m1.box", "a/.Trash/b/m1.box"]
    write(tmp_path, dict.fromkeys(["m1.box", *hidden], box))
    assert counts(tmp_path) == {"m1": 1}
    visible = tmp_path / ".hidden/boxes"  # that the folder itself lies in a hidden one says nothing
    write(visible, {"m1.box": box})
    assert counts(visible) == {"m1": 1}


def test_links_in_a_circle_end(tmp_path):
    write(tmp_path / "boxes", {"m1.box": "1 2 10 10\n"})
    (tmp_path / "boxes/again").symlink_to(tmp_path / "boxes")
    (tmp_path / "boxes/other").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "elsewhere", {"m2.box": "1 2 10 10\n"})
    assert counts(tmp_path / "boxes") == {"m1": 1, "other/m2": 1}
