"""How surely images tell which way up picks are: the self-test of ``cryotx check`` on labelled micrographs.

    python benchmarks/orientation.py DATA

DATA is a CryoPPP tree. Every micrograph with 50 or more labels is judged by itself: its labels as they are, flipped,
mirrored, swapped, and as many random places, for which any verdict is wrong.
"""

import argparse
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from cryotx_cli.checks.evidence import ORIENTATIONS, measure_fit
from cryotx_cli.datasets.cryoppp import CryopppMicrograph, find_labelled_micrographs
from cryotx_cli.micrographs.micrograph import read_micrograph
from machine import describe_machine

MIN_LABELS = 50


def judge(micrograph: CryopppMicrograph, rng: np.random.Generator) -> tuple[Counter[str], float, float]:
    image, centres = read_micrograph(micrograph.file, 1.0).image, micrograph.read_particles().centres
    height, width = image.shape
    x, y = centres.T
    pairs = ((x, y), (x, height - 1 - y), (width - 1 - x, y), (y, x))
    right: Counter[str] = Counter(micrographs=1)
    least, seconds = np.inf, 0.0
    for name, pair in zip(ORIENTATIONS, pairs, strict=True):
        started = time.process_time()
        fit = measure_fit(image, np.column_stack(pair))
        seconds += time.process_time() - started
        assert fit is not None
        right[name] += fit.orientation == name and fit.offset is None
        least = min(least, fit.evidence[name])
    by_chance = measure_fit(image, rng.random((len(centres), 2)) * (width, height))
    assert by_chance is not None
    right["false alarms"] += by_chance.orientation is not None or by_chance.offset is not None
    return right, least, seconds / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    rng = np.random.default_rng(1)
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    least: defaultdict[str, float] = defaultdict(lambda: np.inf)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for micrograph in find_labelled_micrographs(data):
        if micrograph.labels and len(micrograph.read_particles()) >= MIN_LABELS:
            right, evidence, taken = judge(micrograph, rng)
            for one in (micrograph.dataset, "all"):
                sums[one] += right
                least[one] = min(least[one], evidence)
                seconds[one].append(taken)
    print(describe_machine("numpy"))
    columns = ("micrographs", *ORIENTATIONS, "false alarms")
    print(f"{'set':8}" + "".join(f"{name:>14}" for name in columns) + f"{'least z':>10}{'CPU s':>8}")
    for one, right in sorted(sums.items()):
        counts = "".join(f"{right[name]:14}" for name in columns)
        print(f"{one:8}{counts}{least[one]:10.1f}{np.median(seconds[one]):8.2f}")


if __name__ == "__main__":
    main()
