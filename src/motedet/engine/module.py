"""The training step as Lightning sees it."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from motedet.data import Batch, ImageRecord
from motedet.engine.evaluate import SHOWN, Scoring, batch_results
from motedet.engine.schedules import build_optimizer, build_scheduler
from motedet.errors import TrainingError
from motedet.metrics import coco_results
from motedet.models.detectors import Detector
from motedet.recipes import TrainSpec
from motedet.structures import Detections


class DetectorModule(L.LightningModule):
    """A detector with its optimiser and its validation.

    Args:
        detector: what is trained.
        spec: how.
        steps_per_epoch: optimiser steps in one epoch.
        scoring: the ground truth and protocol of the validation images.
        tiled: looks at a validation image in windows; None for batches of whole images.
    """

    def __init__(
        self,
        detector: Detector,
        spec: TrainSpec,
        *,
        steps_per_epoch: int,
        scoring: Scoring,
        tiled: Callable[[ImageRecord], Detections] | None = None,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.spec = spec
        self.steps_per_epoch = steps_per_epoch
        self.scoring = scoring
        self.tiled = tiled
        self.results: list[dict[str, Any]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum of the detector's losses.

        Raises:
            TrainingError: if it is not finite, before any weight has changed.
        """
        losses = self.detector.loss(self._ready(batch.images), batch.targets)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            shown = ", ".join(f"{name} {float(value):g}" for name, value in losses.items())
            raise TrainingError(
                f"the loss is not finite ({shown}) in epoch {self.current_epoch}, batch "
                f"{batch_idx}, images {list(batch.image_ids)}; the weights of the last good "
                "step are kept. Look at these images, or lower train.optimizer.lr, set "
                "train.clip_norm, or use train.precision=32."
            )
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        size = len(batch.images)
        self.log("lr", lr, prog_bar=True, batch_size=size)
        self.log("loss", total.detach(), prog_bar=True, batch_size=size, sync_dist=True)
        terms = {name: value.detach() for name, value in losses.items()}
        self.log_dict(terms, prog_bar=True, batch_size=size, sync_dist=True)
        return total

    def validation_step(self, batch: Batch | ImageRecord, batch_idx: int) -> None:
        """Collect detections in pixels of the image files."""
        if isinstance(batch, ImageRecord):
            if self.tiled is not None:
                found, ids = self.tiled(batch), self.scoring.category_ids
                self.results += coco_results(found, batch.image_id, ids)
            return
        detections = self.detector.predict(self._ready(batch.images), batch.image_sizes)
        self.results += batch_results(batch, detections, self.scoring.category_ids)

    def on_validation_epoch_end(self) -> None:
        """Score what was collected, over all processes."""
        results, self.results = gather(self.results), []
        if self.trainer.sanity_checking:
            return
        scores = self.scoring(results)
        shown = {k: v for k, v in scores.values.items() if k in SHOWN}
        self.log_dict(shown, prog_bar=True, sync_dist=False)
        self.log_dict({k: v for k, v in scores.values.items() if k not in shown})

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own mapping
        """The recipe's optimiser, and its learning-rate curve by steps."""
        optimizer = build_optimizer(self.spec.optimizer, self.detector)
        scheduler = build_scheduler(
            self.spec.schedule,
            optimizer,
            steps=self.spec.num_steps(self.steps_per_epoch),
            steps_per_epoch=self.steps_per_epoch,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def transfer_batch_to_device(
        self, batch: Batch | ImageRecord, device: torch.device, dataloader_idx: int
    ) -> Batch | ImageRecord:
        """Batches know how to move themselves; records are read where they are looked at."""
        return batch.to(device) if isinstance(batch, Batch) else batch

    def _ready(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in the memory format that the recipe asks for."""
        if self.spec.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images


def gather(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of all processes, in the order of the processes."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return results
    shares: list[list[dict[str, Any]]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(shares, results)
    return [result for share in shares for result in share]
