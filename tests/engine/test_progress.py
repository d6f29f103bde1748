import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from motedet.engine.progress import EpochBars, EpochLines


def fake_trainer(**changes: object) -> Any:  # noqa: ANN401 - stands for Lightning's trainer
    known = {"lr": torch.tensor(0.01), "AP": torch.tensor(0.25), "AP_vt": torch.tensor(0.1)}
    facts = {"current_epoch": 0, "max_epochs": 4, "is_global_zero": True, "callback_metrics": known}
    return SimpleNamespace(**(facts | changes))


def test_a_line_tells_the_mean_loss_and_the_scores(caplog: pytest.LogCaptureFixture) -> None:
    lines, trainer, module = EpochLines(), fake_trainer(), SimpleNamespace()
    caplog.set_level(logging.INFO)
    lines.on_train_start(trainer, module)  # type: ignore[arg-type]
    for loss in (1.0, 3.0):
        lines.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, None, 0)  # type: ignore[arg-type]
    lines.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert "epoch 1/4  loss 2  lr 0.01  AP 0.25" in caplog.text
    assert "AP_vt" not in caplog.text
    assert lines.losses == []


def test_other_processes_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    EpochLines().on_train_epoch_end(fake_trainer(is_global_zero=False), SimpleNamespace())  # type: ignore[arg-type]
    assert caplog.text == ""


def test_bars_count_epochs_from_one() -> None:
    bars = EpochBars()
    bars._trainer = fake_trainer()
    assert bars._get_train_description(0) == "epoch 1/4"


def test_the_bar_of_an_epoch_that_ends_early_is_shorter() -> None:
    bars = EpochBars(steps=5)
    facts = {"num_training_batches": 3, "accumulate_grad_batches": 1, "current_epoch": 1}
    bars._trainer = fake_trainer(**facts)
    assert bars.total_train_batches == 2
