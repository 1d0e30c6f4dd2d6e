import pytest

from report_in_browser import Browser
from runs_with_truth import write_run


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Five micrographs of dark discs, their truth, and a run that picked them."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_run(folder)
    return folder
