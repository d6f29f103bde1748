"""Devices and processes: what there is, and which of several processes this one is."""

import os

import torch

from motedet.errors import MotedetError


def is_main_process() -> bool:
    """Whether this process writes files and talks; alone, it is."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def processes_here(asked: int) -> tuple[int, int]:
    """Processes on this machine, and machines: from torchrun if it started us, else as asked."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", asked))
    world = int(os.environ.get("WORLD_SIZE", here))
    return here, max(world // here, 1)


def choose_device(name: str) -> str:
    """`cpu` or `cuda`, from what a user asked for.

    Args:
        name: "auto" takes a CUDA GPU where there is one; else "cpu" or "cuda".

    Raises:
        MotedetError: if there is no such kind of device, or none of it here.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name not in {"cpu", "cuda"}:
        raise MotedetError(f"the device must be auto, cpu or cuda; found {name!r}.")
    if name == "cuda" and not available:
        raise MotedetError("no CUDA GPU can be used here; choose cpu or auto.")
    return name
