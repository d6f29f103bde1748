import pytest
import torch
from torch.utils.data import Dataset

from motedet.engine.loaders import GlobalBatches
from motedet.errors import RecipeError


class Numbers(Dataset[int]):
    """As many items as wanted, and a memory of the epoch."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return index

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def batches(length: int, size: int, **kwargs: int) -> GlobalBatches:
    return GlobalBatches(Numbers(length), size, seed=3, **kwargs)  # type: ignore[arg-type]


def test_each_image_comes_once_and_whole_batches_only() -> None:
    seen = list(batches(10, 4))
    assert [len(b) for b in seen] == [4, 4]
    flat = [i for b in seen for i in b]
    assert len(set(flat)) == 8


def test_processes_together_see_what_one_would() -> None:
    alone = list(batches(12, 4))
    shares = [list(batches(12, 4, rank=r, world=2)) for r in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == alone


def test_epochs_differ_and_repeat() -> None:
    sampler = batches(32, 8)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert first != second
    assert sampler.dataset.epoch == 0  # type: ignore[attr-defined]


def test_start_skips_in_its_own_epoch_only() -> None:
    sampler = batches(32, 8)
    whole = list(sampler)
    sampler.start = 3
    sampler.set_epoch(0)
    assert list(sampler) == whole[3:]
    assert len(sampler) == 4
    sampler.set_epoch(1)
    assert len(list(sampler)) == 4


@pytest.mark.parametrize("length", [1, 3])
def test_small_data_sets_are_repeated_to_fill_a_batch(length: int) -> None:
    (batch,) = list(batches(length, 8))
    assert len(batch) == 8
    assert set(batch) == set(range(length))


def test_batches_that_do_not_divide_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"divide among 2 processes; found 3"):
        batches(10, 3, rank=0, world=2)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    list(batches(10, 2))
    assert torch.equal(before, torch.random.get_rng_state())
