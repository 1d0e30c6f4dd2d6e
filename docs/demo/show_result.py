"""Say how the demo went: agreement on the simulated micrographs, and where the pictures are.

Usage: python show_result.py FOLDER

Fails if the agreement is worse than it has to be.
"""

import json
import sys
from pathlib import Path

SMALLEST_F1 = 0.85


def main(folder: Path) -> None:
    """Print the result of the demo in ``folder``."""
    total = json.loads((folder / "simulated_picks.json").read_text())["total"]
    print(f"\nSimulated micrographs: {total['matched']} of {total['truth']} particles found, F1 {total['f1']:.3f}")
    print("Pictures:")
    for picture in sorted(folder.glob("*_picks/png/**/*.png")):
        print(f"  {picture}")
    if total["f1"] < SMALLEST_F1:
        sys.exit(f"F1 is below {SMALLEST_F1}: something is wrong with this installation.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
