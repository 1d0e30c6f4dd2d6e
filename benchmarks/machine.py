"""What a benchmark ran on: the lines above every table."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine(*packages: str) -> str:
    """Processor, cores, system, load and versions of Python and `packages`, cryotx first; two lines."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("cryotx-cli", *packages))
    load = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    return (
        f"machine   {processor()}, {os.cpu_count()} cores, {platform.system()}; load {load} (1, 5, 15 minutes)\n"
        f"versions  Python {platform.python_version()}, {versions}"
    )


def processor() -> str:
    """Name the processor as Linux does; elsewhere as Python knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
