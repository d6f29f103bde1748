"""Running an exported file with numpy, Pillow and onnxruntime alone.

This file imports nothing of motedet, so that it can be copied beside a model and run there:

    python run_model.py model.onnx images/ -o results/
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

Size = tuple[int, int]
Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

KEY: Final = "motedet"  # of the notes in the file
FORMAT: Final = 1  # of the notes
SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
)
FORMATS: Final = ("coco", "yolo", "csv")
DRAWN: Final = 64_000_000  # pixels; larger images are not drawn
COLOURS: Final = ("#FF5A36", "#2EC4B6", "#FFD23F", "#8F6BFF", "#4CC9F0", "#F15BB5", "#9BE564")
_DEPTHS: Final = (8, 10, 12, 14, 16)  # bits per pixel of common sensors
_DEEP_MODES: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_READ_ERRORS: Final = (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError)


class ModelFileError(ValueError):
    """The model, or an image, cannot be used as it is; one line says why."""


@dataclass(frozen=True)
class Found:
    """What was found in one file, or why nothing could be.

    Attributes:
        path: the file.
        size: (height, width) in pixels; (0, 0) if the file could not be read.
        boxes: [D, 4] xyxy in pixels of the file, best first.
        scores: [D] in [0, 1].
        labels: [D] int64, 0-based.
        error: one line, or None.
    """

    path: Path
    size: Size
    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    error: str | None = None

    def above(self, score_thresh: float) -> "Found":
        """Those that score at least so much."""
        keep = self.scores >= score_thresh
        return Found(
            self.path,
            self.size,
            self.boxes[keep],
            self.scores[keep],
            self.labels[keep],
            self.error,
        )

    def rows(self) -> list[tuple[list[float], float, int]]:
        """Box, score and label of every detection, as plain numbers."""
        columns = (self.boxes.tolist(), self.scores.tolist(), self.labels.tolist())
        return list(zip(*columns, strict=True))


def start(model: bytes | str | Path, *, threads: int = 0) -> Any:  # noqa: ANN401 - has no types
    """An onnxruntime session on the CPU; 0 threads take all cores."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3  # errors
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])


