import json
import math
from pathlib import Path

import numpy as np
import pytest

from fake_data import write_coco
from motedet.data.datasets import Folder
from motedet.data.scale_match import (
    ObjectSizes,
    SizeBins,
    catalog_sizes,
    join_sizes,
    largest_gap,
    read_histogram,
    read_sizes,
)
from motedet.data.scale_match.sizes import annotation_sizes
from motedet.errors import DataError


def entry(width: float, height: float, **keys: int) -> dict[str, object]:
    return {"bbox": [0, 0, width, height], "image_id": 1, **keys}


def sizes(*values: float) -> ObjectSizes:
    return ObjectSizes(np.array(values), np.zeros(len(values), dtype=np.int64))


ENTRIES = [
    entry(4, 9, image_id=3),
    entry(5, 5, iscrowd=1),
    entry(2, 8, ignore=1),
    entry(0, 8),
    entry(3, 3, ignore=0),
]


def test_crowds_ignored_and_empty_boxes_do_not_count() -> None:
    found = annotation_sizes(ENTRIES, source=Path("t.json"))
    assert found.sizes.tolist() == [6, 3]
    assert found.images.tolist() == [3, 1]
    assert found.median == 4.5


def test_as_published_the_first_annotation_decides_about_ignored_ones() -> None:
    heeded = [entry(1, 1, iscrowd=1), *ENTRIES[::-1]]
    for entries, expected in ((ENTRIES, [6, 4, 3]), (heeded, [3, 6])):
        found = annotation_sizes(entries, source=Path("t.json"), first_ignore_decides=True)
        assert found.sizes.tolist() == expected


def test_mean_of_an_image_is_geometric() -> None:
    found = ObjectSizes(np.array([2.0, 5.0, 8.0]), np.array([7, 3, 7]))
    np.testing.assert_allclose(found.per_image(), [5, 4])


def test_file_and_catalog_agree(tmp_path: Path) -> None:
    write_coco(tmp_path)
    from_file = read_sizes(tmp_path / "annotations" / "train.json")
    from_catalog = catalog_sizes(Folder().catalog(tmp_path, "train"))
    np.testing.assert_allclose(from_file.sizes, from_catalog.sizes)
    assert len(from_file) == len(from_catalog) == 3


def test_joined_sets_have_images_of_their_own() -> None:
    empty = sizes()
    joined = join_sizes([sizes(2, 8), empty, sizes(5)])
    assert joined.sizes.tolist() == [2, 8, 5]
    assert joined.images.tolist() == [0, 0, 1]
    assert len(join_sizes([])) == 0
    assert math.isnan(empty.median)


def test_largest_gap() -> None:
    assert largest_gap(sizes(1, 2), sizes(2, 1, 1, 2)) == 0
    assert largest_gap(sizes(1, 2), sizes(3, 4)) == 1
    assert largest_gap(sizes(1, 2, 3, 4), sizes(1, 2, 9, 9)) == 0.5
    assert math.isnan(largest_gap(sizes(), sizes(1)))


def test_histogram_from_annotations_or_as_stored(tmp_path: Path) -> None:
    annotations = tmp_path / "a.json"
    annotations.write_text(json.dumps({"annotations": ENTRIES}))
    counted = read_histogram(annotations, SizeBins(bins=3))
    stored = tmp_path / "scale_match.json"
    stored.write_text(json.dumps({"histogram": counted.as_dict()}))
    again = read_histogram(stored, SizeBins(bins=50))
    assert again.edges.tolist() == counted.edges.tolist()
    assert again.prob.tolist() == counted.prob.tolist()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "expected a COCO file with a list `annotations`"),
        ({"annotations": 3}, "expected a COCO file with a list `annotations`"),
        ({"annotations": []}, "no usable boxes: 0 annotations"),
        ({"annotations": ENTRIES[1:4]}, "no usable boxes: 3 annotations"),
        ({"annotations": [3]}, r"annotations\[0\]: expected {...}; found 3"),
        ({"annotations": [{"bbox": [1, 2]}]}, r"annotations\[0\]: `bbox` must be \[x, y, width"),
        ({"histogram": {"edges": [1]}}, "`histogram` must have lists `edges` and `prob`"),
        ({"histogram": {"edges": [1], "prob": [1]}}, "one edge more"),
    ],
    ids=["list", "number", "none", "none usable", "no entry", "no box", "no shares", "edges"],
)
def test_bad_files(tmp_path: Path, content: object, match: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=match):
        read_histogram(path, SizeBins())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: cannot be opened \(No such file"):
        read_sizes(tmp_path / "none.json")
