"""Adapting from the page, with the networks as they are: what somebody takes out is not picked any more."""

import json
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.agreement import match
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.workflows.pick import start_pick
from reviewed_page import Page
from reviewed_run import Served

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEED, MICROGRAPHS, DONE, STEPS = 5, 4, 3, 50


@pytest.fixture
def two_proteins(tmp_path, monkeypatch):
    """A run of micrographs of two proteins, both picked; the places of the one that is wanted, by name of the file."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import class_scenes

    diameter, pixel_size, fields = class_scenes.two_proteins(SEED, MICROGRAPHS)
    wanted = {}
    for number, (image, centres, is_first) in enumerate(fields):
        path = tmp_path / "mics" / f"m{number}.mrc"
        write_micrograph(path, image, pixel_size)
        wanted[path.name] = centres[is_first]
    config = PickConfig(diameter=diameter, images=False, report=False, no_classes=True, device="cpu")
    list(start_pick([tmp_path / "mics"], tmp_path / "p.star", config))
    return tmp_path / "p", wanted


def post(page, changes):
    assert len(page.answer("/api/changes", json.dumps(changes))) == len(changes)


def picks_of(page, position):
    view = page.answer(f"/api/micrographs/{position}")
    places = np.array([one[:2] for one in view["candidates"][: view["chosen"]]]).reshape(-1, 2)
    return view["name"], places, view["diameter"] / 2


def test_what_was_taken_out_of_some_micrographs_is_not_picked_on_the_others_after_adapting(chromium, two_proteins):
    run, wanted = two_proteins
    served = Served(run)
    try:
        page = Page(chromium, served.url())
        before = [int(one) for one in page.tab.locator("#micrographs .count").all_inner_texts()]
        for position in range(DONE):
            name, places, radius = picks_of(page, position)
            wrong = places[match(places, wanted[Path(name).name], radius) < 0].tolist()
            assert wrong
            removed = {"id": uuid4().hex, "kind": "remove", "micrograph": name, "points": wrong}
            post(page, [removed, {"id": uuid4().hex, "kind": "mark", "micrograph": name, "mark": "done"}])
        page.until(lambda: page.text("#progress") == f"{MICROGRAPHS} micrographs, {DONE} done")
        name, places, radius = picks_of(page, DONE)  # of the micrograph that nobody corrects
        unwanted = int((match(places, wanted[Path(name).name], radius) < 0).sum())
        page.key("a")
        page.until(lambda: page.tab.is_enabled("#adapt-start"))
        page.tab.fill("#adapt-steps", str(STEPS))
        page.tab.click("#adapt-start")
        page.until(lambda: page.text("#adapt-phase").startswith("Learning"))
        page.until(
            lambda: page.text("#adapt-phase") in ("Done", "Stopped") or "failed" in page.text("#adapt-phase"), 1500
        )
        assert page.text("#adapt-phase") == "Done", page.text("#adapt")
        gone = int(page.tab.locator("#adapt-difference tr").nth(1).locator("td").nth(4).inner_text())
        assert gone > 30
        page.tab.click("#adapt-show")
        page.until(lambda: page.text("#title") == "p_adapted1.star")
        page.until(lambda: page.text("#progress") == f"{MICROGRAPHS} micrographs, {DONE} done")
        counts = [int(one) for one in page.tab.locator("#micrographs .count").all_inner_texts()]
        name, places, radius = picks_of(page, DONE)
        partners = match(places, wanted[Path(name).name], radius)
        assert counts[DONE] == len(places) < 0.75 * before[DONE]
        assert (partners < 0).sum() < 0.5 * unwanted
        assert (partners >= 0).sum() > 0.7 * len(wanted[Path(name).name])
        assert not page.problems
        page.context.close()
        assert served.interrupt() == 0
    finally:
        served.kill()
