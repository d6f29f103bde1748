"""Prediction by windows: batches of ours, a plain loop over windows, and SAHI.

All look through the same windows of one synthetic image with the same detector (random weights,
class bias set so that a known number of points per window pass the threshold) and suppress by IoU
in the end. SAHI gets what it asks of a detection model, whose batches are real ones; nothing is
written to disk by anyone. They run in turns. One thread is timed by its processor seconds, which
other work on the machine disturbs little; more threads, or a GPU, by the clock.

What each step gains is a row of its own: batches, then bfloat16, or then the exported file, all
as `motedet predict` has them. The command also keeps freed memory (`motedet.engine.memory`), which
is a matter of the whole process: with `--keep-memory` every row does, the loop and SAHI too.

    PYTHONPATH=WHERE_SAHI_IS python benchmarks/tiles.py [--keep-memory] [--json FILE]
"""

import argparse
import copy
import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms

from motedet.cli.predict import look_by_file
from motedet.data import Compose, Sample, Tiles
from motedet.data.rasters import WholeImage
from motedet.data.tiling import Window
from motedet.data.transforms import Scale
from motedet.engine.memory import keep_freed_memory
from motedet.engine.predict import predict_images
from motedet.engine.tiles import predict_tiles, predict_windows
from motedet.engine.weights import LoadedDetector, build_untrained, round_weights_
from motedet.geometry.merge import PlainMerge
from motedet.recipes import load_recipe
from motedet.structures import Detections

RECIPE: Final = "cars_fcos_p2_r18"
SCORE_THRESH: Final = 0.05  # of the recipe
SAME_BOX, SAME_SCORE = 0.05, 1e-4  # px, and what a float32 sum in another order can change
Call = Callable[[], Detections]


@dataclass(frozen=True)
class Record:
    """One row of the result.

    Attributes:
        name: who predicts.
        points: above the threshold in the middle window.
        factor: by which the recipe enlarges a window.
        speedup: windows per second, relative to SAHI in batches of one; None without SAHI.
        speedup_over_batches: the same relative to SAHI in batches of four.
        same: share of the plain loop's detections that are found here, and the other way round.
    """

    name: str
    points: int
    factor: float
    windows: int
    detections: int
    seconds: float
    windows_per_second: float
    speedup: float | None
    speedup_over_batches: float | None
    speedup_over_loop: float
    same: float
    clock: str
    threads: int
    device: str
    repeats: int
    memory: str
    note: str


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    image: Tensor
    window: int
    overlap: int
    points: int
    factor: float
    repeats: int
    device: torch.device
    memory: str
    note: str

    @property
    def tiles(self) -> Tiles:
        """With suppression by IoU, as all have it here."""
        return Tiles(size=self.window, overlap=self.overlap, merge=PlainMerge(iou=0.5))

    @property
    def plan(self) -> tuple[Window, ...]:
        """The windows of the image."""
        return self.tiles.windows((self.image.shape[1], self.image.shape[2]))


