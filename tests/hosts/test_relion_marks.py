"""How a job tells RELION that it has ended, and hears that it is to stop."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from cryotx_cli.hosts.relion_marks import failure_marked, marked


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def wait_after(done: Callable[[], None]) -> None:
    done()
    time.sleep(60)


def test_a_block_that_ends_well_is_a_success_and_marks_of_earlier_ones_go(tmp_path: Path) -> None:
    (tmp_path / "RELION_JOB_EXIT_FAILURE").touch()
    (tmp_path / "RELION_JOB_EXIT_ABORTED").touch()

    with marked(tmp_path):
        assert names(tmp_path) == set()

    assert names(tmp_path) == {"RELION_JOB_EXIT_SUCCESS"}


def test_an_error_is_a_failure_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "RELION_JOB_EXIT_SUCCESS").touch()

    with pytest.raises(ZeroDivisionError), marked(tmp_path):
        _ = 1 / 0

    assert names(tmp_path) == {"RELION_JOB_EXIT_FAILURE"}


def test_help_is_no_failure(tmp_path: Path) -> None:
    with pytest.raises(typer.Exit), failure_marked(tmp_path):
        raise typer.Exit(0)

    assert names(tmp_path) == set()


def test_the_button_abort_interrupts_the_block_within_a_second_or_two(tmp_path: Path) -> None:
    started = time.monotonic()

    with pytest.raises(KeyboardInterrupt), marked(tmp_path):
        wait_after((tmp_path / "RELION_JOB_ABORT_NOW").touch)

    assert time.monotonic() - started < 10
    assert names(tmp_path) == {"RELION_JOB_EXIT_ABORTED"}


def test_a_signal_aborts_and_those_of_before_are_heard_again_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with pytest.raises(KeyboardInterrupt), marked(tmp_path):
        wait_after(lambda: os.kill(os.getpid(), signal.SIGTERM))

    assert names(tmp_path) == {"RELION_JOB_EXIT_ABORTED"}
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_without_a_folder_nobody_is_told(tmp_path: Path) -> None:
    with marked(tmp_path / "missing"):
        pass

    assert names(tmp_path) == set()
