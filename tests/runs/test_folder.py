"""The folder of a run: what trying it leaves behind."""

import errno
from pathlib import Path

import pytest

from cryotx_cli.errors import CryotxError
from cryotx_cli.runs.folder import PickFolder


def test_a_full_disk_is_told_and_nothing_is_left_of_trying_it(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CryotxError, match=r"cannot write there \(No space left on device\)"):
        PickFolder(tmp_path / "p.star")
    assert list(tmp_path.iterdir()) == []
