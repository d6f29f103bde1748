"""Parity of windows and cut annotations with stored results of TinyPerson's cutters."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden_files import load_json
from motedet.data.cut_objects import AnyCutRule, CornerRule, SplitRule
from motedet.data.records import ImageRecord, Row
from motedet.data.tiling import Plan, Window, window_of_pieces, windows
from motedet.structures import Size

WINDOWS = load_json("scale_match", "windows.json")
CROPPED = load_json("scale_match", "crop_expected.json.gz")
PLANS: dict[str, Plan] = {
    "runtime_offset_wh": "inside",
    "offline_xyxy": "corners",
    "split_fixed_xyxy": "inside",
    "split_clipped_xyxy": "clipped",
}
# README of the vectors: window (height, width), overlap, plan, rule, tolerance.
SETTINGS: dict[str, tuple[Size, int | Size, Plan, AnyCutRule, float]] = {
    "offline_640x512": ((512, 640), 100, "corners", CornerRule(), 1e-9),
    "offline_640x640": ((640, 640), 100, "corners", CornerRule(), 1e-9),
    "offline_keep05": (
        (256, 320),
        (32, 64),
        "corners",
        CornerRule(min_visible=0.5, min_side=4, min_area=30),
        1e-9,
    ),
    "split_fixed_ov50": ((512, 640), 50, "inside", SplitRule(), 1e-5),
    "split_clip_keep09": ((512, 640), 100, "clipped", SplitRule(min_visible=0.9), 1e-5),
    "split_pieces": ((2, 3), 20, "clipped", SplitRule(), 1e-5),  # pieces, not pixels
}


@pytest.mark.parametrize("image", WINDOWS)
def test_windows(image: str) -> None:
    width, height = map(int, image.split("x"))
    for setting, expected in WINDOWS[image].items():
        w, h, overlap = map(int, re.findall(r"\d+", setting))
        for name, wanted in expected.items():
            plan = windows((height, width), window=(h, w), overlap=overlap, plan=PLANS[name])
            if isinstance(wanted, str):  # the reference fails; here it is one window
                assert wanted.startswith("error")
                assert len(plan) >= 1
            elif name.endswith("_wh"):
                # the published ones say the tile's size even where the image ends
                assert [[p.x, p.y] for p in plan] == [row[:2] for row in wanted]
                assert all(p.width <= row[2] for p, row in zip(plan, wanted, strict=True))
            else:
                assert [list(p.corners) for p in plan] == wanted


def records() -> list[ImageRecord]:
    data = load_json("scale_match", "crop_gt.json.gz")
    rows: dict[int, list[Row]] = {image["id"]: [] for image in data["images"]}
    for a in data["annotations"]:
        x, y, w, h = a["bbox"]
        box = (x, y, x + w, y + h)
        rows[a["image_id"]].append(
            Row(box, a["category_id"], a["id"], a["area"], ignore=bool(a["ignore"]))
        )
    return [
        ImageRecord.of(
            image["id"],
            Path(image["file_name"]),
            size=(image["height"], image["width"]),
            rows=rows[image["id"]],
        )
        for image in data["images"]
    ]


@pytest.mark.parametrize("name", CROPPED)
def test_annotations(name: str) -> None:
    window, overlap, plan, rule, atol = SETTINGS[name]
    tiles: list[tuple[ImageRecord, Window]] = []
    for record in records():
        size = (record.height, record.width)
        own = window_of_pieces(size, pieces=window, overlap=overlap) if "piec" in name else window
        tiles += [
            (rule(record, part), part)
            for part in windows(size, window=own, overlap=overlap, plan=plan)
        ]
    wanted = CROPPED[name]
    assert [[r.path.name, *p.corners] for r, p in tiles] == [
        [image["file_name"], *image["corner"]] for image in wanted["images"]
    ]
    rows: list[dict[str, Any]] = wanted["annotations"]
    images = np.repeat(np.arange(len(tiles)), [len(r) for r, _ in tiles])
    assert images.tolist() == [row["image_id"] for row in rows]
    boxes = np.concatenate([r.boxes for r, _ in tiles])
    boxes[:, 2:] -= boxes[:, :2]
    if isinstance(rule, SplitRule):
        boxes = boxes.astype(np.float32)  # as published
    np.testing.assert_allclose(boxes, [row["bbox"] for row in rows], rtol=0, atol=atol)
    areas = np.concatenate([r.areas for r, _ in tiles])
    if isinstance(rule, SplitRule):  # published: of the rounded boxes
        np.testing.assert_allclose(areas, boxes[:, 2:].prod(axis=1), rtol=1e-5)
        areas = boxes[:, 2:].astype(np.float64).prod(axis=1)
    np.testing.assert_allclose(areas, [row["area"] for row in rows], rtol=0, atol=atol)
    for field, values in (
        ("category_id", [r.labels for r, _ in tiles]),
        ("ignore", [r.ignore for r, _ in tiles]),
    ):
        assert np.concatenate(values).tolist() == [row[field] for row in rows]
