"""Which of several training processes this one is, before Lightning has started any."""

import os


def is_main_process() -> bool:
    """Whether this process writes files and talks; alone, it is."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def processes_here(asked: int) -> tuple[int, int]:
    """Processes on this machine, and machines: from torchrun if it started us, else as asked."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", asked))
    world = int(os.environ.get("WORLD_SIZE", here))
    return here, max(world // here, 1)
