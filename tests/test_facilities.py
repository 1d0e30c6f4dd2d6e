"""What the page for facilities gives away: a unit, a script and an example of an event."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from cryotx_cli.cli.exit_codes import DONE, SOME_SKIPPED, exit_code_of
from cryotx_cli.cli.signals import Terminated
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.monitoring.pick_events import pick_events_schema

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/facilities.md").read_text(encoding="utf-8")
UNIT, SCRIPT = ROOT / "docs/facilities/cryotx-session@.service", ROOT / "docs/facilities/pick.slurm"
PROGRAM = "/opt/cryotx/bin/cryotx"


def test_shellcheck_finds_nothing_in_the_script() -> None:
    beside = Path(sys.executable).with_name("shellcheck")
    program = str(beside) if beside.exists() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed; it comes with the extra 'dev'")

    finished = subprocess.run([program, SCRIPT], capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stdout


def run_script(folder: Path, code: int) -> tuple[int, list[str]]:
    """Run the script with an srun that ends with this code; return its own code and what was asked of SLURM."""
    asked = folder / "asked"
    for name, end in (("srun", code), ("scontrol", 0)):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{asked}\nexit {end}\n')
        program.chmod(0o755)
    finished = subprocess.run(
        ["bash", SCRIPT],
        env={"PATH": f"{folder}:/usr/bin:/bin", "SESSION": str(folder), "SLURM_JOB_ID": "7"},
        capture_output=True,
        check=False,
    )
    return finished.returncode, asked.read_text().splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("code", "ends_with", "requeued"), [(0, 0, False), (3, 0, False), (143, 0, True), (130, 0, True), (1, 1, False)]
)
def test_the_script_puts_a_job_that_was_stopped_back_into_the_queue(
    tmp_path: Path, code: int, ends_with: int, requeued: bool
) -> None:
    returned, asked = run_script(tmp_path, code)

    assert returned == ends_with
    assert asked[0].startswith(f"srun {PROGRAM} pick micrographs --out picking/particles.star --diameter auto ")
    assert asked[1:] == ["scontrol requeue 7"] * requeued


def test_systemd_finds_nothing_in_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text(encoding="utf-8")
    (tmp_path / UNIT.name).write_text(text.replace(PROGRAM, "/bin/true"))

    finished = subprocess.run(
        ["systemd-analyze", "verify", f"./{UNIT.name}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (finished.returncode, finished.stdout + finished.stderr) == (0, "")


def test_exit_codes_of_the_unit_and_the_page_are_those_of_the_command() -> None:
    ends = (CryotxError(""), ConfigError(""), OSError(), KeyboardInterrupt(), Terminated())
    codes = {exit_code_of(error) for error in ends}
    table = PAGE.partition("## Signals and exit codes")[2].partition("\n- ")[0]

    assert codes == {1, 2, 130, 143}
    assert {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in cell.split(",")} == {
        DONE,
        SOME_SKIPPED,
        *codes,
    }
    assert f"RestartPreventExitStatus={exit_code_of(ConfigError(''))}\n" in UNIT.read_text(encoding="utf-8")


def test_the_event_on_the_page_keeps_to_the_schema_and_all_are_told_of() -> None:
    schema = pick_events_schema()
    (example,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    jsonschema.Draft202012Validator(schema).validate(json.loads(example))
    told = PAGE.partition("| `event` |")[2].partition("\n\n")[0]

    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", told, re.MULTILINE)))) == set(schema["$defs"])
