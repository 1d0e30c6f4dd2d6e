"""CryoSPARC's tables."""

import warnings

import numpy as np

from cryotx_cli.files.cs_table import read_cs_table


def test_numbers_that_may_be_missing_are_read_in_silence_whatever_kind_of_nan_stands_for_them(tmp_path):
    rows = np.zeros(2, [("uid", "<u8"), ("ctf/df1_A", "<f4")])
    rows["ctf/df1_A"] = np.array([0x7FA00000, 0x3F800000], np.uint32).view(np.float32)  # a signalling NaN, and 1
    with (tmp_path / "a.cs").open("wb") as file:
        np.save(file, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_cs_table(tmp_path / "a.cs", ("uid",), "exposures", lambda event: None)
        numbers = table.optional_numbers("ctf/df1_A")
    assert np.isnan(numbers[0])
    assert numbers[1] == 1
