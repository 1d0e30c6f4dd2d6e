"""Pick a folder in this process and print, as JSON, when micrographs were done and what the ledger says."""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from cryotx_cli.config import PickConfig
from cryotx_cli.workflows.pick import start_pick

STAGES = ("read", "prepare", "pick", "write")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--diameter", type=float, required=True, help="in Å")
    parser.add_argument("--pictures", action="store_true", help="and the report")
    arguments = parser.parse_args()
    config = PickConfig(
        diameter=arguments.diameter,
        device=arguments.device,
        contrast="dark",
        images=arguments.pictures,
        report=arguments.pictures,
    )
    out = arguments.folder / "out" / "p.star"
    done = []
    for result in start_pick([arguments.folder / "*.mrc"], out, config):
        assert result.error is None, result.error
        done.append(time.perf_counter())
    half = len(done) // 2
    rows = [json.loads(line) for line in (out.with_suffix("") / "ledger.jsonl").read_text().splitlines()]
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    told = {stage: float(np.median([row[f"{stage}_seconds"] for row in rows])) for stage in STAGES}
    told |= {
        "micrographs": len(done),
        "rate": (len(done) - half) / (done[-1] - done[half - 1]),
        "after_first": time.perf_counter() - done[0],
        "host": max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
