"""How training shows where it is: a bar on a terminal, a line per epoch in a log."""

import logging
import math
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor

from motedet.engine.evaluate import SHOWN

logger = logging.getLogger(__name__)


class EpochBars(RichProgressBar):
    """One bar per epoch, which stays: time left, losses, learning rate, scores.

    Args:
        steps: optimiser steps after which training ends, if the recipe counts them.
    """

    def __init__(self, *, steps: int | None = None) -> None:
        super().__init__(leave=True)
        self.steps = steps

    @property
    def total_train_batches(self) -> int | float:
        """The length of the bar: the last epoch may end early."""
        whole, accumulate = super().total_train_batches, self.trainer.accumulate_grad_batches
        if self.steps is None or not math.isfinite(whole):
            return whole
        left = self.steps - self.trainer.current_epoch * math.ceil(whole / accumulate)
        return min(whole, left * accumulate)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if isinstance(rate := shown.get("lr"), float):
            shown["lr"] = f"{rate:.2e}"
        return shown

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs counted from 1, as in recipes."""
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"


class EpochLines(Callback):
    """One logged line per epoch, which a log file can keep.

    Args:
        steps: optimiser steps after which training ends, if the recipe counts them.
    """

    def __init__(self, *, steps: int | None = None) -> None:
        self.steps = steps
        self.started = time.monotonic()
        self.done_before = 0
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time counts from here, after a restart too."""
        self.started = time.monotonic()
        self.done_before = trainer.current_epoch if self.steps is None else trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's mapping
        batch: object,
        batch_idx: int,
    ) -> None:
        """Remember the loss, without waiting for it."""
        self.losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Epoch or step, the mean loss, learning rate, the latest scores, time spent and left."""
        mean = float(torch.stack(self.losses).mean()) if self.losses else float("nan")
        self.losses = []
        if not trainer.is_global_zero:
            return
        known = trainer.callback_metrics
        shown = {"loss": mean} | {k: float(known[k]) for k in ("lr", *SHOWN) if k in known}
        spent = time.monotonic() - self.started
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        place = f"epoch {done}/{total}"
        if self.steps is not None:
            done, total = trainer.global_step, self.steps
            place += f", step {done}/{total}"
        left = spent / max(done - self.done_before, 1) * (total - done)
        values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        logger.info("%s  %s  %.0f s, %.0f s left", place, values, spent, left)
