"""Contrast transfer as STAR files and exposures state it, against RELION and the simulator's own formula."""

import math
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.micrographs.ctf import Ctf
from cryotx_cli.micrographs.exposures import list_exposures
from cryotx_cli.micrographs.find import read_ctfs
from cryotx_cli.simulator.optics import Optics, contrast_transfer, frequencies

CTF = Ctf(21000.0, 17000.0, 30.0, 300.0, 2.7, 0.1, 10.0)
SIDE, PIXEL = 128, 2.0


def sine(ctf: Ctf) -> np.ndarray:
    axis = np.fft.fftfreq(SIDE, PIXEL)
    return ctf.sine(axis[:, None], axis[None])


@pytest.mark.skipif(not shutil.which("relion_ctf_toolbox"), reason="relion_ctf_toolbox is not installed")
def test_it_is_that_of_relion(tmp_path: Path) -> None:
    flags = f"--angpix {PIXEL} --box {SIDE} --defU 21000 --defV 17000 --defAng 30 --phase_shift 10"
    command = ["relion_ctf_toolbox", "--simulate", "ctf.mrc", *flags.split()]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    of_relion = np.fft.ifftshift(mrcfile.read(tmp_path / "ctf.mrc"))

    assert sine(CTF) == pytest.approx(of_relion, abs=1e-3)


@pytest.mark.parametrize("voltage", [100, 200, 300])
def test_it_changes_sign_where_that_of_the_simulator_does(voltage: int) -> None:
    optics = Optics(
        voltage=voltage, defocus=19000.0, astigmatism=2000.0, astigmatism_angle=math.radians(30),
        spherical_aberration=2.7e7, amplitude_contrast=0.1, phase_shift=math.radians(10), b_factor=0.0, dose=1.0,
        dose_weighted=False, mtf_decay=0.0, drift=0.0, drift_angle=0.0,
    )  # fmt: skip
    ky, kx = frequencies(SIDE, SIDE, PIXEL)
    expected = contrast_transfer(optics, ky, kx).numpy()
    found = replace(CTF, voltage=float(voltage)).sine(ky.numpy(), kx.numpy())

    far_from_zero = np.abs(found) > 0.05  # its wavelengths are rounded
    assert (np.sign(found) == np.sign(expected))[far_from_zero].all()


OPTICS = """
data_optics
loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
1 300 2.7 0.1
2 200 1.4 0.07
"""


def test_of_a_star_file(tmp_path: Path) -> None:
    (tmp_path / "m.star").write_text(
        OPTICS
        + """
data_micrographs
loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
a.mrc 1 21000 17000 30
b.mrc 2 12000 11000 -45
failed.mrc 1 nan nan nan
other.mrc 3 12000 11000 0
"""
    )

    assert read_ctfs(tmp_path / "m.star") == {
        "a.mrc": replace(CTF, phase_shift=0.0),
        "b.mrc": Ctf(12000.0, 11000.0, -45.0, 200.0, 1.4, 0.07),
    }


def test_of_a_star_file_of_an_old_version_with_one_defocus(tmp_path: Path) -> None:
    (tmp_path / "m.star").write_text(
        "data_\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
        "_rlnPhaseShift\na.mrc 15000 300 2.7 0.1 90\n"
    )

    assert read_ctfs(tmp_path / "m.star") == {"a.mrc": Ctf(15000.0, 15000.0, 0.0, 300.0, 2.7, 0.1, 90.0)}


def test_of_exposures(tmp_path: Path) -> None:
    fields = {
        "uid": ("<u8", [1, 2]),
        "micrograph_blob/path": ("S8", [b"a.mrc", b"b.mrc"]),
        "micrograph_blob/psize_A": ("<f4", [1.5, 1.5]),
        "ctf/df1_A": ("<f4", [21000, np.nan]),
        "ctf/df2_A": ("<f4", [17000, np.nan]),
        "ctf/df_angle_rad": ("<f4", [math.radians(30)] * 2),
        "ctf/amp_contrast": ("<f4", [0.1] * 2),
        "ctf/phase_shift_rad": ("<f4", [math.radians(10)] * 2),
        "mscope_params/accel_kv": ("<f4", [300] * 2),
        "mscope_params/cs_mm": ("<f4", [2.7] * 2),
    }
    rows = np.zeros(2, [(name, kind) for name, (kind, _) in fields.items()])
    for name, (_, values) in fields.items():
        rows[name] = values
    with (tmp_path / "e.cs").open("wb") as file:
        np.save(file, rows)

    first, second = list_exposures(tmp_path / "e.cs", lambda _: None)

    assert first.ctf is not None
    assert asdict(first.ctf) == pytest.approx(asdict(CTF), rel=1e-5)
    assert second.ctf is None


@pytest.mark.parametrize(
    "wrong", [{"voltage": 300_000}, {"amplitude_contrast": 7}, {"defocus_u": math.inf}, {"angle": "north"}]
)
def test_what_is_of_no_microscope_is_not_used(wrong: dict) -> None:
    assert Ctf.of(asdict(CTF)) == CTF
    assert Ctf.of({**asdict(CTF), **wrong}) is None
    assert Ctf.of({}) is None
    assert Ctf.of(None) is None
