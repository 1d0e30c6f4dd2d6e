"""The report: what its file holds, that nothing in it runs or is fetched, and what it does in a browser."""

import base64
import hashlib
import os
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.report import packing
from cryotx_cli.report.gallery import GALLERY_SIZE
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.report.packing import thumbnail_bytes
from cryotx_cli.report.page import write_report
from cryotx_cli.report.run_report import write_run_report
from cryotx_cli.report.thumbnail import read_thumbnail, write_thumbnail
from cryotx_cli.runs.selection import Threshold, choose
from cryotx_cli.runs.settled import settle
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from report_in_browser import Page

CONFIG = PickConfig(diameter=120.0, threshold=0.5)
HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">&amp;.mrc'


def settled(config):
    return settle(config, estimate=lambda: 0.0, is_bright=lambda diameter: False)


def run_of(config=CONFIG, folder="particles"):
    return ReportRun(Path(f"{folder}.star"), Path(folder), settled(config))


def particles(count, seed=0, width=4000, height=3000):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.uniform(0, 1, count - count // 4), rng.integers(0, 101, count // 4) / 100])
    centres = rng.uniform((-0.5, -0.5), (width - 0.5, height - 0.5), (count, 2))
    return Particles(centres, scores, rng.uniform(60, 100, count), 1.5)


def micrograph(name, count=80, seed=0, threshold=0.5, **more):
    found = particles(count, seed)
    picks = int(np.count_nonzero(found.scores >= threshold))
    return ReportMicrograph(name, found, 3000, 4000, picks, **more)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


def written(path, micrographs, run=None):
    write_report(path, run or run_of(), micrographs)
    return Page(path)


# ---- what the file holds ---------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_threshold_rule_at_every_setting_of_the_slider(tmp_path):
    micrographs = [micrograph("a.mrc", 300, 1), micrograph("b.mrc", 50, 2), micrograph("none.mrc", 0)]
    page = written(tmp_path / "r.html", micrographs)
    for k in range(101):
        expected = [np.count_nonzero(choose(one.candidates, Threshold(k / 100))) for one in micrographs]
        assert page.counts()[:, k:].sum(axis=1).tolist() == expected
    assert page.data["picks"] == [one.picks for one in micrographs]
    assert sum(page.data["picked_counts"]) == sum(one.picks for one in micrographs)
    assert sum(page.data["picked_counts"][:50]) == 0


def test_candidates_are_where_they_were_found_best_first(tmp_path):
    one = micrograph("a.mrc", 200, 3)
    page = written(tmp_path / "r.html", [micrograph("z.mrc", error="bad"), one])
    x, y, score, diameter = page.candidates(1)
    best = one.candidates.sorted_by_score()
    np.testing.assert_allclose(np.column_stack([x, y]), best.centres, atol=0.04)
    np.testing.assert_allclose(diameter, best.diameters, atol=0.25)
    assert score.tolist() == [max(k for k in range(101) if k / 100 <= s) for s in best.scores]
    assert page.data["gallery"][0]["pixel_size"] == 1.5


def test_the_same_run_gives_the_same_bytes(tmp_path):
    micrographs = [micrograph("a.mrc", 30), micrograph("b.mrc", error="gone")]
    write_report(tmp_path / "one.html", run_of(), micrographs)
    write_report(tmp_path / "two.html", run_of(), iter(micrographs))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "score of at least 0.5"),
        ({"threshold": "auto"}, "automatic: a threshold for each micrograph"),
        ({"threshold": "auto", "expected_count": 300}, "the best 300 of each micrograph"),
        ({"threshold": "auto", "percentile": 25.0}, "all but the worst 25 % of each micrograph's candidates"),
        ({"max_per_micrograph": 9}, "score of at least 0.5; at most 9 of each micrograph"),
        ({"min_distance": 33.0, "edge": 44.0}, "44 Å"),
    ],
)
def test_the_summary_tells_the_run_without_a_script(tmp_path, changes, said):
    micrographs = [
        micrograph("a.mrc", 80, 1),
        micrograph("b.mrc", 40, 2),
        micrograph("c.mrc", error="c.mrc: truncated"),
    ]
    text = written(tmp_path / "r.html", micrographs, run_of(replace(CONFIG, **changes))).text
    words = " ".join(text.split())
    first, second, _ = (one.picks for one in micrographs)
    assert f"Picks {first + second}" in words
    assert "Micrographs 2 1 skipped" in words
    assert f"median {(first + second) / 2:g} {min(first, second)} to {max(first, second)}" in words
    assert "Particle diameter 120 Å" in words
    assert "Weights default" in words
    assert f"between picks {changes.get('min_distance', 60):g} Å" in words
    assert said in words
    assert "c.mrc c.mrc: truncated" in words


