"""What shells and other programs do to a command: one line each, never a traceback or a dead process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PICKS = 'data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"m.mrc" 10 20\n'


@pytest.fixture
def cryotx(tmp_path):
    """Run cryotx through a shell; `before` is done to the shell, `redirection` follows the command."""
    (tmp_path / "picks.star").write_text(PICKS)

    def run(command, *, before="true", redirection="", libraries=None):
        path = os.pathsep.join([*([str(libraries)] if libraries else []), str(SOURCE)])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        line = f"{before}; {sys.executable} -m cryotx_cli {command} {redirection}"
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment)

    return run


@pytest.fixture
def libraries(tmp_path):
    """Another program's folder of libraries."""
    folder = tmp_path / "other program"

    def put(name, content):
        file = folder / name / "__init__.py"
        file.parent.mkdir(parents=True)
        file.write_text(content)
        return folder

    return put


EVALUATE = "evaluate picks.star picks.star --diameter 20 --pixel-size 1"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("numpy", "raise ImportError('built for Python 3.7')", "built for Python 3.7"),
        pytest.param("numpy", "print 'Python 2'", "Missing parentheses", marks=pytest.mark.slow),
        pytest.param("numpy", "import sys; sys.no_such_thing", "no_such_thing", marks=pytest.mark.slow),
        ("typer", "raise ImportError('an old one')", "an old one"),
        ("pydantic", "raise ImportError('an old one')", "an old one"),
    ],
)
def test_a_library_of_another_program_is_named_with_its_file(cryotx, libraries, name, content, reason):
    folder = libraries(name, content)

    ended = cryotx(EVALUATE, libraries=folder)

    first, second = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert first.startswith(f"Error: {name} cannot be imported from {folder / name / '__init__.py'}: ")
    assert reason in first
    assert "unset PYTHONPATH" in second


@pytest.mark.slow
def test_the_doctor_examines_a_machine_whose_numpy_is_broken(cryotx, libraries):
    folder = libraries("numpy", "raise ImportError('built for Python 3.7')")

    ended = cryotx("doctor", libraries=folder)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert f"Error: numpy: cannot be imported, from {folder}/numpy/__init__.py: built for Python 3.7" in ended.stderr
    assert f"Error: scipy: cannot be imported, because numpy cannot, from {folder}/numpy" in ended.stderr
    assert "Processor cores" in ended.stdout


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 0, ["Standard output is closed: what would stand there is left out."]),
        (
            ">/dev/full",
            1,
            ["Standard output cannot be written (No space left on device): what would stand there is left out."],
        ),
        pytest.param("| true", None, [], marks=pytest.mark.slow),
        pytest.param(">&- 2>&- <&-", 0, [], marks=pytest.mark.slow),
        pytest.param(">/dev/null 2>/dev/full", 0, [], marks=pytest.mark.slow),
    ],
)
def test_outputs_that_take_nothing_end_no_command_and_are_not_taken_by_the_next_file(
    cryotx, tmp_path, redirection, code, said
):
    ended = cryotx(f"{EVALUATE} --json numbers.json", redirection=redirection)

    assert ended.stderr.splitlines() == said
    assert code is None or ended.returncode == code
    assert Path(ended.args[0]).name == "bash"
    assert (tmp_path / "numbers.json").read_text().startswith('{\n  "radius"')


@pytest.mark.slow
def test_a_terminal_that_does_not_know_a_letter_shows_a_question_mark(cryotx, tmp_path):
    ended = cryotx("check picks.star --against ångström.star", before="export PYTHONIOENCODING=ascii")

    assert "ngstr" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_names_that_are_no_text_come_out_as_they_are(tmp_path):
    name = b"caf\xe9.star"
    ended = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"cryotx_cli", b"check", name, b"--against", name],
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )

    assert ended.stderr.startswith(b"Error: " + name + b": no such file")


def test_a_working_folder_that_is_gone(cryotx):
    ended = cryotx(EVALUATE, before="mkdir gone; cd gone; rmdir ../gone")

    first, second = ended.stderr.splitlines()[-2:]
    assert ended.returncode == 1
    assert first == ("Error: the working folder is gone: it was removed or replaced after this shell went into it")
    assert second == "Go to a folder that is there (cd), and repeat the command."


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold processes to ulimit -v")
@pytest.mark.parametrize(
    ("command", "kilobytes"),
    [
        ("pick m.mrc --out p.star", 2_000_000),
        pytest.param("pick m.mrc --out p.star", 3_000_000, marks=pytest.mark.slow),
        pytest.param("doctor", 2_000_000, marks=pytest.mark.slow),
        ("doctor", 3_000_000),
    ],
)
def test_a_limit_of_memory_that_would_kill_the_process_is_told(cryotx, command, kilobytes):
    ended = cryotx(command, before=f"ulimit -v {kilobytes}")

    assert ended.returncode == 1
    assert "ulimit -v" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("Error: ")]) == 1
