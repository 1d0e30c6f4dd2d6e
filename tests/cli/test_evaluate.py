"""`cryotx evaluate` on files of two formats."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app

STAR = """
data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnAutopickFigureOfMerit #4
mics/a.mrc 100.0 100.0 0.9
mics/a.mrc 203.0 204.0 0.8
mics/a.mrc 700.0 700.0 0.1
mics/b.mrc 50.0 50.0 0.7
mics/c.mrc 50.0 50.0 0.7
"""


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Picks on a, b and c; truth on a (two particles, both found), b (one, 30 px off) and d (one)."""
    picks, truth = tmp_path / "picks.star", tmp_path / "truth"
    picks.write_text(STAR)
    truth.mkdir()
    (truth / "a.box").write_text("80\t80\t40\t40\n180\t180\t40\t40\n")
    (truth / "b.box").write_text("60\t30\t40\t40\n")
    (truth / "d.box").write_text("0\t0\t40\t40\n")
    return picks, truth


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_table_has_a_line_for_each_micrograph_and_one_for_all(sides: tuple[Path, Path]) -> None:
    result = evaluate(*sides, "--diameter", "40", "--pixel-size", "1")

    assert result.exit_code == 0, result.stderr
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["Micrograph"] == ["Picks", "True", "Paired", "Precision", "Recall", "F1", "Chance", "Dice", "AP"]
    # Two of the three picks on a are pairs; the disc of the third shares nothing.
    assert rows["a"][:6] == ["3", "2", "2", "0.667", "1.000", "0.800"]
    assert rows["b"][:6] == ["1", "1", "0", "0.000", "0.000", "0.000"]
    assert rows["d"][:3] == ["0", "1", "0"]
    assert rows["All"][1:6] == ["4", "4", "2", "0.500", "0.500"]
    assert result.stdout.splitlines()[-1] == "Diameter: 40 px (40 Å)"


def test_the_diameter_that_the_truth_states_is_told(tmp_path: Path) -> None:
    truth = "x,y,score,diameter\n10,10,1,8\n90,90,1,8\n"
    for side in ("picks", "truth"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "m.csv").write_text(truth)

    result = evaluate(tmp_path / "picks", tmp_path / "truth")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Diameter: 8 px, as the truth states"


def test_what_is_on_one_side_only_is_told(sides: tuple[Path, Path]) -> None:
    stderr = evaluate(*sides, "--diameter", "40", "--pixel-size", "1").stderr

    assert "1 micrograph without picks, counted as missed: d" in stderr
    assert "1 micrograph without truth, left out: mics/c.mrc" in stderr


def test_a_wider_radius_makes_the_pair(sides: tuple[Path, Path]) -> None:
    result = evaluate(*sides, "--diameter", "40", "--pixel-size", "1", "--radius", "0.8")

    assert [line.split()[1:4] for line in result.stdout.splitlines() if line.split()[:1] == ["b"]] == [["1", "1", "1"]]