def test_the_command_is_one_that_a_shell_takes_apart_again(tmp_path):
    def command(folder):
        return written(tmp_path / "r.html", [micrograph("a.mrc")], run_of(folder=folder)).data["command"]

    assert command("out/particles") == "cryotx threshold out/particles --threshold"
    assert command("my run; rm x") == "cryotx threshold 'my run; rm x' --threshold"
    assert command("-picks") == "cryotx threshold ./-picks --threshold"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["/data/m10.mrc", "/data/m20.mrc"], ["m10", "m20"]),
        (["a/x_1_dw.mrc", "a/b/x_2_dw.mrc"], ["x_1", "b/x_2"]),
        (["/data/only_one.mrc"], ["only_one.mrc"]),
        (["a/.mrc", "b/.mrc"], ["a/", "b/"]),
        (["m1.mrc", "m1.tif"], ["m1.mrc", "m1.tif"]),
    ],
)
def test_micrographs_are_called_by_what_tells_them_apart(tmp_path, names, short):
    page = written(tmp_path / "r.html", [micrograph(name) for name in names])
    assert page.data["names"] == short
    assert page.data["full_names"] == names


def test_a_run_without_one_good_micrograph_names_the_skipped(tmp_path):
    page = written(tmp_path / "r.html", [ReportMicrograph("a.mrc", error="a.mrc: truncated")])
    assert "a.mrc: truncated" in page.text
    assert page.data["picks"] == []


# ---- many micrographs ------------------------------------------------------------------------------------------------


def test_a_gallery_of_many_holds_the_extremes_and_a_sample_of_the_rest(tmp_path):
    picks = np.random.default_rng(0).permutation(1000)
    micrographs = [
        ReportMicrograph(f"m{i}.mrc", particles(4, i), 3000, 4000, int(picks[i]) % 5) for i in range(len(picks))
    ]
    micrographs[500] = ReportMicrograph("most.mrc", particles(90, 1), 3000, 4000, 90)
    page = written(tmp_path / "r.html", micrographs)
    shown = [entry["position"] for entry in page.data["gallery"]]
    assert len(shown) == len(set(shown)) == GALLERY_SIZE
    assert shown == sorted(shown)
    assert 500 in shown
    assert sum(page.data["picks"][position] == 0 for position in shown) >= 30
    assert np.diff(shown).max() < 25  # no stretch of the session is left out
    assert page.counts().shape == (1000, 101)
    assert "300 of 1,000 micrographs" in page.text


def test_three_hundred_micrographs_stay_below_25_mb(tmp_path):
    write_thumbnail(tmp_path / "t.jpg", noise(930, 1000), thumbnail_bytes(300))
    found = particles(4000, 1)
    micrographs = [ReportMicrograph(f"m{i}.mrc", found, 3000, 4000, 500, tmp_path / "t.jpg") for i in range(300)]
    page = written(tmp_path / "r.html", micrographs)
    assert 15e6 < (tmp_path / "r.html").stat().st_size < 25e6
    assert all(len(page.script(id=f"m{i}")) > 10_000 for i in range(300))
    # Candidates that would take too many bytes are left out from the bottom, picks never.
    floor, score = page.data["floor"], page.candidates(7)[2]
    assert floor > 0
    assert len(score) >= 500
    assert len(score) == max(500, np.count_nonzero(found.scores >= floor / 100))
    assert page.counts()[7].sum() == 4000


