"""TinyDet: Faster R-CNN from sparsely connected parts, as its recipes put them together."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from motedet.data.transforms import MinIoUCrop, RandomScale, Resize
from motedet.errors import RecipeError
from motedet.models.backbones import TinyDetBackboneSpec
from motedet.models.detectors import (
    AnyDetector,
    CascadeRCNNSpec,
    FasterRCNN,
    FasterRCNNSpec,
    RetinaNetSpec,
)
from motedet.models.heads import BoxHeadSpec
from motedet.models.necks import TinyFPNSpec
from motedet.models.ps_roi_align import PSRoIAlign
from motedet.priors import Anchors
from motedet.recipes import load_recipe
from motedet.structures import PackedTargets, Targets
from small_detectors import SIZE, scene, small_specs, small_tinydet

RECIPES = ("tinydet/s_coco", "tinydet/m_coco", "tinydet/s_best")


def _build(name: str) -> FasterRCNN:
    """Of a recipe, with few regions."""
    spec = load_recipe(name).model
    assert isinstance(spec, FasterRCNNSpec)
    few = replace(spec.rpn.train_proposals, max_per_image=60)
    sampler = replace(spec.sampler, num=32)
    rpn = replace(spec.rpn, train_proposals=few, test_proposals=few)
    torch.manual_seed(0)
    return replace(spec, rpn=rpn, sampler=sampler).build(3)


def _images(height: int, width: int, count: int = 2) -> tuple[Tensor, list[Targets]]:
    """The first with two objects, the others with none."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, height, width, generator=generator)
    boxes = torch.tensor([[10.0, 12, 30, 40], [50, 20, 62, 29]])
    empty = Targets.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (height, width))
    first = Targets.of(boxes, torch.tensor([0, 2]), (height, width))
    return images, [first, *[empty] * (count - 1)]


def _total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [(64, 128), (96, 75)], ids=["multiples of 64", "others"])
def test_all_sizes_train_and_predict(name: str, size: tuple[int, int]) -> None:
    """Beside an image without objects."""
    detector = _build(name).train()
    images, targets = _images(*size)
    total = _total(detector.loss(images, targets))
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)
    for n, parameter in detector.named_parameters():
        assert parameter.grad is not None, n
        assert torch.isfinite(parameter.grad).all(), n
    for found in detector.eval().predict(images, [size, (40, 50)]):
        assert found.boxes.isfinite().all()
        assert found.boxes.min() >= 0


@pytest.mark.parametrize("training", [False, True])
def test_images_without_objects_train(training: bool) -> None:
    detector = _build("tinydet/s_coco").train(training)
    images, targets = _images(128, 128, 3)
    losses = detector.loss(images[1:], targets[1:])
    assert losses["loss_rpn_box"] == losses["loss_box"] == 0
    assert losses["loss_rpn_cls"] > 0
    assert losses["loss_cls"] > 0
    _total(losses).backward()  # type: ignore[no-untyped-call]


def test_mining_takes_no_gradient_away() -> None:
    """In half precision too, where casts of weights are remembered."""
    grads = []
    for precision in (torch.float32, torch.bfloat16):
        detector = _build("tinydet/s_coco").eval()
        half = precision == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            total = _total(detector.loss(*_images(64, 64)))
        total.backward()  # type: ignore[no-untyped-call]
        weight = detector.get_parameter("roi_head.bbox_head.shared_fcs.0.weight")
        assert weight.grad is not None
        grads.append(weight.grad.norm())
    torch.testing.assert_close(grads[1], grads[0], rtol=0.2, atol=0)


def test_the_hardest_regions_do_not_depend_on_the_seed() -> None:
    torch.manual_seed(0)
    detector = small_tinydet().build(2).eval()
    images, targets = scene()
    first, second = (
        detector.loss(images, [replace(t, seed=seed) for t in targets]) for seed in (0, 1)
    )
    assert first["loss_cls"] == second["loss_cls"]
    assert first["loss_rpn_cls"] != second["loss_rpn_cls"]  # drawn at random


def test_mining_is_for_cascades_too() -> None:
    tiny, cascade = small_tinydet(), small_specs()["cascade_rcnn"]
    assert isinstance(cascade, CascadeRCNNSpec)
    neck = TinyFPNSpec(out_channels=50, groups=(5, 1, 1))
    spec = replace(cascade, neck=neck, rpn=tiny.rpn, pool=tiny.pool, sampler=tiny.sampler)
    losses = spec.build(2).train().loss(*scene())
    _total(losses).backward()  # type: ignore[no-untyped-call]
    assert {"loss_cls_0", "loss_cls_2", "loss_box_2"} <= set(losses)


