"""Sphinx settings: MyST pages in the furo theme."""

from importlib.metadata import version as installed_version

project = "cryotx"
author = "The cryotx authors"
copyright = "The cryotx authors"
version = release = installed_version("cryotx-cli")

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"cryotx {release}"
