import numpy as np
import pytest

from motedet.metrics.accumulate import area_under_curve, interpolated_ap, recall_at, rows_by_class
from motedet.metrics.tables import DetectionTable


def mask(text: str, letter: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """What each detection of a word such as "TFI" is: true, false or ignored."""
    return np.array([character == letter for character in text], dtype=np.bool_)


@pytest.mark.parametrize(
    ("word", "objects", "ap", "recall"),
    [
        ("", 0, -1.0, -1.0),
        ("TF", 0, -1.0, -1.0),
        ("", 2, 0.0, 0.0),
        ("FF", 2, 0.0, 0.0),
        ("T", 1, 1.0, 1.0),
        ("FT", 1, 0.5, 1.0),
        ("IIT", 1, 1.0, 1.0),
        ("T", 2, 51 / 101, 0.5),  # recalls 0.00 to 0.50
        ("TFT", 2, (51 + 50 * 2 / 3) / 101, 1.0),
        ("FTT", 2, 2 / 3, 1.0),  # the later precision is higher
    ],
)
def test_interpolated_ap(word: str, objects: int, ap: float, recall: float) -> None:
    answer = interpolated_ap(mask(word, "T"), mask(word, "F"), num_objects=objects)
    assert answer == pytest.approx((ap, recall), abs=1e-12)


@pytest.mark.parametrize(
    ("word", "objects", "ap", "recall"),
    [
        ("", 0, 0.0, 0.0),
        ("", 2, 0.0, 0.0),
        ("F", 0, 0.0, 0.0),
        ("T", 2, 0.5, 0.5),
        ("TFT", 2, 0.5 + 0.5 * 2 / 3, 1.0),
        ("FTT", 2, 2 / 3, 1.0),
        ("IT", 4, 0.25, 0.25),
    ],
)
def test_area_under_curve(word: str, objects: int, ap: float, recall: float) -> None:
    answer = area_under_curve(mask(word, "T"), mask(word, "F"), num_objects=objects)
    assert answer == pytest.approx((ap, recall), abs=1e-12)


def test_recalls_at_rates_of_false_positives() -> None:
    rates = np.array([0.0, 0.2, 0.5, 2.0])
    word = "TFTFT"  # of 4 objects in 2 images: 0, 0.5, 0.5, 1, 1 false positives per image
    recalls, highest = recall_at(
        rates, mask(word, "T"), mask(word, "F"), num_objects=4, num_images=2
    )
    assert recalls.tolist() == [0.25, 0.25, 0.5, 0.75]
    assert highest == 0.75


def test_rates_that_the_first_detection_passes_have_no_recall() -> None:
    rates = np.array([0.1, 1.0])
    recalls, highest = recall_at(
        rates, mask("FT", "T"), mask("FT", "F"), num_objects=1, num_images=2
    )
    assert np.isnan(recalls[0])
    assert (recalls[1], highest) == (1.0, 1.0)
    ignored_first, _ = recall_at(
        rates, mask("IFT", "T"), mask("IFT", "F"), num_objects=1, num_images=2
    )
    assert ignored_first.tolist() == [0.0, 1.0]


def test_no_detections_recall_nothing() -> None:
    recalls, highest = recall_at(
        np.array([0.1]), mask("", "T"), mask("", "F"), num_objects=3, num_images=2
    )
    assert (recalls.tolist(), highest) == ([0.0], 0.0)


def test_rows_of_each_class_by_score() -> None:
    category, scores = np.array([1, 0, 1, 0, 1]), np.array([0.5, 0.1, 0.9, 0.2, 0.5])
    found = DetectionTable(np.zeros(5, dtype=np.int64), category, np.zeros((5, 4)), scores)
    rows = [part.tolist() for part in rows_by_class(found, num_classes=3)]
    assert rows == [[3, 1], [2, 0, 4], []]