def test_backbone_and_neck_serve_dense_detectors() -> None:
    spec = RetinaNetSpec(
        backbone=TinyDetBackboneSpec(),
        neck=TinyFPNSpec(),
        priors=Anchors(strides=(8, 16, 32, 64)),
    )
    images, targets = scene()
    assert torch.isfinite(_total(spec.build(2).train().loss(images, targets)))
    assert spec == TypeAdapter(AnyDetector).validate_python(
        {
            "kind": "retinanet",
            "backbone": {"kind": "tinydet"},
            "neck": {"kind": "tiny_fpn"},
            "priors": {"kind": "anchors", "strides": [8, 16, 32, 64]},
        }
    )


def test_channels_that_do_not_fit_the_bins_are_named() -> None:
    spec = replace(small_tinydet(), neck=TinyFPNSpec(out_channels=40, groups=(5, 1, 1)))
    with pytest.raises(RecipeError, match=r"out_channels=40 is no multiple of 5 x 5 bins"):
        spec.build(2)


def test_a_region_has_as_many_values_as_the_neck_has_channels() -> None:
    detector = replace(small_tinydet(), head=BoxHeadSpec(channels=16, num_fcs=1)).build(2)
    weight = detector.get_parameter("roi_head.bbox_head.shared_fcs.0.weight")
    assert weight.shape == (16, 50)
    assert detector(torch.zeros(1, 3, SIZE, SIZE)).second.deltas.shape[1] == 8


# What the recipes say.


@pytest.mark.parametrize(
    ("name", "size", "lr"),
    [("tinydet/s_coco", 320, 0.35), ("tinydet/m_coco", 320, 0.35), ("tinydet/l_coco", 512, 0.18)],
)
def test_published_recipes_have_what_shaped_their_numbers(name: str, size: int, lr: float) -> None:
    recipe = load_recipe(name)
    spec, train = recipe.model, recipe.train
    assert isinstance(spec, FasterRCNNSpec)
    assert isinstance(spec.pool, PSRoIAlign)
    assert not spec.pool.half_pixel
    assert spec.postprocess.keep == spec.rpn.train_proposals.keep == 1
    assert spec.rpn.allowed_border == 0.5
    assert not recipe.data.keep_empty
    assert recipe.published == ({"AP": 30.3, "AP_s": 13.5} if name.endswith("m_coco") else {})
    assert Resize(size=(size, size)) in recipe.data.train_transforms
    assert MinIoUCrop(overlap="iou", objects="all", margin="reversed", plus_one=True) in (
        recipe.data.train_transforms
    )
    assert (train.epochs, train.optimizer.lr, train.clip_norm) == (240, lr, 35)
    assert train.schedule.per == "epoch"
    assert train.schedule.final_factor * lr == pytest.approx(1e-5)
    assert train.ema_decay is None


def test_the_recommended_recipe_leaves_the_oddities_off() -> None:
    recipe = load_recipe("tinydet/s_best")
    spec = recipe.model
    assert isinstance(spec, FasterRCNNSpec)
    assert isinstance(spec.pool, PSRoIAlign)
    assert spec.pool.half_pixel
    assert spec.postprocess.keep == spec.rpn.train_proposals.keep == 0
    assert spec.rpn.allowed_border is None
    assert recipe.data.keep_empty
    assert MinIoUCrop() in recipe.data.train_transforms
    assert recipe.train.ema_decay is not None


@pytest.mark.parametrize("name", ["sirst_tinydet_s", "cars_tinydet_s"])
def test_small_recipes_reach_tiny_objects(name: str) -> None:
    """Squares as large as those of the data set, wherever they lie, have a positive anchor."""
    recipe = load_recipe(name)
    spec, scale = recipe.model, recipe.data.train_transforms[0]
    assert isinstance(spec, FasterRCNNSpec)
    assert isinstance(scale, RandomScale)
    sides = {"sirst_tinydet_s": (3.9, 4.9, 7.0), "cars_tinydet_s": (9.9, 12.0, 15.4)}[name]
    generator = torch.Generator().manual_seed(0)
    first = 100 + 64 * torch.rand(300, 2, generator=generator)  # [N, 2]
    size = (256, 256)
    grid = spec.priors([(256 // s, 256 // s) for s in spec.priors.strides])
    for side in sides:
        boxes = torch.cat((first, first + scale.factor * side), dim=1)
        labels = torch.zeros(1, dtype=torch.int64)
        images = [Targets.of(box[None], labels, size) for box in boxes]
        match = spec.assigner(grid, PackedTargets.pack(images))
        assert match.positive.any(dim=1).float().mean() >= 0.99
