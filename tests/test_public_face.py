"""`import cryotx_cli as cryotx`: every exported name, and that importing it is cheap."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cryotx_cli as cryotx

HEAVY = {"torch", "torchvision", "numpy", "scipy", "pandas", "cv2", "mrcfile", "typer", "pydantic"}


def loaded_after(program: str) -> set[str]:
    code = f"{program}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(finished.stdout))


@pytest.mark.parametrize("name", cryotx.__all__)
def test_an_exported_name_is_there_listed_and_explained(name: str) -> None:
    found = getattr(cryotx, name)

    assert name in dir(cryotx)
    if name == "__version__":
        assert found[0].isdigit()
        return
    assert found.__name__ == name
    assert found.__module__.startswith("cryotx_cli.")
    assert found is getattr(sys.modules[found.__module__], name)
    sections = ["Parameters", "Returns", "Raises"] if name[0].islower() else ["Parameters"]
    assert not [section for section in sections if f"{section}\n---" not in inspect.getdoc(found)]


def test_importing_loads_nothing_heavy_and_a_name_only_what_it_needs() -> None:
    assert not HEAVY & loaded_after("import cryotx_cli as cryotx; dir(cryotx); cryotx.__version__")
    used = "from cryotx_cli import Particles, read_particles, read_micrograph, pick, evaluate"
    assert not {"torch", "typer"} & loaded_after(used)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pikc'"):
        _ = cryotx.pikc  # type: ignore[attr-defined]


@pytest.mark.slow
def test_type_checkers_know_every_name_and_what_pick_returns(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is a development dependency")
    program = tmp_path / "notebook.py"
    program.write_text(
        "import numpy as np\n"
        "import cryotx_cli as cryotx\n"
        f"names = [{', '.join(f'cryotx.{name}' for name in cryotx.__all__)}]\n"
        "image = np.zeros((4, 4), np.float32)\n"
        "reveal_type(cryotx.pick(image, pixel_size=1.5, diameter=120))\n"
        "reveal_type(cryotx.pick([image], pixel_size=1.5))\n"
        "reveal_type(cryotx.pick(['a.mrc', 'b.mrc']))\n"
        "reveal_type(cryotx.pick('a.mrc', threshold='auto'))\n"
        "cryotx.pick(image, diametre=120)\n"
        "cryotx.nonsense\n"
    )

    told, _, _ = api.run([str(program), "--strict", "--cache-dir", str(tmp_path / "cache"), "--follow-imports=silent"])

    particles = "cryotx_cli.coordinates.particles.Particles"
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in told.splitlines() if "Revealed" in line]
    assert revealed == [
        particles,
        f"list[{particles}]",
        f"list[{particles}]",
        f"{particles} | dict[str, {particles}]",
    ]
    assert re.findall(r"notebook.py:(\d+): error: .*(diametre|nonsense)", told) == [
        ("9", "diametre"),
        ("10", "nonsense"),
    ]


def test_what_is_read_evaluated_and_tabulated_fits_together(tmp_path: Path) -> None:
    points = np.array([[100.0, 100.0], [200.0, 200.0], [300.0, 300.0]])
    truth = cryotx.Particles(points, np.ones(3), np.full(3, 40.0), 2.0)
    picks = cryotx.Particles(points[:2] + 3, np.array([0.9, 0.8]), np.full(2, 40.0), 2.0)
    (tmp_path / "m1.csv").write_text("x,y,diameter\n" + "".join(f"{x:g},{y:g},40\n" for x, y in points))

    from_file = cryotx.read_particles(tmp_path / "m1.csv")
    results = [
        cryotx.evaluate(picks, truth),
        cryotx.evaluate({"m1": picks}, from_file),
        cryotx.evaluate(picks, tmp_path / "m1.csv"),
        cryotx.evaluate({"mics/m1.mrc": picks}, truth),
        cryotx.evaluate(picks, {"a": truth}, diameter=80, pixel_size=2.0),
    ]

    for result in results:
        assert (result.counts.picks, result.counts.truth, result.counts.matched) == (2, 3, 2)
        assert result.counts.f1 == pytest.approx(0.8)
    assert picks.to_structured()["x"].tolist() == [103.0, 203.0]


def test_particles_without_a_name_are_not_compared_with_those_of_several_micrographs() -> None:
    some = cryotx.Particles(np.ones((1, 2)), np.ones(1), np.full(1, 40.0), 2.0)

    with pytest.raises(cryotx.CryotxError, match="the picks are those of one micrograph, and the other side has 2: a"):
        cryotx.evaluate(some, {"a": some, "b": some})
    with pytest.raises(cryotx.CryotxError, match="the truth are those of one micrograph"):
        cryotx.evaluate({"a": some, "b": some}, some)
    with pytest.raises(cryotx.CryotxError, match="no micrograph is on both sides: picks names a, truth names b"):
        cryotx.evaluate({"a": some}, {"b": some})
    with pytest.raises(cryotx.CryotxError, match="nothing to compare with"):
        cryotx.evaluate({"a": some}, {})
