import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motedet.data import Catalog, ImageRecord
from motedet.recipes import load_recipe
from motedet.report.run import (
    merge_history,
    read_detections,
    run_context,
    split_facts,
    write_run_figures,
)


def record(folder: Path, image_id: int, *, boxes: int) -> ImageRecord:
    path = folder / f"{image_id}.png"
    Image.new("RGB", (40, 30)).save(path)
    return ImageRecord(
        image_id=image_id,
        path=path,
        width=40,
        height=30,
        boxes=np.tile([[4.0, 5.0, 12.0, 15.0]], (boxes, 1)),
        labels=np.zeros(boxes, np.int64),
        crowd=np.zeros(boxes, bool),
        ignore=np.zeros(boxes, bool),
        areas=np.full(boxes, 80.0),
        annotation_ids=np.arange(boxes),
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """One image without objects and one with a car."""
    records = (record(tmp_path, 7, boxes=0), record(tmp_path, 9, boxes=1))
    return Catalog(
        classes=("car", "ship"), category_ids=(3, 5), records=records, source=tmp_path / "gt.json"
    )


def test_no_detections_are_empty_records(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    assert [len(found) for found in read_detections(tmp_path / "found.json", catalog)] == [0, 0]


def test_results_become_detections_of_their_images(catalog: Catalog, tmp_path: Path) -> None:
    result = {"image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 0.5}
    (tmp_path / "found.json").write_text(json.dumps([result]))
    none, one = read_detections(tmp_path / "found.json", catalog)
    assert len(none) == 0
    assert one.boxes.tolist() == [[1, 2, 4, 6]]
    assert one.labels.tolist() == [1]
    assert one.scores.tolist() == [0.5]


def test_facts_count_every_class(catalog: Catalog) -> None:
    facts = split_facts("val", catalog)
    assert (facts.images, facts.images_without) == (2, 1)
    assert facts.classes == {"car": 1, "ship": 0}


def test_regions_without_a_class_are_no_objects(catalog: Catalog) -> None:
    other, record = catalog.records
    region = replace(record, crowd=np.array([True]), any_class=np.array([True]))
    facts = split_facts("val", replace(catalog, records=(region, other)))
    assert facts.classes == {"car": 0, "ship": 0}


def test_histories_with_other_columns_are_joined(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("step,loss\n1,0.5\n")
    second.write_text("step,lr\n2,0.1\n")
    merged = merge_history([first, second], tmp_path / "all.csv")
    assert merged.read_text().splitlines() == ["step,loss,lr", "1,0.5,", "2,,0.1"]
    assert merge_history([], tmp_path / "none.csv").read_text().strip() == ""


def test_figures_of_a_run_are_written(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    context = run_context(
        load_recipe("cars_faster_p2_r18"),
        (catalog, catalog),
        command="motedet train",
        recipe_yaml="name: x",
        scores={"values": {"AP": 0.1}, "per_class": {}, "notes": []},
        found=read_detections(tmp_path / "found.json", catalog),
        history=merge_history([], tmp_path / "history.csv"),
    )
    assert context.summary["strides"] == "4, 8, 16, 32"
    assert context.notes == ("Nothing was detected in any validation image.",)
    write_run_figures(tmp_path / "figures", context)
    assert {p.name for p in (tmp_path / "figures").iterdir()} >= {"worst_9.png"}
