"""The report: what its file holds, and that nothing in it runs or is fetched."""

import base64
import hashlib
import os
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.report import packing
from cryotx_cli.report.gallery import GALLERY_SIZE
from cryotx_cli.report.model import ReportMicrograph
from cryotx_cli.report.packing import thumbnail_bytes
from cryotx_cli.report.page import write_report
from cryotx_cli.report.thumbnail import read_thumbnail, write_thumbnail
from cryotx_cli.runs.selection import Threshold, choose
from made_up_runs import CONFIG, HOSTILE, compared, micrograph, noise, particles, run_of
from report_in_browser import Page


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


@pytest.mark.parametrize("fdr", [None, 0.3])
def test_the_summary_tells_the_cut_of_the_run(tmp_path, fdr):
    micrographs = [micrograph("a.mrc", 80, 1), micrograph("b.mrc", 40, 2)]
    found = compared(micrographs)
    run = run_of(replace(CONFIG, threshold="auto", fdr=fdr), found=found)
    run = replace(run, settled=run.settled.with_cut(found))
    text = written(tmp_path / "r.html", micrographs, run).text
    if fdr is None:
        assert "automatic: a threshold for each micrograph" in text
    else:
        cut = run.settled.selection.rule.probability
        assert f"30 % of the picks expected to be false: score of at least {cut:.3f}" in text
    scores = np.concatenate([np.sort(one.candidates.scores)[::-1][: one.picks] for one in micrographs])
    words = " ".join(text.split())
    assert f"Expected to be false {found.of(scores).sum():.0f} {100 * found.of(scores).mean():.1f} %" in words


def test_the_command_is_one_that_a_shell_takes_apart_again(tmp_path):
    def command(folder):
        return written(tmp_path / "r.html", [micrograph("a.mrc")], run_of(folder=folder)).data["command"]

    assert command("out/particles") == "cryotx threshold out/particles"
    assert command("my run; rm x") == "cryotx threshold 'my run; rm x'"
    assert command("-picks") == "cryotx threshold ./-picks"


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
    shown, wanted = (
        [tag for tag, _ in one.tags if tag != "span"] for one in (page, plain)
    )  # one for each word of a path
    assert shown == wanted
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
