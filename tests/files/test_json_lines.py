"""Files of one JSON object a line."""

import pytest

from cryotx_cli.files.json_lines import append_json_line, read_json_lines, write_json_lines


def test_lines_are_added_and_read_in_their_order(tmp_path):
    path = tmp_path / "new/ledger.jsonl"
    assert read_json_lines(path) == []
    write_json_lines(path, [{"a": 1}, {"a": 2}])
    append_json_line(path, {"name": "Größe"})
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}, {"name": "Größe"}]
    write_json_lines(path, [{"b": 0}])
    assert path.read_text() == '{"b": 0}\n'


@pytest.mark.parametrize("line", ['{"a": ', "", "[1, 2]", "5", "null"])
def test_what_is_no_object_is_left_out(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n{{"a"')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