def test_thumbnails_of_a_run_that_grew_are_made_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAX_BYTES", 150_000)
    write_thumbnail(tmp_path / "t.jpg", noise(800, 1000), 10**6)
    found = particles(10)
    page = written(
        tmp_path / "r.html",
        [ReportMicrograph(f"m{i}.mrc", found, 800, 1000, 5, tmp_path / "t.jpg") for i in range(3)],
    )
    pictures = [base64.b64decode(page.script(id=f"m{i}")) for i in range(3)]
    assert (tmp_path / "t.jpg").stat().st_size > 40_000
    assert all(len(picture) < 150_000 / 4 for picture in pictures)
    height, width = cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_GRAYSCALE).shape
    assert width < 1000
    assert width / height == pytest.approx(1000 / 800, abs=0.01)


def test_a_thumbnail_shows_the_micrograph_within_its_bytes(tmp_path):
    grey = noise(900, 700) // 4
    grey[200:500, 100:300] += 150
    for room in (20_000, 60_000, 10**6):
        write_thumbnail(tmp_path / "deep" / "t.jpg", grey, room)
        jpeg = (tmp_path / "deep" / "t.jpg").read_bytes()
        assert len(jpeg) <= room
        small = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
        assert small.ndim == 2
        assert max(small.shape) <= 900
        back = cv2.resize(small, (700, 900)).astype(float)
        assert np.corrcoef(back.ravel(), cv2.GaussianBlur(grey, (0, 0), 4).ravel())[0, 1] > 0.95
    assert small.shape == (900, 700)
    assert read_thumbnail(tmp_path / "deep" / "t.jpg", 10**6) == jpeg
    assert read_thumbnail(tmp_path / "missing.jpg", 10**6) is None
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["t.jpg"]


# ---- safe to open ----------------------------------------------------------------------------------------------------


