"""A run, and a review of it in this process."""

import pytest

from cryotx_cli.config import ReviewConfig
from cryotx_cli.workflows.review import review
from reviewed_run import copied_run, make_run


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
