import numpy as np
import pytest

from motedet.metrics.caps import cap_notes, check_caps, image_cap_notes
from motedet.metrics.tables import DetectionTable, GroundTruthTable

TRUTH = GroundTruthTable.of(
    {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}, {"id": 2}], "annotations": []}
)


def detections(pairs: list[tuple[int, int]]) -> DetectionTable:
    image, category = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return DetectionTable(image, category, np.zeros((len(image), 4)), np.zeros(len(image)))


@pytest.mark.parametrize("caps", [(), (0, 1), (100, 1), (5, 5)], ids=str)
def test_caps_must_ascend(caps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="max_dets must be positive and ascend"):
        check_caps(caps)


def test_no_note_below_the_cap() -> None:
    assert cap_notes(detections([]), cap=2, truth=TRUTH) == ()
    assert cap_notes(detections([(0, 0), (0, 1), (1, 0)]), cap=2, truth=TRUTH) == ()


def test_note_counts_images_and_what_was_left_out() -> None:
    found = detections([(0, 0)] * 3 + [(0, 1)] * 2 + [(1, 1)] * 2)
    (note,) = cap_notes(found, cap=2, truth=TRUTH)
    assert note.startswith("detection cap reached in 2 images (max 2 per image and class)")
    assert "1 detections were not scored" in note


def test_note_of_a_cap_that_classes_share() -> None:
    found = detections([(0, 0), (0, 1), (0, 1), (1, 1)])
    assert image_cap_notes(found, cap=4, truth=TRUTH) == ()
    (note,) = image_cap_notes(found, cap=2, truth=TRUTH)
    assert note.startswith("detection cap reached in 1 images (max 2 per image); 1 detections")
