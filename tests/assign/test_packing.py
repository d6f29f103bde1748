import torch

from motedet.assign.packing import NOTHING, keep_lowest, pack, packed_index, packed_value


def test_keys_sort_by_value_then_index() -> None:
    inf, nan = torch.inf, torch.nan
    values = torch.tensor([3.0, -inf, 0.0, -0.0, -2.5, inf, nan, -1e-40, 3.0])
    index = torch.tensor([7, 1, 4, 2, 1, 9, 8, 1, 3])
    order = pack(values, index).argsort()
    assert index[order].tolist() == [1, 1, 1, 2, 4, 3, 7, 8, 9]
    assert (pack(values, index) < NOTHING).all()


def test_a_key_gives_back_what_was_packed() -> None:
    values = torch.tensor([3.5, -2.25, 0.0, 1e30, torch.inf])
    index = torch.tensor([0, (1 << 31) - 1, 5, 6, 7])
    key = pack(values, index)
    assert torch.equal(packed_value(key), values)
    assert torch.equal(packed_index(key), index)
    assert packed_value(torch.tensor([NOTHING])).item() == torch.inf


def test_keep_lowest_of_none() -> None:
    best = torch.full((2, 3), NOTHING)
    nothing = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(keep_lowest(best, nothing, nothing), best)
    assert keep_lowest(best[:0], nothing, nothing).shape == (0, 3)


def test_keep_lowest_by_hand() -> None:
    best = torch.tensor([[5, NOTHING], [1, 2]])
    got = keep_lowest(best, torch.tensor([9, 4, 5, 3, 0]), torch.tensor([0, 0, 0, 1, 1]))
    assert got.tolist() == [[4, 5], [0, 1]]  # 5 is known already and counts once
