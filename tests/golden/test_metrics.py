"""Parity of all protocols' numbers with stored evaluations of the published code."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from golden_files import golden_path, load_json
from motedet.metrics import AITODProtocol, COCOProtocol, MissRate, Scores, TinyPersonProtocol
from motedet.metrics.aitod import AREAS as AITOD_AREAS
from motedet.metrics.coco import AREAS as COCO_AREAS
from motedet.metrics.matching import Ranked, judge, match_pairs
from motedet.metrics.miss_rate import FPPI, SIZES, miss_curves
from motedet.metrics.olrp import optimal_lrp
from motedet.metrics.overlaps import find_overlaps
from motedet.metrics.precision import IOU_THRESHOLDS, precision_recall
from motedet.metrics.tables import DetectionTable, GroundTruthTable
from motedet.metrics.tiny_precision import AREAS as TINY_AREAS
from motedet.metrics.tiny_precision import THRESHOLDS, TinyMatcher, tiny_curves

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
TINY = {
    "tiny_train_maxdet1000_iod_eq_iou": TinyPersonProtocol(published_id_zero=True),
    "tiny_maxdet200_iod_eq_iou": TinyPersonProtocol(max_det=200, published_id_zero=True),
    "tiny_script_maxdet200_iod_2t_over_1pt": TinyPersonProtocol(
        max_det=200, iod_threshold="2t/(1+t)", published_id_zero=True
    ),
    "tiny_maxdet1000_no_iod": TinyPersonProtocol(iod_threshold=None, published_id_zero=True),
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


def tiny_blocks(name: str) -> dict[str, dict[str, Any]]:
    """Every stored evaluation of TinyPerson's AP that a set has."""
    stored: dict[str, dict[str, Any]] = load_json("metrics", name + SUFFIX)
    return {key: block for key, block in stored.items() if "ap_TKAM" in block and key != "coco"}


def test_there_are_sets_and_no_block_is_unknown() -> None:
    assert SETS
    known = {"summary", "coco", "aitod", "tiny_miss_rate", *TINY}
    assert {key for name in SETS for key in load_json("metrics", name + SUFFIX)} == known


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


@pytest.mark.parametrize("name", SETS)
def test_tinyperson_numbers(name: str) -> None:
    data = load_json("metrics", f"{name}.json.gz")
    misses = miss_rates(expected(name, "tiny_miss_rate"))
    for key, block in tiny_blocks(name).items():
        scores = TINY[key].score(data["gt"], data["detections"])
        assert list(scores.values) == [*block["stats"], *misses], key
        ours, theirs = array([*scores.values.values()]), [*block["stats"].values()]
        np.testing.assert_allclose(
            ours, array([*theirs, *misses.values()]), rtol=0, atol=TOLERANCE, err_msg=key
        )


def miss_rates(stored: dict[str, Any]) -> dict[str, float]:
    """The stored miss rates by our names, in our order."""
    setups = {name.lower(): setup["mr"] for name, setup in stored["setups"].items()}
    return {f"MR{t}_{size}": setups[size][t] for t in ("25", "50", "75") for size in SIZES}


@pytest.mark.parametrize("name", SETS)
def test_tinyperson_curves_and_counts(name: str) -> None:
    truth, found = tables(name)
    num_classes = len(truth.category_ids)
    ranked = Ranked.of(found, cap=1000, num_classes=num_classes)
    overlaps = find_overlaps(truth, ranked.table)
    for key, golden in tiny_blocks(name).items():
        matcher = TinyMatcher.of(
            truth,
            ranked,
            overlaps=overlaps,
            max_det=TINY[key].max_det,
            iod_threshold=TINY[key].iod_threshold,
            ignore_uncertain=True,
        )
        curves = tiny_curves(matcher)
        for ours, theirs in ((curves.ap, "ap_TKAM"), (curves.ar, "recall_TKAM")):
            np.testing.assert_allclose(
                ours[..., None], array(golden[theirs]), rtol=0, atol=TOLERANCE, err_msg=key
            )
        scored = ~matcher.excused  # within the cap
        for a, area in enumerate(TINY_AREAS.values()):
            for t, judged in enumerate(matcher.judge(area)):
                masks = {
                    "tp": judged.positive,
                    "fp": judged.false,
                    "ignored_detections": ~judged.positive & ~judged.false & scored,
                }
                for kind, mask in masks.items():
                    counts = np.bincount(ranked.table.category[mask], minlength=num_classes)
                    assert counts.tolist() == [row[a] for row in golden[kind][t]], (key, kind, t, a)
                assert judged.num_objects.tolist() == [row[a] for row in golden["positives"]]


@pytest.mark.parametrize("name", SETS)
def test_tinyperson_recalls_at_false_positives_per_image(name: str) -> None:
    truth, found = tables(name)
    ranked = Ranked.of(found, cap=1000, num_classes=len(truth.category_ids))
    overlaps = find_overlaps(truth, ranked.table)
    curves = miss_curves(truth, ranked, overlaps=overlaps, rules=MissRate(), ignore_uncertain=True)
    golden = expected(name, "tiny_miss_rate")
    np.testing.assert_allclose(FPPI, array(golden["fppi"]), rtol=0, atol=TOLERANCE)
    assert [size.lower() for size in golden["setups"]] == list(SIZES)
    for s, setup in enumerate(golden["setups"].values()):
        recalls = array(setup["recall_at_fppi_TRK"])
        assert recalls.shape[:2] == (len(THRESHOLDS), len(FPPI))
        np.testing.assert_allclose(curves.recall[s], recalls, rtol=0, atol=TOLERANCE)
        assert int(curves.num_objects[s].sum()) == sum(setup["positives"])


@pytest.mark.parametrize("name", SETS)
def test_counting_from_one_changes_only_where_an_id_is_zero(name: str) -> None:
    data = load_json("metrics", f"{name}.json.gz")
    counted = TinyPersonProtocol().score(data["gt"], data["detections"])
    published = TinyPersonProtocol(published_id_zero=True).score(data["gt"], data["detections"])
    zero = any(entry["id"] == 0 for entry in data["gt"]["annotations"])
    assert (counted.values == published.values) == (not zero)