class ForSAHI:
    """What SAHI asks of a detection model; batches are predicted as such."""

    confidence_threshold: float = 0.3  # read by SAHI alone: the recipe's threshold has been applied

    def __init__(self, loaded: LoadedDetector) -> None:
        self.loaded = loaded
        self.found: list[Detections] = []
        self.object_prediction_list_per_image: list[list[Any]] = []
        self.make: Any = import_module("sahi.prediction").ObjectPrediction

    @property
    def object_prediction_list(self) -> list[Any]:
        """Of a single image."""
        return self.object_prediction_list_per_image[0]

    def perform_inference(self, image: NDArray[np.uint8]) -> None:
        """Detections of one image [H, W, 3]."""
        self.perform_batch_inference([image])

    def perform_batch_inference(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Detections of images [H, W, 3]."""
        pixels = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
        self.found = predict_images(self.loaded, pixels)

    def convert_original_predictions(
        self, *, shift_amount: list[Any], full_shape: list[Any]
    ) -> None:
        """The detections as SAHI's objects; for a single image without a list around its shift."""
        if not isinstance(shift_amount[0], list):
            shift_amount, full_shape = [shift_amount], [full_shape]
        self.object_prediction_list_per_image = [
            self._objects(*each) for each in zip(self.found, shift_amount, full_shape, strict=True)
        ]

    def _objects(self, found: Detections, shift: list[int], shape: list[int]) -> list[Any]:
        rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        return [
            self.make(
                bbox=box,
                category_id=label,
                category_name="vehicle",
                score=score,
                shift_amount=shift,
                full_shape=shape,
            )
            for box, score, label in rows
        ]


def by_loop(loaded: LoadedDetector, setting: Setting) -> Detections:
    """Window by window, then torchvision's suppression."""
    parts = []
    for window in setting.plan:
        x1, y1, x2, y2 = window.corners
        found = predict_images(loaded, [setting.image[:, y1:y2, x1:x2]])[0]
        parts.append((found.boxes + torch.tensor(window.offset), found.scores, found.labels))
    boxes, scores, labels = (torch.cat(values) for values in zip(*parts, strict=True))
    kept = batched_nms(boxes, scores, labels, 0.5)
    return Detections(boxes[kept], scores[kept], labels[kept])


def by_sahi(loaded: LoadedDetector, setting: Setting, batch: int, *, plain: bool) -> Detections:
    """SAHI; plain: with our suppression and without its look at the whole image."""
    sliced = import_module("sahi.predict").get_sliced_prediction
    rule = {"postprocess_type": "NMS", "postprocess_match_metric": "IOU"} if plain else {}
    result = sliced(
        np.ascontiguousarray(setting.image.permute(1, 2, 0).numpy()),
        ForSAHI(loaded),
        slice_height=setting.window,
        slice_width=setting.window,
        overlap_height_ratio=setting.overlap / setting.window,
        overlap_width_ratio=setting.overlap / setting.window,
        perform_standard_pred=not plain,
        verbose=0,
        batch_size=batch,
        **rule,
    )
    objects = result.object_prediction_list
    return Detections(
        torch.tensor([o.bbox.to_xyxy() for o in objects]).reshape(-1, 4).float(),
        torch.tensor([o.score.value for o in objects]).float(),
        torch.tensor([o.category.id for o in objects], dtype=torch.int64),
    )


def by_ours(loaded: LoadedDetector, setting: Setting, batch: int) -> Detections:
    """`predict_tiles`."""
    raster = WholeImage(setting.image)
    return predict_tiles(loaded, raster, setting.tiles, batch_size=batch)


def by_file(file: Path, setting: Setting, batch: int) -> Call:
    """The same with an exported file, which is opened now."""
    from motedet.export.runtime import Model  # noqa: PLC0415 - optional packages

    predict = look_by_file(Model(file, threads=torch.get_num_threads()))
    raster = WholeImage(setting.image)
    return partial(predict_windows, predict, raster, setting.tiles, batch_size=batch)


def exported(loaded: LoadedDetector, setting: Setting, folder: Path) -> Path | None:
    """The file of a detector for windows of this size; None on a GPU, or where packages miss."""
    if setting.device.type != "cpu" or find_spec("onnxscript") is None:
        return None
    from motedet.export.onnx_file import (  # noqa: PLC0415 - optional packages
        ExportOptions,
        export_onnx,
    )

    side = -(-int(setting.window * setting.factor) // 32) * 32
    path, options = folder / "detector.onnx", ExportOptions(size=(side, side))
    export_onnx(loaded.detector, loaded.recipe, loaded.classes, path, options=options)
    return path


def rounded(loaded: LoadedDetector) -> LoadedDetector:
    """As `load` makes it with precision bf16."""
    detector = copy.deepcopy(loaded.detector)
    round_weights_(detector)
    return replace(loaded, detector=detector, precision="bf16")


def contestants(loaded: LoadedDetector, setting: Setting, file: Path | None) -> dict[str, Call]:
    """Who predicts, by name."""
    calls: dict[str, Call] = {"loop": partial(by_loop, loaded, setting)}
    if find_spec("sahi") is None:
        print("SAHI is left out: it is not installed (pip install sahi).")
    else:
        for batch in (1, 4):
            calls[f"sahi, batch {batch}"] = partial(by_sahi, loaded, setting, batch, plain=True)
        calls["sahi, its defaults"] = partial(by_sahi, loaded, setting, 1, plain=False)
    for batch in (1, 4, 8):
        calls[f"ours, batch {batch}"] = partial(by_ours, loaded, setting, batch)
    in_bf16 = rounded(loaded)
    for batch in (1, 4):
        calls[f"ours, batch {batch}, bf16"] = partial(by_ours, in_bf16, setting, batch)
    if file is not None:
        for batch in (1, 4):
            calls[f"ours, batch {batch}, ONNX"] = by_file(file, setting, batch)
    return calls


def scene(width: int, height: int) -> Tensor:
    """[3, H, W] uint8: clouds, noise and bright specks."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 50, width // 50, generator=generator) * 120
    clouds = F.interpolate(coarse, size=(height, width), mode="bilinear")[0]
    noise = torch.rand(3, height, width, generator=generator) * 30
    speck = torch.rand(1, height // 8, width // 8, generator=generator) > 0.995
    specks = F.interpolate(speck[None].float(), size=(height, width))[0] * 100
    return (clouds + noise + specks).to(torch.uint8)


def detector(setting: Setting) -> LoadedDetector:
    """Random weights, of which `points` scores in the middle window pass the threshold."""
    recipe = load_recipe(RECIPE)
    first, *others = recipe.data.test_transforms
    if not isinstance(first, Scale):
        raise TypeError(f"{RECIPE} should begin with scale; got {first}.")
    transforms = (replace(first, factor=setting.factor), *others)
    data = recipe.data.model_copy(update={"test_transforms": transforms})
    recipe = recipe.model_copy(update={"data": data})
    torch.manual_seed(0)
    model = build_untrained(recipe, 1).eval().to(setting.device)
    model = model.to(memory_format=torch.channels_last)
    height, width = setting.image.shape[-2:]
    y, x, size = height // 2, width // 2, setting.window
    sample = Sample.of_image(setting.image[:, y : y + size, x : x + size])
    pixels = Compose(transforms)(sample, torch.Generator()).image[None]
    with torch.inference_mode():
        logits = model(pixels.to(setting.device)).logits.flatten()
    raised = math.log(SCORE_THRESH / (1 - SCORE_THRESH)) - logits.topk(setting.points).values[-1]
    with torch.no_grad():
        model.get_parameter("bbox_head.conv_cls.bias").add_(raised.clone() + 1e-4)
    return LoadedDetector(model, recipe, ("vehicle",))


def measure(setting: Setting) -> list[Record]:
    loaded = detector(setting)
    with tempfile.TemporaryDirectory() as folder:
        file = exported(loaded, setting, Path(folder))
        warm = replace(setting, image=setting.image[:, :400, :400])
        for call in contestants(loaded, warm, file).values():
            call()
        calls = contestants(loaded, setting, file)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    found: dict[str, Detections] = {}
    for _ in range(setting.repeats):
        for name, call in calls.items():
            start = now(setting.device)
            found[name] = call()
            seconds[name].append(now(setting.device) - start)
    return [record(name, setting, seconds, found) for name in calls]


def record(
    name: str, setting: Setting, seconds: dict[str, list[float]], found: dict[str, Detections]
) -> Record:
    number = len(setting.plan)
    median = {other: statistics.median(times) for other, times in seconds.items()}
    sahi, batches = median.get("sahi, batch 1"), median.get("sahi, batch 4")
    return Record(
        name=name,
        points=setting.points,
        factor=setting.factor,
        windows=number,
        detections=len(found[name]),
        seconds=median[name],
        windows_per_second=number / median[name],
        speedup=sahi / median[name] if sahi else None,
        speedup_over_batches=batches / median[name] if batches else None,
        speedup_over_loop=median["loop"] / median[name],
        same=same(found["loop"], found[name]),
        clock="processor" if processor_time(setting.device) else "wall",
        threads=torch.get_num_threads(),
        device=device_name(setting.device),
        repeats=setting.repeats,
        memory=setting.memory,
        note=setting.note,
    )


def same(first: Detections, second: Detections) -> float:
    """Share of all detections of both that the other one has too."""
    if not len(first) or not len(second):
        return float(len(first) == len(second))
    near = 0
    for one, other in ((first, second), (second, first)):
        for rows in torch.arange(len(one)).tensor_split(len(one) // 1000 + 1):
            away = torch.cdist(one.boxes[rows], other.boxes, p=math.inf)  # [R, D]
            differ = (one.scores[rows, None] - other.scores[None]).abs()  # [R, D]
            near += int(((away <= SAME_BOX) & (differ <= SAME_SCORE)).any(1).sum())
    return near / (len(first) + len(second))


def processor_time(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() == 1


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if processor_time(device) else time.perf_counter()


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=int, nargs=2, default=[2000, 1500], metavar=("W", "H"))
    parser.add_argument("--window", type=int, default=320)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--points", type=int, nargs="+", default=[50, 2000])
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--keep-memory", action="store_true", help="as `motedet predict` does")
    parser.add_argument("--note", default="", help="what else the machine did")
    parser.add_argument("--json", type=Path, help="write the records here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    memory = "kept" if args.keep_memory and keep_freed_memory() else "default"

    image, device = scene(*args.image), torch.device(args.device)
    records = []
    print(f"memory: {memory}; ratios to SAHI in batches of 1 and of 4, and to the loop")
    print(
        f"{'factor':>6} {'points':>6} {'name':21} {'found':>6} windows/s   to 1   to 4   loop same"
    )
    for factor in args.factors:
        for points in args.points:
            setting = Setting(
                image=image,
                window=args.window,
                overlap=args.overlap,
                points=points,
                factor=factor,
                repeats=args.repeats,
                device=device,
                memory=memory,
                note=args.note,
            )
            for row in measure(setting):
                records.append(asdict(row))
                print(
                    f"{row.factor:6} {row.points:6} {row.name:21} {row.detections:6} "
                    f"{row.windows_per_second:9.2f} {row.speedup or math.nan:6.2f} "
                    f"{row.speedup_over_batches or math.nan:6.2f} {row.speedup_over_loop:6.2f} "
                    f"{row.same:.4f}",
                    flush=True,
                )
            if args.json:  # after each setting: a run on a busy machine may be cut short
                args.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
