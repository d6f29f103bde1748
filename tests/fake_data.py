"""Tiny data folders that the tests write themselves: a few 64 px images per format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from motedet.data import Sample

CLASSES = ("car", "ship")
BOXES = ([10.0, 20.0, 4.0, 6.0], [30.0, 5.0, 1.0, 1.0], [50.5, 40.25, 8.0, 3.5])  # xywh
LABELS = (0, 1, 0)


def write_image(path: Path, *, size: tuple[int, int] = (48, 64), mode: str = "RGB") -> None:
    """A picture of noise; size is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def coco_content(names: Sequence[str] = ("a.png", "b.png")) -> dict[str, list[dict[str, object]]]:
    """A valid COCO file: the first image has three objects, the others none."""
    return {
        "images": [
            {"id": 10 + i, "file_name": name, "width": 64, "height": 48}
            for i, name in enumerate(names)
        ],
        "annotations": [
            {
                "id": 100 + i,
                "image_id": 10,
                "category_id": 7 + label,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for i, (box, label) in enumerate(zip(BOXES, LABELS, strict=True))
        ],
        "categories": [{"id": 7 + i, "name": name} for i, name in enumerate(CLASSES)],
    }


def write_json(path: Path, content: Mapping[str, object]) -> Path:
    """A JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_coco(root: Path) -> Path:
    """`annotations/{train,val}.json` and `images/`."""
    for split in ("train", "val"):
        names = [f"{split}_a.png", f"{split}_b.png"]
        for name in names:
            write_image(root / "images" / name)
        write_json(root / "annotations" / f"{split}.json", coco_content(names))
    return root


def write_yolo(root: Path) -> Path:
    """`data.yaml`, `images/{train,val}`, `labels/{train,val}`."""
    (root / "labels").mkdir(parents=True)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [car, ship]\n")
    for split in ("train", "val"):
        for name in ("a", "b"):
            write_image(root / "images" / split / f"{name}.png")
        lines = []
        for (x, y, w, h), label in zip(BOXES, LABELS, strict=True):
            lines.append(f"{label} {(x + w / 2) / 64} {(y + h / 2) / 48} {w / 64} {h / 48}")
        (root / "labels" / split).mkdir()
        (root / "labels" / split / "a.txt").write_text("\n".join(lines) + "\n")
    return root


def voc_xml(corners: Sequence[Sequence[float]], *, extra: str = "") -> str:
    """An annotation of one image with cars at (xmin, ymin, xmax, ymax)."""
    objects = "".join(
        "<object><name>car</name><difficult>0</difficult><bndbox>"
        f"<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in corners
    )
    size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
    return f"<annotation><filename>a.jpg</filename>{size}{objects}{extra}</annotation>"


def write_voc(root: Path, xml: str | None = None) -> Path:
    """`Annotations/`, `JPEGImages/`, `ImageSets/Main/`; image a is train, image b is val."""
    ship = (
        "<object><name>ship</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>3</xmax><ymax>3</ymax></bndbox></object>"
    )
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, split in (("a", "train"), ("b", "val")):
        write_image(root / "JPEGImages" / f"{name}.jpg")
        text = (xml or voc_xml([(11, 21, 14, 26)], extra=ship)).replace("a.jpg", f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(text)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{name}\n")
    return root


VISDRONE_LINES = (
    "10,20,4,6,1,4,0,0",  # car
    "30,5,1,1,1,1,0,2,",  # pedestrian, with the comma that some files have
    "",
    "0,28,20,20,0,0,0,0",  # ignored region
    "40,30,5,5,0,11,0,0",  # others
    "50,40,8,3,0,5,1,1",  # van of score 0
)


def write_visdrone(root: Path, *, parts: Sequence[str] = ("train", "val")) -> Path:
    """`VisDrone2019-DET-{train,val}/` with image a as above and image b without objects."""
    for part in parts:
        folder = root / f"VisDrone2019-DET-{part}"
        (folder / "annotations").mkdir(parents=True)
        for name, text in (("a", "\r\n".join(VISDRONE_LINES)), ("b", "")):
            write_image(folder / "images" / f"{part}_{name}.jpg")
            (folder / "annotations" / f"{part}_{name}.txt").write_bytes(text.encode())
    return root


DOTA_LINES = (
    "imagesource:GoogleEarth",
    "gsd:0.146",
    "10.0 20.0 14.0 20.0 14.0 26.0 10.0 26.0 ship 0",
    "",
    "30 10 40 20 30 30 20 20 plane 1",  # a square on its corner
    "50 40 58 40 58 43 50 43 small-vehicle 2",
)


def write_dota(root: Path, *, texts: str = "labelTxt-v2.0/DOTA-v2.0_{}") -> Path:
    """`{train,val}/images` and text files; image P0 as above, image P1 without objects."""
    for split in ("train", "val"):
        folder = root / split / texts.format(split)
        folder.mkdir(parents=True)
        for number, text in enumerate(("\r\n".join(DOTA_LINES), "imagesource:GF-2\ngsd:null\n")):
            write_image(root / split / "images" / "part1" / f"P{number}{split}.png")
            (folder / f"P{number}{split}.txt").write_bytes(text.encode())
    return root


def make_sample(
    boxes: Sequence[Sequence[float]] = (), *, size: tuple[int, int] = (48, 64)
) -> Sample:
    """A sample of noise with boxes (xyxy) of class 0, 1, 2, ..."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return Sample(
        image=image,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)),
        ignore_boxes=torch.zeros(0, 4),
        image_id=1,
        original_size=size,
        image_size=size,
        padded_size=size,
    )
