from pathlib import Path

import numpy as np
import pytest

from motedet.data.annotations import KINDS, box_kinds, box_problems, prepare_catalog
from motedet.data.records import Catalog, ImageRecord, Problem, Row, count_kinds
from motedet.errors import DataError

SOUND = (10.0, 10.0, 14.0, 13.0)


def _record(*boxes: tuple[float, float, float, float], image_id: int = 1) -> ImageRecord:
    rows = [
        Row(b, 0, 10 * image_id + i, (b[2] - b[0]) * (b[3] - b[1])) for i, b in enumerate(boxes)
    ]
    return ImageRecord.of(image_id, Path(f"{image_id}.png"), size=(48, 64), rows=rows)


def _catalog(*records: ImageRecord) -> Catalog:
    return Catalog(classes=("a",), category_ids=(1,), records=records, source=Path("s.json"))


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (SOUND, None),
        ((10, 10, 11, 11), None),
        ((0, 0, 64, 48), None),
        ((10, 10, float("nan"), 13), "box not finite"),
        ((10, 10, float("inf"), 13), "box not finite"),
        ((10, 10, 8, 13), "negative box"),
        ((10, 10, 10, 13), "zero-size box"),
        ((64, 10, 70, 13), "box outside image"),
        ((-9, 10, -1, 13), "box outside image"),
        ((10, 10, 10.9, 13), "box under the smallest size"),
        ((-3, 10, 5, 13), "box partly outside image"),
        ((10, 40, 15, 49), "box partly outside image"),
    ],
    ids=str,
)
def test_kind_of_each_box(box: tuple[float, float, float, float], kind: str | None) -> None:
    found = int(box_kinds(_record(box), 1.0)[0])
    assert (KINDS[found][0] if found >= 0 else None) == kind


def test_no_boxes_have_no_kinds() -> None:
    assert box_kinds(_record(), 1.0).shape == (0,)
    assert box_problems(_catalog(_record())) == []


def test_tolerated_boxes_are_left_out_or_cut_and_named() -> None:
    record = _record(SOUND, (64, 10, 70, 13), (10, 10, 10, 13), (-3, 10, 5, 13), (5, 5, 5.5, 9))
    prepared = prepare_catalog(_catalog(record))
    assert prepared.records[0].boxes.tolist() == [list(SOUND), [0, 10, 5, 13]]
    assert count_kinds(prepared.problems) == {
        "box outside image": 1,
        "zero-size box": 1,
        "box partly outside image": 1,
        "box under the smallest size": 1,
    }
    assert "annotation 12: zero-size box: x=10, y=10, width=0, height=3" in str(
        next(p for p in prepared.problems if p.kind == "zero-size box")
    )


def test_boxes_of_one_pixel_stay_and_smaller_ones_can() -> None:
    record = _record((3, 3, 4, 4), (3, 3, 3.4, 3.4))
    assert len(prepare_catalog(_catalog(record)).records[0]) == 1
    assert len(prepare_catalog(_catalog(record), min_size=0.0).records[0]) == 2


@pytest.mark.parametrize(
    ("box", "match"),
    [((1, 1, float("nan"), 2), "box not finite"), ((5, 5, 4, 6), "negative box")],
)
def test_fatal_boxes_are_refused(box: tuple[float, float, float, float], match: str) -> None:
    with pytest.raises(DataError, match=rf"s.json, image 1, annotation 11: {match}"):
        prepare_catalog(_catalog(_record(SOUND, box)))


def test_problems_of_the_reader_are_refused_too() -> None:
    problem = Problem(severity="fatal", kind="bad entry", file=Path("s.json"), message="x")
    catalog = Catalog(
        classes=("a",),
        category_ids=(1,),
        records=(_record(SOUND),),
        source=Path("s.json"),
        problems=(problem,),
    )
    with pytest.raises(DataError, match="bad entry"):
        prepare_catalog(catalog)


def test_nothing_left_is_refused() -> None:
    with pytest.raises(DataError, match="no objects"):
        prepare_catalog(_catalog(_record(), _record((64, 1, 66, 3), image_id=2)))
    with pytest.raises(DataError, match="no objects"):
        prepare_catalog(_catalog())


def test_empty_and_small_images_stay_unless_the_published_rule_is_asked_for() -> None:
    small = ImageRecord.of(3, Path("3.png"), size=(31, 64), rows=[Row(SOUND, 0, 1, 12.0)])
    catalog = _catalog(_record(SOUND), _record(image_id=2), small)
    assert len(prepare_catalog(catalog)) == 3
    published = prepare_catalog(catalog, min_image_side=32, keep_empty=False)
    assert [record.image_id for record in published.records] == [1]
    assert count_kinds(published.problems) == {"image without objects": 1, "image too small": 1}


def test_ignored_objects_go_and_crowds_stay() -> None:
    rows = [
        Row(SOUND, 0, 1, 12.0),
        Row(SOUND, 0, 2, 12.0, ignore=True),
        Row(SOUND, 0, 3, 12.0, crowd=True),
    ]
    record = ImageRecord.of(1, Path("1.png"), size=(48, 64), rows=rows)
    assert prepare_catalog(_catalog(record)).records[0].annotation_ids.tolist() == [1, 3]


def test_area_of_zero_in_the_file_counts_as_zero_size() -> None:
    record = ImageRecord.of(
        1, Path("1.png"), size=(48, 64), rows=[Row(SOUND, 0, 1, 0.0), Row(SOUND, 0, 2, 12.0)]
    )
    assert prepare_catalog(_catalog(record)).records[0].annotation_ids.tolist() == [2]


def test_the_catalog_that_was_given_is_not_changed() -> None:
    record = _record((-3, 10, 5, 13))
    before = record.boxes.copy()
    prepare_catalog(_catalog(record))
    assert np.array_equal(record.boxes, before)