def test_json_holds_the_same_numbers(sides: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "agreement.json"

    assert evaluate(*sides, "--diameter", "80", "--pixel-size", "2", "--json", file).exit_code == 0

    content = json.loads(file.read_text())
    assert content["total"]["f1"] == pytest.approx(0.5)
    assert [row["micrograph"] for row in content["micrographs"]] == ["a", "b", "d"]


def test_a_report_is_written_when_asked_for(sides: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "report.html"

    result = evaluate(*sides, "--diameter", "40", "--pixel-size", "1", "--report", file)

    assert result.exit_code == 0, result.stderr
    assert f"Wrote {file}" in result.stderr
    assert "3 of 3 micrographs are without a picture: give --micrographs FOLDER." in result.stderr
    page = file.read_text()
    assert "mics/c.mrc" in page
    by_chance = next(line.split()[8] for line in result.stdout.splitlines() if line.startswith("All"))
    shown = " ".join(re.sub("<[^>]*>", " ", page[: page.index("Labels")]).split())
    assert f"F1 by chance {by_chance}" in shown


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--diameter", "40"], 2, "--pixel-size"),
        (["--diameter", "-40", "--pixel-size", "1"], 2, "diameter: "),
        (["--diameter", "40", "--pixel-size", "1", "--json", "picks.star/no/such.json"], 1, "such.json"),
        (["--diameter", "40", "--pixel-size", "1", "--report", "picks.star/no/such.html"], 1, "such.html"),
        (["--diameter", "40", "--pixel-size", "1", "--report", "r.html", "--micrographs", "nowhere"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, flags: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(sides[0].parent)
    result = evaluate(*sides, *flags)

    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_file_is_named(sides: tuple[Path, Path]) -> None:
    result = evaluate("nowhere.star", sides[1])

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: nowhere.star: ")


def test_names_that_do_not_agree_are_shown(sides: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.star"
    other.write_text(STAR.replace("mics/", "mics/foreign_"))

    result = evaluate(other, sides[1], "--diameter", "40", "--pixel-size", "1")

    assert result.exit_code == 1
    assert "foreign_a.mrc" in result.stderr


def test_files_of_others_are_not_replaced(sides: tuple[Path, Path], tmp_path: Path) -> None:
    sizes = ("--diameter", "80", "--pixel-size", "2")
    mine = tmp_path / "mine"
    mine.write_text('{"notes": "of three weeks"}')
    for flag in ("--json", "--report"):
        refused = evaluate(*sides, *sizes, flag, mine)
        assert refused.exit_code == 2
        assert f"{flag} {mine}: there already, and not written by this command" in refused.stderr
    assert mine.read_text() == '{"notes": "of three weeks"}'
    for flag in ("--json", "--report"):
        for _ in range(2):
            assert evaluate(*sides, *sizes, flag, tmp_path / f"new{flag}").exit_code == 0


def test_one_file_is_not_both_numbers_and_page(sides: tuple[Path, Path], tmp_path: Path) -> None:
    both = tmp_path / "both"

    refused = evaluate(*sides, "--diameter", "40", "--pixel-size", "1", "--json", both, "--report", both)

    assert refused.exit_code == 2
    assert "--report" in refused.stderr
    assert "--json" in refused.stderr
    assert not both.exists()


def test_micrographs_without_a_report_are_refused(sides: tuple[Path, Path], tmp_path: Path) -> None:
    refused = evaluate(*sides, "--diameter", "80", "--pixel-size", "2", "--micrographs", tmp_path)
    assert refused.exit_code == 2
    assert "--report" in refused.stderr


SETS = ("apoferritin", "ribosome", "spliceosome", "toxin", "trpv1")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Five sets with a micrograph and a particle each; three programs, one of which has not seen the last set."""
    for number, name in enumerate(SETS):
        (tmp_path / "truth" / name).mkdir(parents=True)
        (tmp_path / "truth" / name / "m.csv").write_text(f"x,y,diameter\n500,{500 + number},40\n")
        for program in ("cryotx", "LoG", "topaz/particles"):
            (tmp_path / program).mkdir(parents=True, exist_ok=True)
            if (program, name) != ("LoG", "trpv1"):
                picks = "".join(f"{500 + 400 * i},{500 + number}\n" for i in range(len(program)))
                (tmp_path / program / f"{name}.csv").write_text(
                    f"x,y,micrograph\n{picks.replace(chr(10), ',m.mrc' + chr(10))}"
                )
    (tmp_path / "cryotx" / "notes").mkdir()
    (tmp_path / "sets.csv").write_text("set,diameter\n" + "".join(f"{name},\n" for name in SETS))
    return tmp_path


def test_programs_stand_side_by_side_in_every_set(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    result = evaluate("cryotx", "RELION LoG=LoG", "topaz/particles", "truth", "--diameters", "sets.csv")

    assert result.exit_code == 0, result.stderr
    assert max(len(line) for line in result.stdout.splitlines() if not line.startswith("Diameters")) <= 80
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["Data", "set", "Picker", "Picks", "True", "Precision", "Recall", "F1", "Chance", "Dice"] in lines
    rows = [line[:-2] for line in lines if len(line) > 5]
    assert ["ribosome", "cryotx", "6", "1", "0.167", "1.000", "0.286"] in rows
    assert ["RELION", "LoG", "3", "0.333", "1.000", "0.500"] in rows
    assert ["RELION", "LoG", "0", "0.000", "0.000", "0.000"] in rows
    # Five sets: 1 / 3 in four of them, and one that has no picks.
    assert ["RELION", "LoG", f"{4 / 15:.3f}", "0.800", "0.400"] in rows
    assert ["Mean", "of", "5", "cryotx", "0.167", "1.000", "0.286"] in rows
    assert "RELION LoG: no picks of trpv1: all particles counted as missed" in result.stderr
    assert "cryotx: without truth, left out: notes" in result.stderr
    assert "Diameters: apoferritin 40 px, " in result.stdout


def test_one_program_has_a_row_a_set(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    result = evaluate("LoG", "truth", "--diameters", "sets.csv", "--json", "all.json")

    assert result.exit_code == 0, result.stderr
    assert ["toxin", "3", "1", "0.333", "1.000", "0.500"] in [line.split()[:-2] for line in result.stdout.splitlines()]
    assert "no picks of trpv1: all particles counted as missed" in result.stderr.splitlines()
    content = json.loads(Path("all.json").read_text())
    assert content["pickers"]["LoG"]["sets"]["toxin"]["total"]["f1"] == 0.5
    assert evaluate("LoG", "truth", "--diameters", "sets.csv", "--json", "all.json").exit_code == 0


def test_programs_are_called_by_what_tells_their_paths_apart(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (tree / "other").mkdir()
    (tree / "topaz").rename(tree / "other/topaz")
    (tree / "other/topaz/particles").rename(tree / "other/picks")
    (tree / "LoG").rename(tree / "picks")

    result = evaluate("other/picks", "picks", "truth", "--diameters", "sets.csv", "--json", "all.json")

    assert result.exit_code == 0, result.stderr
    assert list(json.loads(Path("all.json").read_text())["pickers"]) == ["other/picks", f"{tree.name}/picks"]
    twice = evaluate("a=picks", "a=other/picks", "truth", "--diameters", "sets.csv")
    assert twice.exit_code == 2
    assert "two programs are called a" in twice.stderr


def test_the_page_of_several_programs_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    result = evaluate("LoG", "cryotx", "truth", "--diameters", "sets.csv", "--report", "page.html")

    assert result.exit_code == 2
    assert "--report: the page shows the picks of one program on one data set, not of 2 on 5" in result.stderr
    assert not Path("page.html").exists()


def test_the_chance_of_every_row_stands_beside_its_f1(sides: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "agreement.json"
    result = evaluate(*sides, "--diameter", "40", "--pixel-size", "1", "--json", file)

    content = json.loads(file.read_text())
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["a"][6] == f"{content['micrographs'][0]['chance']:.3f}"
    assert rows["All"][7] == f"{content['total']['chance']:.3f}"


def test_several_programs_on_one_set_have_no_mean(sides: tuple[Path, Path]) -> None:
    picks, truth = sides
    result = evaluate(picks, f"again={picks}", truth, "--diameter", "40", "--pixel-size", "1")

    assert result.exit_code == 0, result.stderr
    rows = [line.split()[:-2] for line in result.stdout.splitlines()]
    assert ["truth", "picks", "4", "4", "0.500", "0.500", "0.500"] in rows
    assert ["again", "4", "0.500", "0.500", "0.500"] in rows
    assert "Mean" not in result.stdout
    assert "again, truth: 1 micrograph without picks, counted as missed: d" in result.stderr.splitlines()
