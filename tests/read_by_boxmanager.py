"""Print as JSON what napari-boxmanager reads in a file of coordinates: ``python read_by_boxmanager.py FILE``.

Run by a Python that has it: ``pip install --no-deps napari-boxmanager`` with pystardb, pandas below 2.2, numpy 1.23,
scipy, matplotlib, mrcfile, tifffile and tqdm. napari and its window, which reading does not need, are left out.
"""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock


def reader_of(file: Path):
    """Return the function of napari-boxmanager that reads a file with this suffix."""
    for name in ("napari", "napari.layers", "napari.utils", "napari.types", "qtpy", "qtpy.QtWidgets"):
        sys.modules[name] = MagicMock()
    (folder,) = importlib.util.find_spec("box_manager").submodule_search_locations
    package = ModuleType("box_manager")
    package.__path__ = [folder]
    window = MagicMock(OrganizeBox=MagicMock(get_metadata=lambda _: {}))
    sys.modules |= {"box_manager": package, "box_manager._qt": window}
    return importlib.import_module("box_manager.io").get_reader(file.suffix[1:])


if __name__ == "__main__":
    file = sys.argv[1]
    ((points, about, kind), *_) = reader_of(Path(file))(file)
    print(json.dumps({"kind": kind, "points": points.to_numpy().tolist(), "size": float(about["size"])}))
