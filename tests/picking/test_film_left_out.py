"""A run on a simulated micrograph with film: ledger, pictures and report tell where it is, also without the network."""

import json
from dataclasses import replace

import cv2
import mrcfile
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import procedural_structure
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from report_in_browser import Page

SIDE = 512


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with two micrographs, of which ``film.mrc`` shows film; the truth; and the diameter."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "mics").mkdir()
    for name, film in (("clean", 0.0), ("film", 1.0)):
        rng = np.random.default_rng(3)
        structure = procedural_structure(rng)
        conditions = replace(draw_conditions(rng, 0.0), film=film, film_edge=(0.1, 0.2), junk=0.0)
        pixel_size = structure.diameter / 24
        simulated = simulate_micrograph(structure, structure, conditions, (SIDE, SIDE), pixel_size, rng)
        with mrcfile.new(folder / f"mics/{name}.mrc") as mrc:
            mrc.set_data(simulated.image)
            mrc.voxel_size = pixel_size
    assert simulated.film.mean() > 0.05
    return folder, simulated.film > 0.5, structure.diameter


def pick(folder, out, diameter, decoys=0, **more):
    config = PickConfig(diameter=diameter, device="cpu", decoys=decoys, **more)
    run = start_pick([folder / "mics"], folder / out, config)
    return list(run), run.summary


def rows(folder, out):
    lines = (folder / out / "ledger.jsonl").read_text().splitlines()
    return {row["stem"]: row for row in map(json.loads, lines)}


def inside(outlines):
    y, x = np.mgrid[:SIDE, :SIDE]
    points = np.column_stack([x.ravel(), y.ravel()])
    return (sum(Polygon(one).contains_points(points).astype(int) for one in outlines) % 2 == 1).reshape(SIDE, SIDE)


def orange(png):
    picture = cv2.imread(str(png)).astype(int)[-SIDE:]
    return (picture[:, :, 2] > 180) & (picture[:, :, 2] - picture[:, :, 0] > 120) & (picture[:, :, 1] < 160)


def test_film_is_told_of_everywhere_and_again_without_the_network(work):
    folder, truth, diameter = work
    _, summary = pick(folder, "p.star", diameter)
    assert (summary.film, summary.micrographs) == (1, 2)
    ledger = rows(folder, "p")
    assert (ledger["clean"]["film"], ledger["clean"]["film_share"]) == ([], 0)
    seen = inside(ledger["film"]["film"])
    assert (seen & truth).sum() > 0.75 * (seen | truth).sum()
    assert ledger["film"]["film_share"] == pytest.approx(seen.mean(), abs=0.01)

    drawn = orange(folder / "p/png/film.png")
    assert drawn.sum() > 200
    near = cv2.dilate(seen.astype(np.uint8), np.ones((7, 7))) > 0
    assert drawn[near].sum() > 0.97 * drawn.sum()
    assert orange(folder / "p/png/clean.png").sum() == 0

    page = Page(folder / "p/report.html")
    film = [entry["film"] for entry in page.data["gallery"]]
    assert film == [ledger["clean"]["film"], ledger["film"]["film"]]
    assert page.data["film"] == [0, pytest.approx(seen.mean(), abs=0.01)]
    assert "Film or ice left out 1 of 2 micrographs" in " ".join(page.text.split())

    done = threshold(folder / "p.star", ThresholdConfig(threshold=0.9))
    assert [picture.error for picture in done] == [None, None]
    assert done.film == 1
    assert rows(folder, "p")["film"]["film"] == ledger["film"]["film"]
    assert [entry["film"] for entry in Page(folder / "p/report.html").data["gallery"]] == film
    again = orange(folder / "p/png/film.png")
    assert (again != drawn).mean() < 0.01
    assert again.sum() > 200


@pytest.mark.slow
def test_film_is_seen_as_well_where_micrographs_are_compared_with_noise_before(work):
    folder, _, diameter = work
    _, summary = pick(folder, "alone.star", diameter)
    _, compared = pick(folder, "compared.star", diameter, decoys=2)
    assert len(list((folder / "compared/decoys").iterdir())) == 2  # both of them
    assert summary.film == compared.film == 1
    assert rows(folder, "compared")["film"]["film"] == rows(folder, "alone")["film"]["film"] != []


def test_a_run_that_picks_on_film_has_not_looked_for_it(work):
    folder, _, diameter = work
    _, summary = pick(folder, "q.star", diameter, on_film=True)
    assert summary.film is None
    assert [(row["film"], row["film_share"]) for row in rows(folder, "q").values()] == [(None, None)] * 2
    page = Page(folder / "q/report.html")
    assert page.data["film"] == [None, None]
    assert "film" not in page.text.lower()
