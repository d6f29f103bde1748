"""TinyDet's random transforms and learning rates against stored reference values.

Its images are blue, green, red and its boxes count their last pixel (`golden_tinydet.half_open`).
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_tinydet import LAST_PIXEL, Array, arrays, assert_close, half_open
from motedet.data.sample import Sample
from motedet.data.scale_match.shrinking import resize_pixels
from motedet.data.transforms import (
    Expand,
    HorizontalFlip,
    MinIoUCrop,
    Normalise,
    Pad,
    PhotometricDistortion,
)
from motedet.engine.schedules import lr_factor
from motedet.geometry.boxes import clip_boxes
from motedet.recipes import ScheduleSpec

AUG = arrays("aug")
LR = arrays("lr")
CASES = range(6)
PUBLISHED_CROP = MinIoUCrop(overlap="iou", objects="all", margin="reversed", plus_one=True)
TOLERANCE = 1e-3
SIZE = (24, 40)
NO_DRAWS = torch.Generator()


def case_input(case: int) -> Sample:
    image = planes(AUG[f"s{case}.in.img"])
    size = (image.shape[1], image.shape[2])
    return Sample(
        image=image,
        boxes=half_open(AUG[f"s{case}.in.boxes"]),
        labels=torch.from_numpy(AUG[f"s{case}.in.labels"]),
        ignore_boxes=torch.zeros(0, 4),
        image_id=case,
        original_size=size,
        image_size=size,
        padded_size=size,
    )


def planes(image: Array) -> Tensor:
    """[3, H, W] RGB of [H, W, 3] blue, green, red."""
    return torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)


def photometric(sample: Sample, state: np.random.RandomState) -> Sample:
    return replace(sample, image=PhotometricDistortion().distort(sample.image, state))


def expand(sample: Sample, state: np.random.RandomState) -> Sample:
    return sample if state.randint(2) else Expand().with_draws(sample, state)


def resize(sample: Sample) -> Sample:
    """As published: the numbers of a box's first and last pixel are multiplied."""
    height, width = sample.image_size
    ratio = torch.tensor([SIZE[1] / width, SIZE[0] / height] * 2)  # [4]
    numbers = clip_boxes((sample.boxes - LAST_PIXEL) * ratio, (SIZE[0] - 1, SIZE[1] - 1))
    return replace(
        sample,
        image=resize_pixels(sample.image, SIZE, antialias=False),
        boxes=numbers + LAST_PIXEL,
        image_size=SIZE,
        padded_size=SIZE,
    )


def check(sample: Sample, step: str) -> None:
    prefix = f"s{sample.image_id}.{step}"
    assert [*sample.image.shape[1:], 3] == AUG[f"{prefix}.shape"].tolist()
    assert sample.labels.tolist() == AUG[f"{prefix}.labels"].tolist()
    assert_close(sample.boxes - LAST_PIXEL, AUG[f"{prefix}.boxes"], TOLERANCE)
    flat = sample.image.double()
    stats = [flat.mean(), flat.std(correction=0), flat.abs().sum(), flat.amin(), flat.amax()]
    assert_close(torch.stack(stats), AUG[f"{prefix}.img_stats"], TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_the_chain_of_transforms(case: int) -> None:
    state = np.random.RandomState(int(AUG[f"s{case}.numpy_seed"]))
    sample = photometric(case_input(case), state)
    check(sample, "photo")
    sample = expand(sample, state)
    check(sample, "expand")
    sample = PUBLISHED_CROP.with_draws(sample, state)
    check(sample, "crop")
    sample = resize(sample)
    check(sample, "resize")
    flipped = state.rand() < 0.5
    assert flipped == AUG[f"s{case}.flip_flag"]
    sample = HorizontalFlip(prob=float(flipped))(sample, NO_DRAWS)
    check(sample, "flip")
    sample = Normalise()(sample, NO_DRAWS)
    check(sample, "norm")
    sample = Pad()(sample, NO_DRAWS)
    check(sample, "pad")
    final = torch.from_numpy(AUG[f"s{case}.final.img"]).permute(2, 0, 1)  # [3, H, W]
    assert_close(sample.image, final.numpy(), TOLERANCE)


@pytest.mark.parametrize(("key", "lr"), [("S", 0.35), ("L", 0.18)])
def test_learning_rates(key: str, lr: float) -> None:
    spec = ScheduleSpec(
        kind="cosine", per="epoch", final_factor=1e-5 / lr, warmup_steps=500, warmup_factor=1 / 3
    )
    per_epoch = int(LR["iters_per_epoch"])
    factor = lr_factor(spec, steps=240 * per_epoch, steps_per_epoch=per_epoch)
    epochs, steps, expected = LR[f"{key}.epoch_iter_lr"].T
    assert (epochs == steps // per_epoch).all()
    found = [lr * factor(int(step)) for step in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)