def test_nothing_is_fetched_from_anywhere(tmp_path):
    write_thumbnail(tmp_path / "t.jpg", noise(100, 100), 10**5)
    page = written(tmp_path / "r.html", [micrograph("a.mrc", thumbnail=tmp_path / "t.jpg")])
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not attributes.keys() & {"src", "srcset", "action", "background", "style"}
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    (program,) = [text for attributes, text in page.scripts if "type" not in attributes]
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|\bimport\b|fetch\(|XMLHttp|innerHTML|eval\(", page.style + program
    )
    (policy,) = [tag["content"] for _, tag in page.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"  # this program and no other


def test_names_and_reasons_are_text_and_never_markup(tmp_path):
    plain = written(tmp_path / "plain.html", [micrograph("a.mrc"), micrograph("b.mrc", error="gone")])
    page = written(
        tmp_path / "r.html", [micrograph(HOSTILE), ReportMicrograph(HOSTILE, error=f"{HOSTILE}: <b>gone</b>")],
        run_of(replace(CONFIG, weights=HOSTILE), folder=HOSTILE.replace("/", "")),
    )  # fmt: skip
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.data["full_names"] == [HOSTILE]
    assert page.text.count(HOSTILE) == 3  # the weights, the name and the reason
    assert f"{HOSTILE}: <b>gone</b>" in page.text


def test_names_that_are_not_utf_8_can_be_written(tmp_path):
    name = os.fsdecode(b"mics/m\xff.mrc")
    page_bytes = tmp_path / "r.html"
    write_report(page_bytes, run_of(), [micrograph(name), ReportMicrograph(name, error="gone")])
    assert b"m\xff.mrc" in page_bytes.read_bytes()


def test_the_report_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.html"
    write_report(path, run_of(), [micrograph("a.mrc")])
    before = path.read_bytes()

    def breaks_off():
        yield micrograph("b.mrc")
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        write_report(path, run_of(), breaks_off())
    assert path.read_bytes() == before
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ParticleFileError, match=r"folder\.html"):
        write_report(tmp_path / "folder.html", run_of(), [micrograph("a.mrc")])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder.html", "r.html"]


# ---- as cryotx pick writes it ----------------------------------------------------------------------------------------


class StubPicker:
    """Candidates that depend on the pixels alone."""

    device = "cpu"
    fingerprint = "stub"

    def prepare(self, micrograph, diameter):
        return micrograph.image

    def locate(self, prepared, micrograph):
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        height, width = prepared.shape
        centres = rng.uniform((0, 0), (width, height), (60, 2))
        return Particles(centres, rng.uniform(0, 1, 60), np.full(60, 10.0), micrograph.pixel_size)


def folder_of(tmp_path, count=3):
    (tmp_path / "mics").mkdir()
    for i in range(count):
        with mrcfile.new(tmp_path / f"mics/m{i}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(i).normal(0, 1, (96, 128)).astype(np.float32))
            mrc.voxel_size = 2.0
    return tmp_path / "mics"


def pick(inputs, out, **settings):
    run = start_pick(inputs, out, replace(PickConfig(diameter=20.0), **settings), StubPicker())
    list(run)
    return run


@pytest.mark.parametrize("more", [{}, {"edge": 20.0, "min_distance": 25.0}, {"max_per_micrograph": 7}])
def test_the_counts_of_a_report_are_the_picks_of_a_run_with_that_threshold(tmp_path, more):
    mics = folder_of(tmp_path)
    pick([mics], tmp_path / "p.star", **more)
    page = Page(tmp_path / "p" / "report.html")
    for k in (0, 13, 42, 77, 100):
        pick([mics], tmp_path / "q.star", threshold=k / 100, report=False, **more)
        picks = read_particles_star(tmp_path / "q.star")
        expected = [len(picks.get(name, ())) for name in page.data["full_names"]]
        assert page.counts()[:, k:].sum(axis=1).tolist() == expected
    assert page.data["picks"] == [len(found) for found in read_particles_star(tmp_path / "p.star").values()]
    assert page.data["names"] == ["m0", "m1", "m2"]


def test_skipped_micrographs_and_their_reasons_are_in_the_report(tmp_path):
    mics = folder_of(tmp_path)
    (mics / "m1.mrc").write_text("no image")
    pick([mics], tmp_path / "p.star")
    page = Page(tmp_path / "p" / "report.html")
    assert (page.data["positions"], page.data["skipped"]) == ([0, 2], [1])
    assert f"{mics}/m1.mrc: truncated" in page.text


def test_defocus_comes_from_the_micrographs_star(tmp_path, monkeypatch):
    folder_of(tmp_path, 4)
    star = tmp_path / "micrographs_ctf.star"
    star.write_text(
        "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnDefocusU #2\n"
        "mics/m0.mrc 12345.6\nmics/m1.mrc nan\nmics/m2.mrc 20000\nmics/m3.mrc inf\n"
    )
    monkeypatch.chdir(tmp_path)
    pick([star], tmp_path / "p.star")
    assert Page(tmp_path / "p" / "report.html").data["defocus"] == [12345.6, None, 20000.0, None]


def test_a_run_that_goes_on_ends_with_the_report_of_one_that_was_never_stopped(tmp_path, monkeypatch):
    folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    pick(["mics"], "p.star")
    whole = Path("p/report.html").read_bytes()
    shutil.rmtree("p")
    run = start_pick(["mics"], "p.star", PickConfig(diameter=20.0), StubPicker())
    next(iter(run))
    del run
    Path("p/thumbnails/m0.jpg").unlink(missing_ok=True)
    pick(["mics"], "p.star")
    assert Path("p/report.html").read_bytes() == whole
    assert sorted(path.name for path in Path("p/thumbnails").iterdir()) == ["m0.jpg", "m1.jpg", "m2.jpg"]


def test_a_thumbnail_never_outlives_its_micrograph(tmp_path):
    mics = folder_of(tmp_path, 1)
    pick([mics], tmp_path / "p.star")
    before = (tmp_path / "p/thumbnails/m0.jpg").read_bytes()
    with mrcfile.new(mics / "m0.mrc", overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(9).normal(0, 1, (96, 130)).astype(np.float32))
        mrc.voxel_size = 2.0
    pick([mics], tmp_path / "p.star", report=False)
    assert not (tmp_path / "p/thumbnails/m0.jpg").exists()
    assert not (tmp_path / "p/report.html").exists()  # it would show the picks of another image
    pick([mics], tmp_path / "p.star", images=False)
    assert (tmp_path / "p/thumbnails/m0.jpg").read_bytes() != before


def test_own_thumbnails_are_not_picked(tmp_path):
    mics = folder_of(tmp_path)
    pick([mics], mics / "p.star")
    assert pick([mics], mics / "p.star").summary.micrographs == 3


def test_the_folder_is_enough_to_write_the_report_again(tmp_path):
    mics = folder_of(tmp_path)
    pick([mics], tmp_path / "p.star")
    report = tmp_path / "p/report.html"
    before = report.read_bytes()
    report.unlink()
    shutil.rmtree(mics)
    write_run_report(read_run(tmp_path / "p"))
    assert report.read_bytes() == before


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def micrographs(tmp_path):
    """Twelve, of 80 candidates but for one of 700, one with a name that would run if it could, and one skipped."""
    write_thumbnail(tmp_path / "t.jpg", noise(300, 400), 10**5)
    names = [HOSTILE, *(f"mics/m{i}.mrc" for i in range(1, 12))]
    shown = [
        micrograph(name, 700 if i == 5 else 80, i, thumbnail=tmp_path / "t.jpg", defocus=8000.0 + 900 * i)
        for i, name in enumerate(names)
    ]
    return [*shown[:7], ReportMicrograph(HOSTILE, error=HOSTILE), *shown[7:]]


@pytest.fixture
def opened(browser, micrographs, tmp_path):
    write_report(tmp_path / "report.html", run_of(folder="my run"), micrographs)
    browser.open(tmp_path / "report.html")
    browser.settle()
    yield browser
    assert not browser.of("Runtime.exceptionThrown")
    assert not browser.of("Runtime.consoleAPICalled")
    assert not browser.of("Log.entryAdded")
    requests = [one["request"]["url"] for one in browser.of("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert browser.run("window.hacked") is None


def counts_at(micrographs, threshold):
    return np.array([np.count_nonzero(one.candidates.scores >= threshold) for one in micrographs if not one.error])


def outliers(counts):
    """The rule as the page states it."""
    median = np.median(counts)
    spread = max(1.4826 * np.median(np.abs(counts - median)), np.sqrt(median), 1)
    return np.abs(counts - median) > 3.5 * spread


# Read from a copy: Chromium warns of a canvas that is read again and again, and the page itself never does.
PIXELS = (
    "(() => { const c = document.querySelector('#gallery canvas'), copy = document.createElement('canvas');"
    "[copy.width, copy.height] = [c.width, c.height];"
    "const context = copy.getContext('2d', {willReadFrequently: true});"
    "context.drawImage(c, 0, 0); return context.getImageData(0, 0, c.width, c.height).data; })()"
)


def drawn(browser):
    """The picture of the first card, and how many of its pixels have colour."""
    return browser.run(
        f"(() => {{ const d = {PIXELS}; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) n += Math.abs(d[i] - d[i + 2]) > 40;"
        "return [document.querySelector('#gallery canvas').toDataURL(), n]; })()"
    )


@pytest.mark.slow
def test_the_slider_moves_count_picture_and_command(opened, micrographs):
    written_counts = counts_at(micrographs, 0.5)
    assert opened.text("#total") == f"{written_counts.sum():,}"
    assert not opened.run("document.getElementById('as-picked').hidden")
    assert opened.run("document.getElementById('other').hidden")
    before, coloured = drawn(opened)
    assert coloured > 500
    opened.run("document.getElementById('cut').focus()")
    for step in range(1, 21):
        opened.press("ArrowRight")
        expected = counts_at(micrographs, (50 + step) / 100)
        assert opened.text("#total") == f"{expected.sum():,}"
    assert opened.text("#command") == "cryotx threshold 'my run' --threshold 0.70"
    assert opened.text("#cut-value") == "0.70"
    assert opened.text("#change").strip() == f"(−{written_counts.sum() - expected.sum():,})"
    shown = opened.run("[...document.querySelectorAll('#gallery .count')].map(one => parseInt(one.textContent))")
    assert shown == expected.tolist()
    after, fewer = drawn(opened)
    assert after != before
    assert 0 < fewer < coloured
    opened.run("document.getElementById('reset').click()")
    opened.settle()
    assert opened.text("#total") == f"{written_counts.sum():,}"
    assert drawn(opened)[0] == before


@pytest.mark.slow
def test_circles_lie_at_the_picks(browser, tmp_path):
    found = Particles([[1000.0, 700.0], [3000.0, 2000.0]], [0.9, 0.2], [400.0, 400.0], 1.5)
    write_report(tmp_path / "report.html", run_of(), [ReportMicrograph("m.mrc", found, 3000, 4000, 1)])
    browser.open(tmp_path / "report.html")
    browser.settle()
    points = browser.run(
        f"(() => {{ const c = document.querySelector('#gallery canvas'), d = {PIXELS}, found = [];"
        "for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200)"
        "found.push([(i / 4 % c.width + 0.5) / c.width, (Math.floor(i / 4 / c.width) + 0.5) / c.height]);"
        "return found; })()"
    )
    centre = np.array([1000.5, 700.5])
    radii = np.linalg.norm(np.array(points) * (4000, 3000) - centre, axis=1)
    pixel = 4000 / browser.run("document.querySelector('#gallery canvas').width")
    assert len(points) > 50
    assert np.abs(radii - 200).max() < 2.5 * pixel  # one circle, where and as large as the pick is, and no other


@pytest.mark.slow
def test_outliers_follow_the_rule_that_the_page_states(opened, micrographs):
    names = [one.name for one in micrographs if not one.error]
    for threshold in (0.5, 0.9, 0.99):
        opened.run(
            f"(() => {{ const cut = document.getElementById('cut'); cut.value = {threshold};"
            "cut.dispatchEvent(new Event('input')); })()"
        )
        opened.settle()
        marked = opened.run("[...document.querySelectorAll('#gallery .count')].map(one => one.matches('.flag'))")
        assert marked == outliers(counts_at(micrographs, threshold)).tolist()
    assert outliers(counts_at(micrographs, 0.5)).tolist() == [name == "mics/m5.mrc" for name in names]
    opened.run("document.getElementById('reset').click(); document.getElementById('only-outliers').click()")
    opened.settle()
    assert opened.run("[...document.querySelectorAll('#gallery .name')].map(one => one.textContent)") == ["mics/m5"]
    assert "mics/m5 " in opened.text("#outliers")


@pytest.mark.slow
def test_everything_is_within_reach_of_the_keyboard(opened):
    focused = "document.activeElement.dataset.position || document.activeElement.id"
    opened.run("document.querySelector('#gallery button').focus()")
    opened.press("ArrowRight")
    assert opened.run(focused) == "1"
    opened.press("ArrowDown")
    columns = opened.run("getComputedStyle(document.getElementById('gallery')).gridTemplateColumns.split(' ').length")
    assert opened.run(focused) == str(1 + columns)
    opened.press("End")
    assert opened.run(focused) == "12"
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    opened.press("Enter")
    assert opened.run("document.getElementById('viewer').open")
    assert opened.text("#viewer-name") == "mics/m11.mrc"
    opened.press("ArrowLeft")
    assert opened.text("#viewer-name") == "mics/m10.mrc"
    assert "defocus 1.70 µm" in opened.text("#viewer-facts")
    opened.run("document.getElementById('viewer-cut').focus()")
    opened.press("ArrowRight")
    assert opened.text("#viewer-name") == "mics/m10.mrc"
    assert opened.text("#command").endswith("--threshold 0.51")
    opened.press("Escape")
    assert not opened.run("document.getElementById('viewer').open")
    assert opened.run(focused) == "11"
    opened.run("document.getElementById('order').value = 'most'")
    opened.run("document.getElementById('order').dispatchEvent(new Event('change'))")
    assert opened.text("#gallery .name") == "mics/m5"
    reachable = opened.run("[...document.querySelectorAll('#gallery button')].filter(one => one.tabIndex === 0).length")
    assert reachable == 1


@pytest.mark.slow
def test_light_and_dark_follow_the_system_until_the_reader_chooses(opened):
    page = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    for scheme in ("light", "dark"):
        opened.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours[scheme] = opened.run(page)
    assert colours["light"] != colours["dark"]
    opened.run("document.getElementById('theme').click()")
    assert opened.run(page) == colours["light"]
    opened.run("document.getElementById('theme').click()")
    assert opened.run(page) == colours["dark"]
    opened.call("Emulation.setEmulatedMedia", features=[])


@pytest.mark.slow
def test_picks_that_no_threshold_chose_get_no_slider(browser, micrographs, tmp_path):
    run = run_of(replace(CONFIG, threshold="auto", selection="legacy", percentile=25.0))
    write_report(tmp_path / "report.html", run, micrographs)
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert browser.run("[...document.querySelectorAll('input.cut')].every(one => !one.checkVisibility())")
    assert browser.run("document.getElementById('gallery').checkVisibility()")
    assert "as the original program" in Page(tmp_path / "report.html").text


@pytest.mark.slow
def test_a_cut_for_each_micrograph_is_shown_as_it_was_until_the_slider_moves(browser, micrographs, tmp_path):
    best_ten = [replace(one, picks=10) if one.candidates else one for one in micrographs]
    run = run_of(replace(CONFIG, threshold="auto", expected_count=10))
    write_report(tmp_path / "report.html", run, best_ten)
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert browser.text("#total") == "120"
    assert browser.text("#cut-value") == "auto"
    nearest = float(browser.run("document.getElementById('cut').value"))
    totals = {k: abs(counts_at(micrographs, k / 100).sum() - 120) for k in range(101)}
    assert totals[round(nearest * 100)] == min(totals.values())


AXIS_LABELS = """
window.drawn = [];
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  const axis = { "center top": "across", "right middle": "up" }[`${this.textAlign} ${this.textBaseline}`];
  if (this.canvas.id === "series" && axis) window.drawn.push([axis, text]);
  return fillText.call(this, text, ...place);
};
"""


@pytest.fixture
def axes_of_series(browser, tmp_path):
    """Show a report with micrographs of that many picks; return the labels of the axes of picks per micrograph."""
    hook = browser.call("Page.addScriptToEvaluateOnNewDocument", source=AXIS_LABELS)

    def labels(counts):
        shown = [replace(micrograph(f"m{i}.mrc", 20, i), picks=picks) for i, picks in enumerate(counts)]
        write_report(tmp_path / "report.html", run_of(), shown)
        browser.open(tmp_path / "report.html")
        browser.settle()
        found = {"across": [], "up": []}
        for axis, text in browser.run("window.drawn"):
            found[axis] += [text] * (text not in found[axis])  # a plot that changes its size is drawn again
        return found["across"], found["up"]

    yield labels
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=hook["identifier"])


@pytest.mark.slow
def test_axes_that_count_are_labelled_with_whole_numbers(axes_of_series):
    for count in range(1, 8):
        assert axes_of_series([9] * count)[0] == [str(i) for i in range(1, count + 1)]
    assert axes_of_series([9] * 8)[0] == ["2", "4", "6", "8"]
    assert axes_of_series([9] * 10)[0] == ["2", "4", "6", "8", "10"]
    for few in range(3):
        assert axes_of_series([few])[1] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("count", "named"), [(4, False), (5, True)])
def test_the_band_of_outliers_is_named_where_it_is_drawn(browser, tmp_path, count, named):
    write_report(tmp_path / "report.html", run_of(), [micrograph(f"m{i}.mrc", 20, i) for i in range(count)])
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert ("outside the band" in browser.run("document.body.innerText")) == named