class Model:
    """An exported file, ready to run.

    Attributes:
        classes: names in label order.
        size: (height, width) of the network input; None if every image has its own.
        notes: all that the file says about itself, its recipe too.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        if not path.is_file():
            raise ModelFileError(f"{path}: no such file.")
        try:
            self._session = start(path, threads=threads)
        except Exception as error:  # its errors share nothing but this
            reason = str(error).strip().splitlines()[0]
            raise ModelFileError(f"{path}: onnxruntime cannot load it ({reason}).") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if text is None:
            raise ModelFileError(f"{path}: not written by `motedet export`; export it again.")
        self.notes: dict[str, Any] = json.loads(text)
        if self.notes["format"] != FORMAT:
            raise ModelFileError(
                f"{path}: its notes are of format {self.notes['format']}, this runner reads "
                f"{FORMAT}; use the runner of motedet {self.notes['version']}."
            )
        self.classes = tuple(str(name) for name in self.notes["classes"])
        size = self.notes["size"]
        self.size: Size | None = None if size is None else (int(size[0]), int(size[1]))

    def predict(self, images: Sequence[Pixels]) -> list[tuple[FloatArray, FloatArray, IntArray]]:
        """Boxes [D, 4] in pixels of the image, scores [D] and labels [D] of every image.

        Args:
            images: [H, W, 3] uint8 in RGB, of any sizes; they are run as one batch.

        Raises:
            ModelFileError: if an image is too large for a file of fixed size.
        """
        if not images:
            return []
        inputs = self.inputs(images)
        image, boxes, scores, labels = self._session.run(None, inputs)
        sizes = inputs["sizes"].astype(np.float32)  # [B, 2]
        results = []
        for number, original in enumerate(images):
            mine = image == number
            ratio = np.array(original.shape[1::-1], np.float32) / sizes[number, ::-1]  # [2]
            scaled = boxes[mine] * np.tile(ratio, 2).astype(np.float32)  # [D, 4]
            results.append((scaled, scores[mine], labels[mine]))
        return results

    def inputs(self, images: Sequence[Pixels]) -> dict[str, NDArray[np.generic]]:
        """What the network reads: `images` [B, 3, H, W] uint8 and `sizes` [B, 2] int64.

        Args:
            images: [H, W, 3] uint8 in RGB, of any sizes.
        """
        small = [resized(image, self.notes["preparation"]["resizing"]) for image in images]
        sizes = np.array([image.shape[:2] for image in small], dtype=np.int64)  # [B, 2]
        return {"images": self._batch(small), "sizes": sizes}

    def predict_files(self, paths: Iterable[Path], *, batch_size: int = 1) -> Iterator[Found]:
        """What was found, file by file; a file that cannot be read is reported.

        Args:
            paths: image files.
            batch_size: images per run.

        Yields:
            One record per path, in order.
        """
        rest = iter(paths)
        while chunk := list(islice(rest, batch_size)):
            pixels: dict[Path, Pixels] = {}
            errors: dict[Path, str] = {}
            for path in chunk:
                try:
                    pixels[path] = read_image(path)
                    self._check(path, pixels[path])
                except ModelFileError as error:
                    pixels.pop(path, None)
                    errors[path] = str(error)
            answers = dict(zip(pixels, self.predict(list(pixels.values())), strict=True))
            for path in chunk:
                if path in errors:
                    yield _nothing(path, errors[path])
                else:
                    height, width = pixels[path].shape[:2]
                    yield Found(path, (height, width), *answers[path])

    def _check(self, path: Path, image: Pixels) -> None:
        """Raise if an image would not fit the network input."""
        height, width = resized_size(
            (image.shape[0], image.shape[1]), self.notes["preparation"]["resizing"]
        )
        if self.size is not None and (height > self.size[0] or width > self.size[1]):
            raise ModelFileError(
                f"{path}: {height} x {width} pixels after resizing, but the model takes at most "
                f"{self.size[0]} x {self.size[1]}; export it with --dynamic or a larger --size."
            )

    def _batch(self, images: Sequence[Pixels]) -> Pixels:
        """[B, 3, H, W] of images [h, w, 3], padded at the bottom and the right."""
        size = self.size
        if size is None:
            divisor = int(self.notes["preparation"]["divisor"])
            height = max(image.shape[0] for image in images)
            width = max(image.shape[1] for image in images)
            # exported sizes start at two cells
            size = (
                max(-(-height // divisor), 2) * divisor,
                max(-(-width // divisor), 2) * divisor,
            )
        batch = np.zeros((len(images), 3, *size), dtype=np.uint8)
        for slot, image in zip(batch, images, strict=True):
            height, width = image.shape[:2]
            if height > size[0] or width > size[1]:
                raise ModelFileError(
                    f"an image of {height} x {width} pixels after resizing does not fit the "
                    f"model's {size[0]} x {size[1]}; export it with --dynamic or a larger --size."
                )
            slot[:, :height, :width] = image.transpose(2, 0, 1)
        return batch


def resized_size(size: Size, steps: Sequence[dict[str, Any]]) -> Size:
    """(height, width) after the steps of a recipe's test transforms.

    Args:
        size: (height, width) before.
        steps: as noted in the file.
    """
    for step in steps:
        if step["kind"] == "resize":
            size = (int(step["size"][0]), int(step["size"][1]))
            continue
        if step["kind"] == "scale":
            factor = float(step["factor"])
        elif step["kind"] == "resize_keep_ratio":
            factor = min(step["long"] / max(size), step["short"] / min(size))
        else:
            raise ModelFileError(f"unknown step {step['kind']!r}; use a newer runner.")
        size = (max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1))
    return size


def resized(image: Pixels, steps: Sequence[dict[str, Any]]) -> Pixels:
    """The image [h, w, 3] after the steps: bilinear, with area averaging where it shrinks."""
    for step in steps:
        height, width = resized_size((image.shape[0], image.shape[1]), [step])
        if (height, width) != image.shape[:2]:
            smaller = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            image = np.asarray(smaller)
    return image


def read_image(path: Path) -> Pixels:
    """Decode an image file, as `motedet.data.read_image` does.

    Returns:
        [H, W, 3] uint8 in RGB; grey of more than 8 bits is divided by the smallest of 8, 10, 12, 14
        and 16 bits that holds the image's maximum.

    Raises:
        ModelFileError: naming the file.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            if image.mode in _DEEP_MODES:
                return np.repeat(_to_8_bits(np.asarray(image))[..., None], 3, axis=2)
            if image.mode == "P" and "transparency" in image.info:
                return np.array(image.convert("RGBA").convert("RGB"))
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except _READ_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ModelFileError(f"{path}: cannot be read as an image ({reason}).") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def find_images(sources: Sequence[str]) -> list[Path]:
    """Image files named by paths, folders (searched in depth) and patterns, each once.

    Raises:
        ModelFileError: naming a source that matches nothing.
    """
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            found = [path]
        else:
            pattern = str(path.relative_to(path.anchor)) if path.anchor else str(path)
            found = sorted(Path(path.anchor or ".").glob(pattern))
        if not found:
            raise ModelFileError(f"{source}: no such file, or no images there.")
        paths += found
    return list(dict.fromkeys(paths))


def write_results(
    folder: Path, found: Sequence[Found], classes: Sequence[str], formats: Sequence[str] = FORMATS
) -> None:
    """The result files, as `motedet predict` writes them.

    Args:
        folder: made if missing.
        found: one record per file.
        classes: names in label order.
        formats: of coco, yolo, csv.
    """
    folder.mkdir(parents=True, exist_ok=True)
    readable = [f for f in found if f.error is None]
    if "coco" in formats:
        _write_coco(folder, readable, classes)
    if "yolo" in formats:
        (folder / "labels").mkdir(exist_ok=True)
        for one, name in zip(found, distinct_names([f.path for f in found]), strict=True):
            if one.error is None:
                (folder / "labels" / f"{name}.txt").write_text(_yolo(one), encoding="utf-8")
    if "csv" in formats:
        _write_csv(folder / "detections.csv", readable, classes)


