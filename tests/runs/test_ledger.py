"""The ledger on disk: its keys, and lines of earlier versions."""

import json

from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.ledger import LedgerRow

ROW = LedgerRow(0, "m.mrc", "/data/m.mrc", "m", "key", picks=7, dropped_at_border=3, dropped_beside_better=2)
KEYS = {
    "index", "micrograph", "path", "stem", "key", "read_seconds", "prepare_seconds", "pick_seconds", "write_seconds",
    "seconds", "candidates", "picks", "edge", "distance", "error", "defocus",
    "expected_false", "relion", "from_run", "size", "modified", "checksum",
}  # fmt: skip


def test_the_keys_are_those_of_the_documentation_and_read_back(tmp_path):
    folder = PickFolder(tmp_path / "p.star")
    folder.ledger.start([ROW])
    line = json.loads(folder.ledger.path.read_text())
    assert line.keys() == KEYS
    assert (line["edge"], line["distance"]) == (3, 2)
    assert folder.ledger.read() == {"m.mrc": ROW}


def test_what_is_no_line_of_a_ledger_is_left_out(tmp_path):
    folder = PickFolder(tmp_path / "p.star")
    folder.ledger.start([ROW])
    for line in ("[1]", "7", '{"index": 1}', '{"index": 1, "micr'):
        with folder.ledger.path.open("a") as file:
            file.write(f"{line}\n")
    assert list(folder.ledger.read()) == ["m.mrc"]
