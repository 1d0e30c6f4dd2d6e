"""What a look at a run has shown is kept beside it."""

import json

import pytest

from cryotx_cli.runs.diagnosis import Diagnosis, drop_diagnosis, keep_diagnosis, kept_diagnosis, was_looked_at

SIZE = Diagnosis("size", "Type:\ncryotx pick m\nor\ncryotx pick n", ("cryotx pick m", "cryotx pick n"), 165.0, 0.61)


def test_what_was_found_is_read_back_and_programs_find_it_in_a_file(tmp_path):
    keep_diagnosis(tmp_path, SIZE, "key")

    assert kept_diagnosis(tmp_path) == SIZE
    assert was_looked_at(tmp_path, "key")
    assert not was_looked_at(tmp_path, "other")
    stored = json.loads((tmp_path / "diagnosis.json").read_text())["diagnosis"]
    assert (stored["fault"], stored["diameter"], stored["commands"][1]) == ("size", 165.0, "cryotx pick n")


def test_that_all_is_well_is_kept_too(tmp_path):
    keep_diagnosis(tmp_path, None, "key")

    assert kept_diagnosis(tmp_path) is None
    assert was_looked_at(tmp_path, "key")
    drop_diagnosis(tmp_path)
    assert not was_looked_at(tmp_path, "key")
    drop_diagnosis(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"key": "key", "texts": ["old"]}', '{"diagnosis": {"fault": "size"}}', '{"diagnosis": 3}']
)
def test_what_is_damaged_or_of_another_version_is_nothing(tmp_path, text):
    (tmp_path / "diagnosis.json").write_text(text)
    assert kept_diagnosis(tmp_path) is None
