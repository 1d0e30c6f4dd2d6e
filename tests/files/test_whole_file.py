"""Files appear whole or not at all, and what stood there before stays until then."""

import json
from io import TextIOBase
from pathlib import Path

import pytest

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.whole_file import whole_binary_file, whole_file, whole_path, write_json


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new/folder/file.bin"
    with whole_path(path) as unfinished:
        unfinished.write_bytes(b"half")
        assert not path.exists()
        assert unfinished.parent == path.parent  # a rename is atomic within one file system
    assert path.read_bytes() == b"half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("writer", [whole_path, whole_file, whole_binary_file])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_the_earlier_file_alone(tmp_path, writer, error):
    path = tmp_path / "file"
    path.write_text("earlier")
    with pytest.raises(error), writer(path) as opened:
        raise _half_written(opened, error)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def _half_written(opened, error):
    if isinstance(opened, Path):
        opened.write_text("new")
    else:
        opened.write("new" if isinstance(opened, TextIOBase) else b"new")
    return error


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ParticleFileError, match=r"file/inner\.txt cannot be written"),
        whole_file(tmp_path / "file/inner.txt"),
    ):
        pass
    with pytest.raises(OSError, match=r"file"), whole_path(tmp_path / "file/inner.txt"):
        pass


def test_any_name_can_be_written(tmp_path):
    with whole_file(tmp_path / "names") as file:
        file.write("\udcff\n")
    assert (tmp_path / "names").read_bytes() == b"\xff\n"


def test_json_is_for_people_too(tmp_path):
    write_json(tmp_path / "numbers.json", {"f1": 0.5})
    text = (tmp_path / "numbers.json").read_text()
    assert json.loads(text) == {"f1": 0.5}
    assert text == '{\n  "f1": 0.5\n}\n'
