import numpy as np
import pytest
from PIL import Image

from motedet.report.marks import Mark, Sheet, caption, class_name


def sheet(width: int = 60, height: int = 40) -> Sheet:
    return Sheet(Image.new("RGB", (width, height)), 2, (0.0, 0.0))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 2, 3, 4), (2, 4, 6, 8)),
        ((1.1, 2.1, 2.9, 3.9), (2, 4, 6, 8)),
        ((3, 3, 3, 3), (6, 6, 7, 7)),
        ((5, 5, 2, 2), (10, 10, 11, 11)),
    ],
    ids=["whole", "rounded outwards", "no area", "inverted"],
)
def test_corners(box: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert sheet().corners(box) == expected


def test_float32_noise_does_not_enlarge_a_box() -> None:
    box = np.array([1.0000001, 2.0, 3.0000001, 4.0], dtype=np.float32).tolist()
    assert sheet().corners(box) == (2, 4, 6, 8)


def test_labels_keep_apart_until_there_is_no_room() -> None:
    page = sheet()
    beside = (20, 18, 28, 24)
    page.taken.append(beside)
    written = [page.write("ab", beside, colour="#FFFFFF") for _ in range(20)]
    assert written[0]
    assert not written[-1]
    spots = page.taken
    for i, a in enumerate(spots):
        assert a[0] >= 0
        assert a[2] <= 60
        for b in spots[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_captions_are_short() -> None:
    mark = Mark((0, 0, 1, 1), "detection", 1, 0.874)
    assert caption(mark, ["car", "bus"]) == "bus .87"
    assert caption(mark, ["car"]) == ".87"
    assert caption(Mark((0, 0, 1, 1), "missed", 0, None), ["car"]) == "missed"
    assert caption(Mark((0, 0, 1, 1), "found", 0, 1.0), ["car"]) == "1.00"
    assert class_name(7, ["car"]) == "class 7"


def test_the_size_of_a_find_is_that_of_the_object() -> None:
    assert Mark((0, 0, 9, 9), "found", 0, 0.5, (0, 0, 4, 4)).size == 4
    assert Mark((5, 5, 2, 2), "false", 0, 0.5).size == 0
