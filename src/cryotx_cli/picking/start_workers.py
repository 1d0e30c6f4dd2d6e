"""Who picks the micrographs of a run: what its settings name."""

from __future__ import annotations

from cryotx_cli.config import device_names
from cryotx_cli.detector.load_picker import LoadedPicker
from cryotx_cli.events import Tell
from cryotx_cli.picking.cluster import Cluster, Connection
from cryotx_cli.picking.core_threads import CoreThreads
from cryotx_cli.picking.device_processes import DeviceProcesses
from cryotx_cli.picking.local_threads import LocalThreads
from cryotx_cli.picking.workers import Workers, WorkerSettings


def start_workers(connection: Connection | None, settings: WorkerSettings, loaded: LoadedPicker, tell: Tell) -> Workers:
    """Return the workers of a cluster, a process for each of several devices, or threads of this process.

    Parameters
    ----------
    connection
        To the cluster, if there is one.
    settings
        What they need to know.
    loaded
        The picker, for this process.
    tell
        Hears of workers that are lost.
    """
    if connection is not None:
        return Cluster(connection, settings, tell)
    devices = device_names(settings.device)
    if len(devices) > 1:
        return DeviceProcesses(devices, settings, tell)
    threads = CoreThreads if loaded.picker.locates_at_once else LocalThreads
    return threads(settings, loaded.picker, loaded.device_reason)
