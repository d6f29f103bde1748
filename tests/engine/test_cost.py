import pytest
from torch import nn

from motedet.engine.cost import count_costs, count_macs
from motedet.engine.smallest_object import smallest_with_positive
from motedet.recipes import load_recipe
from small_detectors import small_specs


def test_the_first_layer_by_hand() -> None:
    detector = small_specs()["fcos"].build(2)
    detector.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1))
    detector.neck = nn.Identity()
    detector.bbox_head = nn.Flatten()
    detector.forward = lambda images: (detector.backbone(images),)  # type: ignore[method-assign,assignment]
    macs = count_macs(detector, (64, 32))
    assert macs == {"backbone": 8 * 16 * 8 * (3 * 9 + 1), "neck": 0, "bbox_head": 0}


@pytest.mark.parametrize("name", ["fcos", "faster_rcnn", "ttfnet"])
def test_parts_add_up(name: str) -> None:
    detector = small_specs()[name].build(2).train()
    costs = count_costs(detector, (64, 64))
    assert detector.training
    assert sum(c.parameters for c in costs.values()) == sum(
        p.numel() for p in detector.parameters()
    )
    assert all(c.macs > 0 for c in costs.values())


def test_four_times_the_pixels_cost_four_times_as_much() -> None:
    detector = small_specs()["retinanet"].build(2)
    small, large = count_macs(detector, (64, 64)), count_macs(detector, (128, 128))
    assert {part: 4 * n for part, n in small.items()} == large


def test_the_second_stage_counts_for_as_many_regions_as_it_may_have() -> None:
    detector = small_specs()["faster_rcnn"].build(2)
    head = detector.get_submodule("roi_head.bbox_head")
    each = sum(m.in_features * m.out_features for m in head.modules() if isinstance(m, nn.Linear))
    assert count_macs(detector, (64, 64))["roi_head"] == 100 * each


def test_smallest_object_of_known_rules() -> None:
    recipe = load_recipe("cars_fcos_p2_r18")
    grid = recipe.model.priors([(16, 16), (8, 8), (4, 4), (2, 2)])
    assert smallest_with_positive(recipe, grid, (64, 64), places=50) == 1  # always three
    recipe = load_recipe("fcos_r50_coco")
    sizes = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    found = smallest_with_positive(recipe, recipe.model.priors(sizes), (128, 128), places=50)
    assert found is not None
    assert 7 <= found <= 9  # points are 8 px apart


@pytest.mark.parametrize(
    ("recipe", "side", "published"),
    [
        ("tinydet/s_coco", 320, 495_044_963),
        ("tinydet/m_coco", 320, 990_630_491),
        ("tinydet/l_coco", 512, 2_426_763_800),
    ],
)
def test_tinydet_costs_what_was_published(recipe: str, side: int, published: int) -> None:
    detector = load_recipe(recipe).model.build(80).eval()
    assert sum(count_macs(detector, (side, side)).values()) == published