def draw(found: Found, path: Path) -> bool:
    """A copy of the image with boxes around what was found; False if it is too large."""
    if found.size[0] * found.size[1] > DRAWN:
        return False
    picture = Image.fromarray(read_image(found.path))
    pencil = ImageDraw.Draw(picture)
    for (x1, y1, x2, y2), _, label in reversed(found.rows()):
        # one pixel outside, so that a tiny object stays in sight
        corners = (round(x1) - 1, round(y1) - 1, round(x2), round(y2))
        pencil.rectangle(_ordered(corners), outline=COLOURS[label % len(COLOURS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return True


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A file name without suffix for each path; equal stems get their folder in front."""
    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else "_".join([*path.parent.parts[-2:], path.name])
        for path, stem in zip(paths, stems, strict=True)
    ]
    return [name.replace("/", "_").lstrip("_.") for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict on images from the command line; 1 if some could not be read."""
    parser = argparse.ArgumentParser(description="Detect objects in images with an exported file.")
    parser.add_argument("model", type=Path, help="an .onnx file that `motedet export` wrote")
    parser.add_argument("images", nargs="+", help="image files, folders or patterns")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--score", type=float, default=0.3, help="leave out what scores less")
    parser.add_argument("--batch-size", type=int, default=1, help="images per run")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all cores")
    parser.add_argument("--draw", action="store_true", help="draw boxes into copies of the images")
    options = parser.parse_args(arguments)
    try:
        model = Model(options.model, threads=options.threads)
        paths = find_images(options.images)
    except ModelFileError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    answers = model.predict_files(paths, batch_size=max(options.batch_size, 1))
    found = [one.above(options.score) for one in answers]
    write_results(options.output, found, model.classes)
    if options.draw:
        for one, name in zip(found, distinct_names(paths), strict=True):
            if one.error is None:
                draw(one, options.output / "drawings" / f"{name}.png")
    for one in found:
        if one.error is not None:
            sys.stderr.write(f"skipped: {one.error}\n")
    failed = sum(one.error is not None for one in found)
    total = sum(len(one.scores) for one in found)
    sys.stdout.write(f"{total} detections in {len(found) - failed} images: {options.output}\n")
    return 1 if failed else 0


def _nothing(path: Path, error: str) -> Found:
    """The record of a file that could not be read."""
    empty = np.zeros(0, np.float32)
    return Found(path, (0, 0), np.zeros((0, 4), np.float32), empty, np.zeros(0, np.int64), error)


def _to_8_bits(pixels: NDArray[np.generic]) -> Pixels:
    """[H, W] uint8 of a deep grey image."""
    values = np.nan_to_num(pixels.astype(np.float32))  # [H, W]
    low, high = float(values.min()), float(values.max())
    if low < 0 or high >= 2 ** _DEPTHS[-1]:
        offset, top = low, high
    elif np.issubdtype(pixels.dtype, np.floating) and high <= 1.0:
        offset, top = 0.0, 1.0
    else:
        offset, top = 0.0, next(2.0**bits - 1 for bits in _DEPTHS if high < 2**bits)
    scaled = (values - offset) * (255.0 / max(top - offset, 1e-12))  # [H, W]
    return (scaled + 0.5).clip(0, 255).astype(np.uint8)


def _write_coco(folder: Path, readable: Sequence[Found], classes: Sequence[str]) -> None:
    """`detections.json` and `images.json`; images and classes count from 1."""
    results, images = [], []
    for image_id, one in enumerate(readable, start=1):
        height, width = one.size
        images.append(
            {"id": image_id, "file_name": str(one.path), "height": height, "width": width}
        )
        for (x1, y1, x2, y2), score, label in one.rows():
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append(
                {"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score}
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    (folder / "detections.json").write_text(json.dumps(results), encoding="utf-8")
    content = {"images": images, "annotations": [], "categories": categories}
    (folder / "images.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _yolo(found: Found) -> str:
    """Lines of class, centre and size relative to the image, and score."""
    height, width = found.size
    lines = []
    for (x1, y1, x2, y2), score, label in found.rows():
        cx, cy = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        w, h = (x2 - x1) / width, (y2 - y1) / height
        lines.append(f"{label} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f} {score:.4f}\n")
    return "".join(lines)


def _write_csv(path: Path, readable: Sequence[Found], classes: Sequence[str]) -> None:
    """One row per detection, boxes in pixels of the file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "class", "score", "x1", "y1", "x2", "y2"])
    for one in readable:
        for box, score, label in one.rows():
            table.writerow([one.path, classes[label], f"{score:.4f}", *(f"{v:.2f}" for v in box)])
    path.write_text(text.getvalue(), encoding="utf-8")


def _ordered(corners: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The same rectangle with its sides in order, as Pillow demands."""
    x1, y1, x2, y2 = corners
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


if __name__ == "__main__":
    sys.exit(main())
