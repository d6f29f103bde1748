"""Size bins of one's own: the COCO numbers come out of COCO's bins."""

from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from motedet.metrics import AITODProtocol, AnyProtocol, BinsProtocol, COCOProtocol

Entry = dict[str, object]


def test_names_follow_the_sides() -> None:
    assert list(BinsProtocol(sides=(2, 8, 16.5)).areas.items()) == [
        ("_2_8", (4, 64)),
        ("_8_16.5", (64, 272.25)),
        ("_16.5+", (272.25, 1e10)),
    ]
    assert list(BinsProtocol(sides=(0,)).areas.items()) == [("_0+", (0, 1e10))]


@pytest.mark.parametrize("seed", range(3))
def test_equals_aitod_in_its_bins(
    seed: int, scene: Callable[..., tuple[Entry, list[Entry]]]
) -> None:
    ground_truth, results = scene(seed)
    ours = BinsProtocol(sides=(0, 8, 16, 32), max_dets=(1, 100, 1500))
    values = ours.score(ground_truth, results).values
    aitod = AITODProtocol(with_lrp=False).score(ground_truth, results).values
    pairs = {"_0_8": "_vt", "_8_16": "_t", "_16_32": "_s", "_32+": "_m"}
    for name in ("AP", "AP50", "AP75", "AR@1", "AR@1500"):
        assert values[name] == aitod[name]
    for bin_name, size in pairs.items():
        for kind in ("AP", "AR"):
            assert values[kind + bin_name] == aitod[kind + size]


def test_equals_coco_in_its_bins(scene: Callable[..., tuple[Entry, list[Entry]]]) -> None:
    ground_truth, results = scene(4)
    ours = BinsProtocol(sides=(0, 32, 96), max_dets=(1, 10, 100)).score(ground_truth, results)
    coco = COCOProtocol().score(ground_truth, results)
    common = [value for name, value in ours.values.items() if not name.startswith("AP50_")]
    assert common == list(coco.values.values())
    assert ours.per_class == coco.per_class


def test_object_on_a_side_is_in_both_bins() -> None:
    truth: Entry = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8]}],
    }
    found: list[Entry] = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "score": 1}]
    values = BinsProtocol().score(truth, found).values
    assert values["AP_2_8"] == values["AP_8_16"] == pytest.approx(1, abs=1e-12)
    assert values["AP_16_32"] == values["AP_32+"] == values["AP50_32+"] == -1


def test_ap50_of_a_bin_is_that_of_its_objects_alone() -> None:
    boxes: list[list[float]] = [[0, 0, 4, 4], [50, 0, 20, 20]]
    truth: Entry = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": box}
            for i, box in enumerate(boxes, start=1)
        ],
    }
    loose: Entry = {"image_id": 1, "category_id": 1, "bbox": [50, 0, 20, 13], "score": 1}  # 0.65
    values = BinsProtocol().score(truth, [loose]).values
    assert values["AP50_2_8"] == 0
    assert values["AP50_16_32"] == pytest.approx(1, abs=1e-12)
    assert values["AP_16_32"] == pytest.approx(0.4, abs=1e-12)  # 0.5 to 0.65 of ten thresholds


@pytest.mark.parametrize("sides", [(), (8.0, 2.0), (2.0, 2.0), (-1.0, 2.0)], ids=str)
def test_sides_must_ascend(sides: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sides of size bins must ascend"):
        BinsProtocol(sides=sides)


def test_recipes_choose_them() -> None:
    adapter: TypeAdapter[AnyProtocol] = TypeAdapter(AnyProtocol)
    chosen = adapter.validate_python({"kind": "bins", "sides": [4, 12], "max_dets": [10, 500]})
    assert chosen == BinsProtocol(sides=(4, 12), max_dets=(10, 500))
