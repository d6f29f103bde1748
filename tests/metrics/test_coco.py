"""The COCO protocol on ordinary and empty cases."""

import copy
from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from motedet.errors import DataError
from motedet.metrics import AITODProtocol, AnyProtocol, COCOProtocol

Entry = dict[str, object]
NAMES = [
    "AP",
    "AP50",
    "AP75",
    "AP_s",
    "AP_m",
    "AP_l",
    "AR@1",
    "AR@10",
    "AR@100",
    "AR_s",
    "AR_m",
    "AR_l",
]


def truth_of(*objects: Entry) -> Entry:
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 5, "name": "car"}, {"id": 9, "name": "ship"}],
        "annotations": list(objects),
    }


def car(**changes: object) -> Entry:
    entry: Entry = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [8, 8, 6, 6], "area": 36}
    return entry | changes


def hit(**changes: object) -> Entry:
    entry: Entry = {"image_id": 1, "category_id": 5, "bbox": [8, 8, 6, 6], "score": 0.5}
    return entry | changes


def test_names_are_the_published_twelve() -> None:
    assert list(COCOProtocol().score(truth_of(car()), [hit()]).values) == NAMES


@pytest.mark.parametrize("found", [[], [hit()]], ids=["no-detections", "one-detection"])
def test_no_objects_leaves_everything_undefined(found: list[Entry]) -> None:
    scores = COCOProtocol().score(truth_of(), found)
    assert set(scores.values.values()) == {-1.0}
    assert scores.per_class["car"] == {"AP": -1.0, "AP50": -1.0}


def test_only_crowds_leaves_everything_undefined() -> None:
    scores = COCOProtocol().score(truth_of(car(iscrowd=1)), [hit()])
    assert set(scores.values.values()) == {-1.0}


def test_no_detections_score_zero() -> None:
    values = COCOProtocol().score(truth_of(car()), []).values
    assert values["AP"] == values["AR@100"] == values["AP_s"] == 0
    assert values["AP_l"] == -1


def test_one_object_found_exactly() -> None:
    scores = COCOProtocol().score(truth_of(car()), [hit()])
    assert scores.values["AP"] == pytest.approx(1, abs=1e-12)
    assert scores.per_class["car"]["AP50"] == pytest.approx(1, abs=1e-12)
    assert scores.per_class["ship"] == {"AP": -1.0, "AP50": -1.0}
    assert scores.notes == ()


def test_absent_class_is_left_out_of_the_mean_but_its_detections_are_read() -> None:
    scores = COCOProtocol().score(truth_of(car()), [hit(), hit(category_id=9)])
    assert scores.values["AP"] == pytest.approx(1, abs=1e-12)


def test_wrong_class_and_wrong_image_do_not_count() -> None:
    found = [hit(category_id=9), hit(image_id=2)]
    assert COCOProtocol().score(truth_of(car()), found).values["AP"] == 0


def test_ids_far_apart_and_negative() -> None:
    truth = truth_of(car(image_id=-3, category_id=2**60)) | {
        "images": [{"id": -3}, {"id": 2**60 + 1}],
        "categories": [{"id": 2**60}, {"id": 2**60 + 1}],
    }
    found = [hit(image_id=-3, category_id=2**60)]
    assert COCOProtocol().score(truth, found).values["AP"] == pytest.approx(1, abs=1e-12)


def test_filled_cap_is_noted() -> None:
    scores = COCOProtocol().score(truth_of(car()), [hit()] * 101)
    assert scores.notes == (
        "detection cap reached in 1 images (max 100 per image and class); "
        "1 detections were not scored.",
    )


def test_unknown_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"detections\[0\]: image_id 3 is not in the ground truth"):
        COCOProtocol().score(truth_of(car()), [hit(image_id=3)])


@pytest.mark.parametrize("protocol", [COCOProtocol(), AITODProtocol()], ids=["coco", "aitod"])
@pytest.mark.parametrize("zero_id", [False, True], ids=["ids-from-1", "ids-from-0"])
def test_says_nothing_and_changes_nothing(
    protocol: COCOProtocol | AITODProtocol,
    zero_id: bool,
    scene: Callable[..., tuple[Entry, list[Entry]]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    ground_truth, results = scene(1, zero_id=zero_id)
    before = copy.deepcopy((ground_truth, results))
    protocol.score(ground_truth, results)
    assert (ground_truth, results) == before
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_recipes_tell_protocols_by_kind() -> None:
    adapter: TypeAdapter[AnyProtocol] = TypeAdapter(AnyProtocol)
    assert adapter.validate_python({"kind": "coco"}) == COCOProtocol()
    short = adapter.validate_python({"kind": "aitod", "max_dets": [100, 300, 1500]})
    assert short == AITODProtocol(max_dets=(100, 300, 1500))
