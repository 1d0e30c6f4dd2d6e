"""`cryotx review` as it is typed."""

import re
import socket

import pytest
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from reviewed_run import Served, make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, 1)


def invoke(*arguments):
    return CliRunner().invoke(app, ["review", *map(str, arguments)])


def test_writing_without_a_page_says_where_the_files_are(run):
    result = invoke(run, "--write", "--formats", "relion,csv")
    assert result.exit_code == 0
    assert re.search(r"^Wrote .*p/review/particles\.star$", result.stdout, flags=re.MULTILINE)
    assert re.search(r"^Picks +20$", result.stdout, flags=re.MULTILINE)
    assert (run / "review/particles/csv").is_dir()
    assert not (run / "review/particles/box").exists()


def test_a_port_in_use_is_one_clear_line(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke(run, "--port", port)
    assert result.exit_code == 2
    assert f"--port {port}: in use by another program" in result.stderr


def test_a_host_that_is_not_of_this_machine_is_told_of(run):
    result = invoke(run, "--host", "192.0.2.1")
    assert result.exit_code == 2
    assert "--host 192.0.2.1" in result.stderr


@pytest.mark.slow
def test_it_says_how_to_open_the_page_and_ctrl_c_ends_it(run):
    served = Served(run)
    assert re.fullmatch(r"http://localhost:\d+/\?token=[\w-]{20,}", served.url())
    assert served.interrupt() == 0
    assert re.search(r"ssh -N -L (\d+):127\.0\.0\.1:\1 \S+@\S+", "".join(served.lines))
    assert not (run / "review/particles.star").exists()  # nothing was changed


@pytest.mark.slow
def test_any_host_but_this_machine_alone_is_warned_of(run):
    served = Served(run, "--host", "0.0.0.0")
    served.url()
    assert served.interrupt() == 0
    assert "lets others on the network try" in "".join(served.lines)
