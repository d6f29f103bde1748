"""How training shows where it is: a bar on a terminal, a line per epoch in a log."""

import logging
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor

logger = logging.getLogger(__name__)


class EpochBars(RichProgressBar):
    """One bar per epoch, which stays: time left, losses, learning rate, scores."""

    def __init__(self) -> None:
        super().__init__(leave=True)

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
    """One logged line per epoch, which a log file can keep."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first_epoch = 0
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time counts from here, after a restart too."""
        self.started = time.monotonic()
        self.first_epoch = trainer.current_epoch

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
        """Epoch, its mean loss, learning rate, the latest scores, time spent and left."""
        mean = float(torch.stack(self.losses).mean()) if self.losses else float("nan")
        self.losses = []
        if not trainer.is_global_zero:
            return
        known = trainer.callback_metrics
        shown = {"loss": mean} | {k: float(known[k]) for k in ("lr", "AP", "AP50") if k in known}
        spent = time.monotonic() - self.started
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        left = spent / (done - self.first_epoch) * (total - done)
        values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        logger.info("epoch %d/%d  %s  %.0f s, %.0f s left", done, total, values, spent, left)
