"""What a command loads before it works, in a process of its own, and what it does to load it quickly."""

import gc
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.loading import pass_over_plugins, uncollected

NOT_NEEDED = {
    "dask", "distributed", "jinja2", "matplotlib", "numpy.f2py", "pandas", "prometheus_client", "rich", "scipy",
    "starfile", "starlette", "sympy", "tensorboard", "tifffile", "torch._dynamo", "torch._inductor", "torch.onnx",
    "torchvision", "uvicorn",
}  # fmt: skip

PUT_OFF = {"torch._decomp", "torch._prims", "torch._refs"} if version("torch").startswith("2.14.") else set()
"""What PyTorch itself would load, of versions with which leaving it out has been tried."""

UNTIL_THE_NETWORK = """
import json, os, sys
from importlib.abc import MetaPathFinder


class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cryotx_cli.detector.center.picker":
            from torch.nn.modules.module import register_module_forward_pre_hook

            register_module_forward_pre_hook(end)


def end(*_):
    os.write(1, json.dumps(sorted(sys.modules)).encode())
    os._exit(0)


sys.meta_path.insert(0, Finder())
from cryotx_cli.__main__ import main

main()
"""


def test_picking_loads_nothing_before_its_network_runs_that_it_does_not_need_for_it(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "m.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).standard_normal((256, 256), np.float32))
        mrc.voxel_size = 2.0
    words = ["pick", "m.mrc", "--out", "p.star", "--diameter", "100", "--device", "cpu"]

    finished = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_NETWORK, *words], cwd=tmp_path, capture_output=True, check=True
    )

    loaded = set(json.loads(finished.stdout))
    assert {"torch", "numpy", "cv2"} <= loaded
    assert not (NOT_NEEDED | PUT_OFF) & loaded


UNTIL_THE_END = """
import sys
from cryotx_cli.__main__ import main

try:
    main()
finally:
    print([name for name in sys.modules if name.partition(".")[0] == "scipy"])
"""


def write_discs(path: Path, side: int, count: int) -> None:
    """A micrograph of 2 Å per pixel with discs of 80 Å."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((side, side)).astype(np.float32)
    rows, columns = np.mgrid[:side, :side]
    for y, x in rng.uniform(40, side - 40, (count, 2)):
        image -= 1.5 * (np.hypot(rows - y, columns - x) < 20)
    with mrcfile.new(path) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 2.0


def test_a_run_without_pictures_and_report_loads_no_scipy_at_all(tmp_path: Path) -> None:
    write_discs(tmp_path / "m.mrc", 600, 25)
    words = ["pick", "m.mrc", "--out", "p.star", "--diameter", "80", "--device", "cpu", "--no-images", "--no-report"]

    finished = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_END, *words], cwd=tmp_path, capture_output=True, check=True, text=True
    )

    assert finished.stdout.splitlines()[-1] == "[]"
    picks = len((tmp_path / "p" / "box" / "m.box").read_text().splitlines())
    assert picks >= 10  # so many have been compared with noise, thinned out and checked


@pytest.mark.slow
def test_a_process_that_only_picks_averages_its_picks_without_what_compilers_need(tmp_path: Path) -> None:
    write_discs(tmp_path / "m.mrc", 1200, 120)
    command = [sys.executable, "-m", "cryotx_cli", "pick", "m.mrc", "--out", "p.star", "--diameter", "80"]

    finished = subprocess.run([*command, "--device", "cpu"], cwd=tmp_path, capture_output=True, check=True, text=True)

    assert "No class averages" not in finished.stderr
    assert (tmp_path / "p" / "classes" / "classes.mrcs").exists()


def test_plugins_are_not_looked_for_unless_the_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYDANTIC_DISABLE_PLUGINS", raising=False)
    monkeypatch.setenv("TORCH_DEVICE_BACKEND_AUTOLOAD", "1")

    pass_over_plugins()

    assert os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__"
    assert os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] == "1"


def test_garbage_is_looked_for_again_after_an_import_that_fails() -> None:
    def fails() -> None:
        with uncollected():
            assert not gc.isenabled()
            raise ImportError("no such library")

    with pytest.raises(ImportError):
        fails()
    assert gc.isenabled()


def test_who_has_turned_the_collector_off_finds_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def printed_by(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not PUT_OFF, reason="nothing is put off with this version of PyTorch")
@pytest.mark.parametrize(
    "look", ["torch._meta_registrations.meta_mm", pytest.param("import torch._dynamo", marks=pytest.mark.slow)]
)
def test_what_compilers_need_is_there_when_it_is_needed(look: str) -> None:
    assert printed_by(
        "from cryotx_cli.loading import put_off_compilers; put_off_compilers(); import sys, torch\n"
        "before = 'torch._decomp' in sys.modules\n"
        f"{look}\n"
        "print(before, 'torch._decomp' in sys.modules, type(torch._meta_registrations).__name__)\n"
        "print(*torch.empty(3, 4, device='meta').mm(torch.empty(4, 5, device='meta')).shape)"
    ) == ["False", "True", "module", "3", "5"]


def test_pytorch_is_loaded_whole_where_it_has_not_been_tried_otherwise() -> None:
    assert printed_by(
        "from cryotx_cli import loading; loading._TRIED = 'another'; loading.put_off_compilers(); import sys, torch\n"
        "print('torch._decomp' in sys.modules)"
    ) == ["True"]
