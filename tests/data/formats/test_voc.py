from pathlib import Path

import pytest

from fake_data import voc_xml, write_voc
from motedet.data.formats import read_annotations
from motedet.data.formats.voc import read_voc
from motedet.errors import DataError


def test_boxes_count_from_one_and_include_both_ends(tmp_path: Path) -> None:
    catalog = read_annotations(write_voc(tmp_path), split="train")
    assert catalog.classes == ("car", "ship")
    record = catalog.records[0]
    assert record.path == tmp_path / "JPEGImages" / "a.jpg"
    assert record.boxes.tolist() == [[10, 20, 14, 26], [0, 0, 3, 3]]
    assert record.labels.tolist() == [0, 1]
    assert record.crowd.tolist() == [False, True]  # `difficult`
    assert catalog.problems == ()


def test_boxes_from_zero_decide_for_the_whole_folder_and_it_is_said(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text(voc_xml([(0, 4, 8, 9)]))
    catalog = read_annotations(tmp_path, split="train")
    assert catalog.records[0].boxes[0].tolist() == [11, 21, 14, 26]
    assert [problem.kind for problem in catalog.problems] == ["VOC boxes from 0"]
    assert catalog.problems[0].severity == "tolerated"


@pytest.mark.parametrize(
    ("one_based", "box"), [(True, [10, 20, 14, 26]), (False, [11, 21, 14, 26])]
)
def test_the_convention_can_be_given(tmp_path: Path, one_based: bool, box: list[float]) -> None:
    catalog = read_voc(write_voc(tmp_path), one_based=one_based)
    assert catalog.records[0].boxes[0].tolist() == box


def test_splits(tmp_path: Path) -> None:
    write_voc(tmp_path)
    assert len(read_annotations(tmp_path)) == 2
    val = read_annotations(tmp_path, split="val")
    assert [record.path.name for record in val.records] == ["b.jpg"]
    (tmp_path / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"no list of split 'val'; expected ImageSets/Main/val.txt"):
        read_annotations(tmp_path, split="val")


def test_chosen_classes_set_the_labels(tmp_path: Path) -> None:
    catalog = read_annotations(write_voc(tmp_path), split="train", classes=("ship",))
    assert catalog.records[0].labels.tolist() == [0]


def test_size_comes_from_the_image_where_the_file_has_zeros(tmp_path: Path) -> None:
    xml = (
        voc_xml([(3, 3, 9, 9)]).replace("<width>64", "<width>0").replace("<height>48", "<height>0")
    )
    record = read_annotations(write_voc(tmp_path, xml)).records[0]
    assert (record.height, record.width) == (48, 64)


@pytest.mark.parametrize(
    ("xml", "match"),
    [
        ("<annotation><obj", "not valid XML"),
        (voc_xml([(1, 2, 3, 4)]).replace("<xmin>1</xmin>", ""), "`bndbox` of 'car' needs xmin"),
        (voc_xml([(1, 2, 3, 4)]).replace("<name>car</name>", ""), "an `object` has no `name`"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, xml: str, match: str) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text(xml)
    catalog = read_annotations(tmp_path)
    assert len(catalog) == 1
    assert catalog.problems[0].file == tmp_path / "Annotations" / "b.xml"
    assert match in catalog.problems[0].message


def test_no_xml(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected Annotations/\*.xml"):
        read_voc(tmp_path)
