"""A run, and a review of it in this process."""

import pytest

from cryotx_cli.config import ReviewConfig
from cryotx_cli.workflows.review import review
from reviewed_run import Served, copied_run, make_run, open_browser


@pytest.fixture(scope="session")
def picked(tmp_path_factory):
    """A run that nobody changes."""
    return make_run(tmp_path_factory.mktemp("picked"))


@pytest.fixture
def run(picked, tmp_path):
    """A run of one's own, with its micrographs."""
    return copied_run(picked, tmp_path / "work")


@pytest.fixture
def opened(run):
    found = review([str(run)], ReviewConfig())
    yield found
    found.close()


@pytest.fixture(scope="session")
def chromium():
    handle, browser = open_browser()
    yield browser
    browser.close()
    handle.stop()


@pytest.fixture
def served(run):
    found = Served(run)
    yield found
    found.kill()
