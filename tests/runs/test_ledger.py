"""The ledger on disk: its keys, and lines of earlier versions."""

import json
from dataclasses import replace

from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.ledger import LedgerRow, with_film

FILM = [[[0.0, 0.0], [0.0, 20.5], [30.0, 20.5]]]
ROW = LedgerRow(
    0, "m.mrc", "/data/m.mrc", "m", "key", picks=7, dropped_at_border=3, dropped_beside_better=2, film_share=0.1,
    film=FILM,
)  # fmt: skip
KEYS = {
    "index", "micrograph", "path", "stem", "key", "read_seconds", "prepare_seconds", "pick_seconds", "write_seconds",
    "seconds", "candidates", "picks", "edge", "distance", "error", "defocus",
    "expected_false", "relion", "from_run", "size", "modified", "checksum", "film_share", "film", "ctf",
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


def test_film_is_counted_where_it_was_looked_for():
    none, older = replace(ROW, film_share=0.0, film=[]), replace(ROW, film_share=None, film=None)
    assert with_film([ROW, none, older, ROW]) == 2
    assert with_film([none]) == 0
    assert with_film([older]) is None
