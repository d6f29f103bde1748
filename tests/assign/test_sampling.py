import pytest
import torch
from torch import Tensor

from motedet.assign import Drawn, RandomSampler
from motedet.structures import BACKGROUND, IGNORED

SAMPLER = RandomSampler(num=20, pos_fraction=0.25)


def row(positives: int, negatives: int, ignored: int = 0, *, seed: int = 0) -> Tensor:
    """[N] gt_index of one image, in random order."""
    generator = torch.Generator().manual_seed(seed)
    values = [7] * positives + [BACKGROUND] * negatives + [IGNORED] * ignored
    order = torch.randperm(len(values), generator=generator)
    return torch.tensor(values, dtype=torch.int64)[order]


def counts(sample: Drawn, gt_index: Tensor) -> list[tuple[int, int]]:
    """How much is drawn from each image, after a look at what it is."""
    assert sample.positive.dtype == sample.negative.dtype == torch.bool
    assert sample.positive.shape == sample.negative.shape == gt_index.shape
    assert (gt_index[sample.positive] >= 0).all()
    assert (gt_index[sample.negative] == BACKGROUND).all()
    pairs = zip(sample.positive.sum(1).tolist(), sample.negative.sum(1).tolist(), strict=True)
    return list(pairs)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (2, 0)])
def test_nothing_to_draw_from(shape: tuple[int, int]) -> None:
    gt_index = torch.zeros(shape, dtype=torch.int64)
    assert counts(SAMPLER(gt_index, [1] * shape[0]), gt_index) == [(0, 0)] * shape[0]


@pytest.mark.parametrize(
    ("positives", "negatives", "want"),
    [
        (0, 0, (0, 0)),
        (0, 100, (0, 20)),
        (100, 0, (5, 0)),
        (100, 100, (5, 15)),
        (3, 100, (3, 17)),
        (100, 4, (5, 4)),
        (2, 1, (2, 1)),
    ],
)
def test_how_many(positives: int, negatives: int, want: tuple[int, int]) -> None:
    gt_index = row(positives, negatives, 10)[None]
    assert counts(SAMPLER(gt_index, [3]), gt_index) == [want]


@pytest.mark.parametrize(("positives", "want"), [(0, (0, 3)), (2, (2, 6)), (5, (5, 15))])
def test_background_per_positive(positives: int, want: tuple[int, int]) -> None:
    sampler = RandomSampler(num=20, pos_fraction=0.5, neg_pos_ub=3)
    gt_index = row(positives, 100)[None]
    assert counts(sampler(gt_index, [3]), gt_index) == [want]


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_one_kind_only(fraction: float) -> None:
    gt_index = row(50, 50)[None]
    want = [(20, 0)] if fraction else [(0, 20)]
    assert counts(RandomSampler(num=20, pos_fraction=fraction)(gt_index, [3]), gt_index) == want


def test_an_image_draws_the_same_in_any_batch() -> None:
    images = torch.stack([row(30, 200, 20, seed=seed) for seed in range(5)])
    seeds = [11, 12, 13, 14, 15]
    together = SAMPLER(images, seeds)
    order = [3, 0, 4]
    mixed = SAMPLER(images[order], [seeds[i] for i in order])
    assert torch.equal(mixed.positive, together.positive[order])
    assert torch.equal(mixed.negative, together.negative[order])


@pytest.mark.parametrize("padding", [1, 15, 16, 1000])
def test_padding_changes_nothing(padding: int) -> None:
    alone = row(30, 200, 20)[None]
    padded = torch.nn.functional.pad(alone, (0, padding), value=IGNORED)
    plain, wide = SAMPLER(alone, [5]), SAMPLER(padded, [5])
    assert torch.equal(wide.positive[:, :250], plain.positive)
    assert torch.equal(wide.negative[:, :250], plain.negative)


def test_seed_and_salt_make_the_difference() -> None:
    gt_index = row(100, 1000)[None]
    draws = [
        SAMPLER(gt_index, [seed], salt=salt).negative
        for seed, salt in ((1, 0), (2, 0), (1, 1), (2**40 + 1, 0), (-1, 0), (11, 0), (1, 10))
    ]
    assert torch.equal(SAMPLER(gt_index, [1]).negative, draws[0])
    for number, one in enumerate(draws):
        for other in draws[:number]:
            assert not torch.equal(one, other)


def test_global_random_state_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    gt_index = row(100, 100)[None]
    first = SAMPLER(gt_index, [1]).positive
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(SAMPLER(gt_index, [1]).positive, first)


def test_everything_is_drawn_about_as_often() -> None:
    gt_index = row(40, 60)[None].repeat(4000, 1)
    sample = SAMPLER(gt_index, range(4000))
    for drawn, candidates, expected in (
        (sample.positive, gt_index[0] >= 0, 4000 * 5 / 40),
        (sample.negative, gt_index[0] == BACKGROUND, 4000 * 15 / 60),
    ):
        often = drawn.sum(0)[candidates].double()
        assert often.mean() == expected
        assert (often - expected).abs().max() < 4.5 * expected**0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_device_draws_the_same() -> None:
    gt_index = row(100, 1000)[None]
    here, there = SAMPLER(gt_index, [1]), SAMPLER(gt_index.cuda(), [1])
    assert torch.equal(here.positive, there.positive.cpu())
    assert torch.equal(here.negative, there.negative.cpu())


def test_one_seed_per_image() -> None:
    with pytest.raises(ValueError, match="1 seeds do not fit 2 images"):
        SAMPLER(torch.zeros(2, 3, dtype=torch.int64), [1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num": 0}, "num must be at least 1; got 0"),
        ({"pos_fraction": 1.5}, r"pos_fraction must be in \[0, 1\]; got 1.5"),
        ({"neg_pos_ub": -1.0}, "neg_pos_ub must be at least 0 or None; got -1.0"),
    ],
    ids=str,
)
def test_wrong_numbers(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomSampler(**wrong)  # type: ignore[arg-type]
