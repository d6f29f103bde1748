"""Parity of merging with stored results of TinyPerson's tools."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_files import load_json, load_npz
from motedet.geometry.merge import PlainMerge, Sightings

OFFLINE = "scale_match", "merge_offline.json.gz"
IN_MODEL = "scale_match", "merge_inmodel.npz"


def sightings(boxes: Tensor, scores: Tensor, labels: Tensor) -> Sightings:
    nowhere = torch.zeros_like(labels)
    return Sightings(boxes, scores, labels, nowhere, nowhere.bool())


def in_image_order(data: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """The detections of each whole image, by its windows and then as listed."""
    images = {image["file_name"]: image["id"] for image in data["origin_images"]}
    of_window = defaultdict(list)
    for detection in data["detections"]:
        of_window[detection["image_id"]].append(detection)
    merged: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for window in data["corner_images"]:
        left, top = window["corner"][:2]
        for found in of_window[window["id"]]:
            x, y, w, h = found["bbox"]
            moved = [x + left, y + top, x + left + w, y + top + h]
            merged[images[window["file_name"]]].append(found | {"xyxy": moved})
    return merged


@pytest.mark.parametrize("name", load_json(*OFFLINE)["merged"])
def test_after_inference(name: str) -> None:
    data = load_json(*OFFLINE)
    rule = PlainMerge(
        iou=float(name.removeprefix("nms")), class_agnostic=True, plus_one=True, inclusive=True
    )
    wanted = data["merged"][name]
    results = []
    per_image = in_image_order(data)
    for image in dict.fromkeys(row["image_id"] for row in wanted):
        found = per_image[image]
        kept = rule(
            sightings(
                torch.tensor([d["xyxy"] for d in found]),
                torch.tensor([d["score"] for d in found]),
                torch.tensor([d["category_id"] for d in found]),
            )
        )
        results += [(image, found[row]) for row in kept.sort().values.tolist()]  # as concatenated
    assert len(results) == len(wanted)
    for (image, ours), theirs in zip(results, wanted, strict=True):
        assert (image, ours["category_id"]) == (theirs["image_id"], theirs["category_id"])
        # published: in float32, but for results that went through no suppression
        box = torch.tensor(ours["xyxy"], dtype=torch.float32 if rule.iou < 1 else torch.float64)
        xywh = torch.cat((box[:2], box[2:] - box[:2]))
        np.testing.assert_allclose(xywh, theirs["bbox"], rtol=0, atol=1e-4)
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)


def test_during_inference_two_stage() -> None:
    arrays = load_npz(*IN_MODEL)
    tiles = range(len(arrays["offsets_xy"]))
    outputs = [key for key in arrays if key.startswith("two_stage/max")]
    limits = sorted({key.split("/")[1] for key in outputs})
    assert limits
    rows, labels = [], []
    for number in range(2):
        for tile in tiles:
            found = torch.from_numpy(arrays[f"two_stage/tile{tile}_class{number}"]).clone()
            offset = torch.from_numpy(arrays["offsets_xy"][tile])
            found[:, :4] += offset.repeat(2)
            rows.append(found)
            labels.append(torch.full((len(found),), number))
    every, label = torch.cat(rows), torch.cat(labels)
    kept = PlainMerge(iou=0.5)(sightings(every[:, :4], every[:, 4], label))
    for limit in limits:
        most = int(limit.removeprefix("max"))
        chosen = kept[:most] if most > 0 else kept
        for number in range(2):
            ours = every[chosen[label[chosen] == number]]
            theirs = arrays[f"two_stage/{limit}/out_class{number}"]
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-4)


def test_during_inference_dense() -> None:
    arrays = load_npz(*IN_MODEL)
    cases = sorted(key.removesuffix("/dets") for key in arrays if key.endswith("/dets"))
    assert cases
    boxes, scores = [], []
    for tile, offset in enumerate(torch.from_numpy(arrays["offsets_xy"])):
        boxes.append(torch.from_numpy(arrays[f"dense/tile{tile}_boxes"]) + offset.repeat(2))
        scores.append(torch.from_numpy(arrays[f"dense/tile{tile}_scores"]))
    box, score = torch.cat(boxes), torch.cat(scores)  # [N, 4], [N, K]
    for case in cases:
        most, thresh = case.split("/")[1].removeprefix("max").split("_thr")
        row, label = (score > float(thresh)).nonzero().unbind(1)
        kept = PlainMerge(iou=0.5)(sightings(box[row], score[row, label], label))[: int(most)]
        ours = torch.cat((box[row][kept], score[row, label][kept, None]), dim=1)
        np.testing.assert_allclose(ours.numpy(), arrays[f"{case}/dets"], rtol=0, atol=1e-4)
        assert label[kept].tolist() == arrays[f"{case}/labels"].tolist()
