"""The AI-TOD protocol on ordinary and empty cases."""

from collections.abc import Callable

import pytest

from motedet.metrics import AITODProtocol

Entry = dict[str, object]
NAMES = [
    "AP",
    "AP25",
    "AP50",
    "AP75",
    "AP_vt",
    "AP_t",
    "AP_s",
    "AP_m",
    "AR@1",
    "AR@100",
    "AR@1500",
    "AR_vt",
    "AR_t",
    "AR_s",
    "AR_m",
    "oLRP",
    "oLRP_Loc",
    "oLRP_FP",
    "oLRP_FN",
]
TRUTH: Entry = {
    "images": [{"id": 1}],
    "categories": [{"id": 0, "name": "car"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [8, 8, 8, 8], "area": 64}],
}
HIT: Entry = {"image_id": 1, "category_id": 0, "bbox": [8, 8, 8, 8], "score": 0.5}


def test_names_are_the_published_nineteen() -> None:
    assert list(AITODProtocol().score(TRUTH, [HIT]).values) == NAMES


def test_no_objects_leaves_everything_undefined() -> None:
    scores = AITODProtocol().score(TRUTH | {"annotations": []}, [HIT])
    assert set(scores.values.values()) == {-1.0}
    assert set(scores.per_class["car"].values()) == {-1.0}


def test_no_detections_are_the_worst() -> None:
    values = AITODProtocol().score(TRUTH, []).values
    assert values["AP"] == values["AR@1500"] == 0
    assert (values["oLRP"], values["oLRP_FN"], values["oLRP_Loc"]) == (1, 1, -1)


def test_one_object_on_a_limit_is_in_both_bins() -> None:
    scores = AITODProtocol().score(TRUTH, [HIT])
    for name in ("AP", "AP50", "AP_vt", "AP_t", "AR@1"):
        assert scores.values[name] == pytest.approx(1, abs=1e-12)
    assert scores.values["AP25"] == scores.values["AP_s"] == -1
    assert scores.values["oLRP"] == pytest.approx(0, abs=1e-12)
    assert scores.per_class["car"]["best_score"] == 0.5


def test_without_lrp_its_numbers_are_undefined() -> None:
    scores = AITODProtocol(with_lrp=False).score(TRUTH, [HIT])
    assert [scores.values[name] for name in NAMES[-4:]] == [-1.0] * 4
    assert scores.per_class["car"].keys() == {"AP", "AP50"}


def test_other_caps_name_other_recalls() -> None:
    values = AITODProtocol(max_dets=(100, 300, 1500)).score(TRUTH, [HIT]).values
    assert [name for name in values if "@" in name] == ["AR@100", "AR@300", "AR@1500"]


def test_caps_must_ascend() -> None:
    with pytest.raises(ValueError, match=r"got \(100, 1\)"):
        AITODProtocol(max_dets=(100, 1))


def test_order_of_the_file_does_not_matter_without_ties(
    scene: Callable[..., tuple[Entry, list[Entry]]],
) -> None:
    ground_truth, results = scene(2)
    distinct = [entry | {"score": row / 1000} for row, entry in enumerate(results)]
    expected = AITODProtocol().score(ground_truth, distinct)
    assert AITODProtocol().score(ground_truth, distinct[::-1]) == expected
