"""Parity of the COCO and AI-TOD numbers with stored evaluations of the published code."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from golden_files import golden_path, load_json
from motedet.metrics import AITODProtocol, COCOProtocol, Scores
from motedet.metrics.aitod import AREAS as AITOD_AREAS
from motedet.metrics.coco import AREAS as COCO_AREAS
from motedet.metrics.matching import Ranked, judge, match_pairs
from motedet.metrics.olrp import optimal_lrp
from motedet.metrics.precision import IOU_THRESHOLDS, precision_recall
from motedet.metrics.tables import DetectionTable, GroundTruthTable

TOLERANCE = 1e-9
SUFFIX = ".expected.json"
SETS = sorted(path.name.removesuffix(SUFFIX) for path in golden_path("metrics").glob(f"*{SUFFIX}"))
MAX_DETS = {"coco": (1, 10, 100), "aitod": (1, 100, 1500)}
LRP_FIELDS = {
    "olrp": "error",
    "olrp_loc": "localisation",
    "olrp_fp": "false_positives",
    "olrp_fn": "false_negatives",
    "lrp_opt_thr": "threshold",
}


def expected(name: str, protocol: str) -> dict[str, Any]:
    value: dict[str, Any] = load_json("metrics", name + SUFFIX)[protocol]
    return value


def tables(name: str) -> tuple[GroundTruthTable, DetectionTable]:
    data = load_json("metrics", f"{name}.json.gz")
    truth = GroundTruthTable.of(data["gt"])
    return truth, DetectionTable.of(data["detections"], truth)


def array(nested: object) -> NDArray[np.float64]:
    return np.array(nested, dtype=np.float64)  # null becomes nan


def assert_numbers(scores: Scores, stats: dict[str, float]) -> None:
    """The same numbers in the same order; the published names have neither "_" nor "@"."""

    def plain(name: str) -> str:
        return name.replace("_", "").replace("@", "")

    assert [plain(name) for name in scores.values] == [plain(name) for name in stats]
    ours, theirs = array(list(scores.values.values())), array(list(stats.values()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


def test_there_are_sets() -> None:
    assert SETS


@pytest.mark.parametrize("name", SETS)
def test_coco_numbers(name: str) -> None:
    data = load_json("metrics", f"{name}.json.gz")
    scores = COCOProtocol().score(data["gt"], data["detections"])
    assert_numbers(scores, expected(name, "coco")["stats"])


@pytest.mark.parametrize("name", SETS)
def test_coco_curves(name: str) -> None:
    truth, found = tables(name)
    curves = precision_recall(truth, found, areas=COCO_AREAS, max_dets=MAX_DETS["coco"])
    golden = expected(name, "coco")
    np.testing.assert_allclose(
        curves.precision.mean(axis=1), array(golden["ap_TKAM"]), rtol=0, atol=TOLERANCE
    )
    np.testing.assert_allclose(curves.recall, array(golden["recall_TKAM"]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", SETS)
def test_aitod_numbers(name: str) -> None:
    data = load_json("metrics", f"{name}.json.gz")
    scores = AITODProtocol().score(data["gt"], data["detections"])
    golden = expected(name, "aitod")
    assert_numbers(scores, golden["stats"])
    ours = array([row["AP"] for row in scores.per_class.values()])
    np.testing.assert_allclose(ours, array(golden["per_class_ap"]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", SETS)
def test_aitod_numbers_of_the_mmdetection_caps(name: str) -> None:
    data = load_json("metrics", f"{name}.json.gz")
    protocol = AITODProtocol(max_dets=(100, 300, 1500), with_lrp=False)
    scores = protocol.score(data["gt"], data["detections"])
    assert_numbers(scores, expected(name, "aitod")["stats_maxdets_100_300_1500"])


@pytest.mark.parametrize("name", SETS)
def test_optimal_lrp(name: str) -> None:
    truth, found = tables(name)
    result = optimal_lrp(truth, found, areas=AITOD_AREAS, max_dets=MAX_DETS["aitod"])
    golden = expected(name, "aitod")["lrp_KAM"]
    assert golden.keys() == LRP_FIELDS.keys()
    for key, field in LRP_FIELDS.items():
        np.testing.assert_allclose(
            getattr(result, field), array(golden[key]), rtol=0, atol=TOLERANCE, err_msg=key
        )


@pytest.mark.parametrize("name", SETS)
def test_counts_of_the_matcher(name: str) -> None:
    truth, found = tables(name)
    golden = expected(name, "aitod")
    num_classes = len(truth.category_ids)
    ranked = Ranked.of(found, cap=MAX_DETS["aitod"][-1], num_classes=num_classes)
    for t, threshold in enumerate(IOU_THRESHOLDS.tolist()):
        pairs = match_pairs(truth, ranked.table, threshold=threshold)
        for a, area in enumerate(AITOD_AREAS):
            judged = judge(pairs, truth, ranked.table, area=area)
            masks = {
                "tp": judged.positive,
                "fp": judged.false,
                "ignored_detections": ~judged.positive & ~judged.false,
            }
            for key, mask in masks.items():
                counts = np.bincount(ranked.table.category[mask], minlength=num_classes)
                assert counts.tolist() == [row[a] for row in golden[key][t]], (key, t, a)
            assert judged.num_objects.tolist() == [row[a] for row in golden["positives"]]
