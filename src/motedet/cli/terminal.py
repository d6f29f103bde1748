"""What every verb does before it starts."""

import logging
import warnings


def quiet_libraries() -> None:
    """Keep other libraries' chatter out of our output; their errors still come through."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "timm", "PIL"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def set_threads(threads: int) -> None:
    """Use so many CPU threads; 0 leaves the choice to torch."""
    if threads > 0:
        import torch

        torch.set_num_threads(threads)
