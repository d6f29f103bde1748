"""What happens between the steps: averaging, saving, stopping on Ctrl-C."""

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor

from motedet.checkpoints import save_weights
from motedet.engine.loaders import GlobalBatches
from motedet.engine.run_folder import RunFolder
from motedet.errors import TrainingError

SAVE_SECONDS = 600.0  # at most this much work is lost when a process is killed

logger = logging.getLogger(__name__)


class InterruptedTrainingError(TrainingError):
    """Training was stopped on request, after everything was saved."""


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, short at first: decay (1 + n) / (10 + n)."""

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=warm_average(decay))

    def weights(self) -> dict[str, Tensor]:
        """The averaged state of the Lightning module."""
        if self._average_model is None:
            raise TrainingError("the moving average has no weights before training starts")
        return dict(self._average_model.module.state_dict())


def warm_average(
    decay: float,
) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """The averaging function, in place, of a moving average whose decay grows with the steps."""

    def average_(averaged: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        if not averaged[0].is_floating_point():  # counters of batch-norm
            for old, new in zip(averaged, current, strict=True):
                old.copy_(new)
            return
        n = float(steps)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return average_


class Saving(Callback):
    """Keeps `last` and `best` weights and the state from which training can go on exactly.

    Args:
        folder: of the run.
        batches: the sampler, which is told where to go on.
        describe: recipe as JSON, and the class names, which go inside the weights.
        average: the callback that averages weights, if there is one; it must run before this one.
        steps: optimiser steps after which training ends, be it amid an epoch.
        headline: the score by which weights are the best.
    """

    def __init__(
        self,
        folder: RunFolder,
        batches: GlobalBatches,
        *,
        describe: tuple[str, tuple[str, ...]],
        average: MovingAverage | None,
        steps: int,
        headline: str,
    ) -> None:
        self.folder = folder
        self.batches = batches
        self.describe = describe
        self.average = average
        self.steps = steps
        self.headline = headline
        self.position = (0, 0)
        self.best_ap = -1.0
        self.saved_at = time.monotonic()
        self.stop_asked = False
        self.handler: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on Ctrl-C ends the step first; a second one stops at once."""

        def ask(_number: int, _frame: FrameType | None) -> None:
            if self.stop_asked:
                raise KeyboardInterrupt
            self.stop_asked = True
            logger.warning("stopping after this step; press Ctrl-C again to stop at once")

        try:
            self.handler = signal.signal(signal.SIGINT, ask)
        except ValueError:  # not in the main thread: then Ctrl-C does not reach us either
            logger.debug("Ctrl-C is not handled outside the main thread")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)
            self.handler = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch that was broken off goes on without its start."""
        _validate_the_last_epoch(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the sampler."""
        self.batches.set_epoch(trainer.current_epoch)
        _validate_the_last_epoch(trainer)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Save every ten minutes, and before stopping; after the last step, end the epoch."""
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches or done >= trainer.num_training_batches:
            return
        if trainer.global_step >= self.steps:
            trainer.should_stop = True  # Lightning validates, and calls on_train_epoch_end
            return
        self.position = (trainer.current_epoch, done)
        due = time.monotonic() - self.saved_at > SAVE_SECONDS
        stop = self.stop_asked
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if due or stop:
            self._save(trainer, pl_module)
        if stop:
            raise InterruptedTrainingError(self._stopped())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, and note whether the validation was the best."""
        self.position = (trainer.current_epoch + 1, 0)
        ap = float(trainer.callback_metrics.get(self.headline, -1.0))
        better = self.headline in trainer.callback_metrics and (
            ap > self.best_ap or not self.folder.best.exists()
        )
        self.best_ap = max(ap, self.best_ap)
        self._save(trainer, pl_module)
        if better and trainer.is_global_zero:
            self._export(self.folder.best, pl_module)
        if self.stop_asked and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            raise InterruptedTrainingError(self._stopped())

    def state_dict(self) -> dict[str, Any]:
        """Where to go on."""
        return {"position": list(self.position), "best_ap": self.best_ap}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the state was saved."""
        epoch, start = state_dict["position"]
        self.position = (epoch, start)
        self.best_ap = state_dict["best_ap"]
        self.batches.set_epoch(epoch)
        self.batches.start = start

    def _stopped(self) -> str:
        return f"stopped on request; everything is in {self.folder.root}, go on with --resume"

    def _save(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The full state and the last weights, each under a temporary name first."""
        temporary = self.folder.state.with_name(".last.ckpt.new")  # one name for all processes
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self.folder.state)
            self._export(self.folder.last, module)
        self.saved_at = time.monotonic()

    def _export(self, path: Path, module: L.LightningModule) -> None:
        state = self.average.weights() if self.average else module.state_dict()
        prefix = "detector."
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        recipe_json, classes = self.describe
        save_weights(path, weights, recipe_json=recipe_json, classes=classes)


def _validate_the_last_epoch(trainer: L.Trainer) -> None:
    """Whatever the interval."""
    if trainer.current_epoch + 1 == trainer.max_epochs:
        trainer.check_val_every_n_epoch = 1
