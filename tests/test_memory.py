"""Memory that is free again goes back to the system."""

import subprocess
import sys
from pathlib import Path

import pytest

MEASURED = """
import numpy as np
from pathlib import Path
from cryotx_cli.memory import release_large_blocks

if {released}:
    release_large_blocks()
# The library learns from blocks that are given back: after one of 30 MB it keeps those of that size.
np.ones(30 << 17)
blocks = [np.ones(8 << 17) for _ in range(9)]
kept, blocks = blocks[8], None
words = Path("/proc/self/status").read_text().split()
print(int(words[words.index("VmRSS:") + 1]) >> 10)
"""


def resident_mib(released: bool) -> int:
    finished = subprocess.run(
        [sys.executable, "-c", MEASURED.format(released=released)], capture_output=True, check=True, text=True
    )
    return int(finished.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks the kernel of Linux what a process takes")
def test_large_blocks_that_are_free_are_given_back_though_one_behind_them_is_used():
    assert resident_mib(released=True) < resident_mib(released=False) - 40
