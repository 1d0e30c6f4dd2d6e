"""Clocks that wait for the device, and what the parts print."""

import time
from collections.abc import Callable

import numpy as np
import torch

DIAMETER = 170.0  # Å: 4096 px of 1.0625 Å are 614 px to the network


def say(text: str) -> None:
    print(text, flush=True)


def attempt(name: str, work: Callable[[], None]) -> None:
    """Do a piece of a part; a failure is said and costs no other piece."""
    try:
        work()
    except Exception as error:
        say(f"{name}: FAILED: {type(error).__name__}: {str(error).strip()[:300]}")


def wait_for(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], device: str, budget: float = 0.25, warm_up: int = 2) -> float:
    """Seconds of one call among many that follow each other, which the host does not wait for in between."""
    for _ in range(warm_up):
        work()
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    count = int(np.clip(budget / (time.perf_counter() - started), 1, 200))
    started = time.perf_counter()
    for _ in range(count):
        work()
    wait_for(device)
    return (time.perf_counter() - started) / count
