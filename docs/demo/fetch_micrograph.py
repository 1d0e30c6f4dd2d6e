"""Fetch a real micrograph: test data in the source distribution of mrcfile 1.5.4 (BSD licence).

Usage: python fetch_micrograph.py FOLDER

Prints the path of ``epu2.9_example.mrc``, as an EPU session at a Falcon detector wrote it (M. Saur, Astex). Fails with
a reason where the package registry does not answer.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REQUIREMENT = "mrcfile==1.5.4"
MEMBER = "mrcfile-1.5.4/tests/test_data/epu2.9_example.mrc"


def fetch(folder: Path) -> Path:
    """Download the micrograph into ``folder`` unless it is there, and return its path."""
    target = folder / Path(MEMBER).name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", temporary, REQUIREMENT]
        finished = subprocess.run([sys.executable, "-m", "pip", *download], capture_output=True, text=True, check=False)
        archives = list(Path(temporary).glob("*.tar.gz"))
        if finished.returncode or not archives:
            reasons = finished.stderr.strip().splitlines() or ["no archive came"]
            sys.exit(f"{REQUIREMENT} cannot be downloaded: {reasons[-1]}")
        with tarfile.open(archives[0]) as archive:
            content = archive.extractfile(MEMBER)
            assert content is not None
            (Path(temporary) / target.name).write_bytes(content.read())
        (Path(temporary) / target.name).replace(target)
    return target


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
