import pytest
import torch

from motedet.engine.callbacks import warm_average


def test_the_average_is_short_at_first_and_long_later() -> None:
    average = warm_average(0.9)
    for steps, decay in ((0, 0.1), (10, 0.55), (1000, 0.9)):
        averaged = [torch.zeros(3), torch.ones(2)]
        average(averaged, [torch.ones(3), torch.ones(2)], torch.tensor(steps))
        assert averaged[0].tolist() == pytest.approx([1 - decay] * 3)
        assert averaged[1].tolist() == pytest.approx([1.0, 1.0])


def test_counters_are_copied() -> None:
    averaged = [torch.tensor(3)]
    warm_average(0.9)(averaged, [torch.tensor(7)], 5)
    assert averaged[0].item() == 7
