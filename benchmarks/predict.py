"""Prediction from a decoded image to detections: TTFNet on DarkNet-53 against FCOS on ResNet-50.

Both go the way of `motedet predict` after the file is read: the recipe's test transforms, the
network, selection, suppression, boxes in pixels of the image. They get the same noise of 800 x 800
and run in turns; a ratio is the median of the ratios of the turns. Wall seconds are what a free
machine is judged by, processor seconds (of all threads, on a CPU) are those of a busy one too.

Weights are random, so what reaches the suppression is set by hand: logits get a standard
deviation of 1, boxes are 12 px wide (on coarser levels wider in proportion), and the score
threshold lets `--candidates` pairs of a place and a class through per image: 1,000, since TTFNet's
recipe looks at as many places.

    python benchmarks/predict.py [--device cuda] [--precision bf16] [--batch N] [--json FILE]
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from motedet.data import Compose, Sample, collate
from motedet.engine import LoadedDetector
from motedet.engine.predict import predict_images
from motedet.engine.weights import build_untrained
from motedet.models.detectors import FCOS, TTFNet
from motedet.models.heads import FCOSHeadSpec
from motedet.models.heads.slim import SlimHead
from motedet.recipes import load_recipe
from motedet.structures import Detections

TTFNET: Final = "ga/ttfnet_d53_aitod"
FCOS_R50: Final = "baselines/fcos_r50_aitod"
REACH: Final = 6.0  # px, from the middle of every box to its sides


class Seconds(NamedTuple):
    """What one prediction took."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Record:
    """One recipe's row; the ratios are those to `against`, and below 1 is faster than it.

    Attributes:
        candidates: pairs of a place and a class that reached the suppression, per image.
        detections: what it left of them, per image.
    """

    name: str
    against: str
    wall_ratio: float
    processor_ratio: float
    wall_seconds: float
    processor_seconds: float
    images_per_second: float
    candidates: float
    detections: float
    size: int
    batch: int
    rounds: int
    threads: int
    device: str
    precision: str


@dataclass(frozen=True)
class Setting:
    """What all recipes have in common."""

    images: Sequence[Tensor]
    candidates: int
    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision, or nothing."""
        if self.bf16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


class Contestant:
    """A recipe's detector with random weights and the asked number of candidates."""

    def __init__(self, name: str, setting: Setting) -> None:
        torch.manual_seed(0)
        recipe = load_recipe(name)
        classes = recipe.classes or recipe.data.dataset.classes or ("object",)
        detector = build_untrained(recipe, len(classes)).to(setting.device).eval()
        if not isinstance(detector, TTFNet | FCOS):
            raise SystemExit(f"{name}: only TTFNet and FCOS are set up here")
        self.name = name
        self.setting = setting
        self.detector = detector
        self.loaded = LoadedDetector(detector, recipe, tuple(classes))
        self.candidates = self._set_candidates()

    def predict(self) -> list[Detections]:
        """What is measured."""
        with self.setting.autocast():
            return predict_images(self.loaded, self.setting.images)

    @torch.no_grad()
    def _set_candidates(self) -> float:
        """Choose weights of the last layers and the threshold; candidates per image that result."""
        detector, setting = self.detector, self.setting
        prepare = Compose(self.loaded.recipe.data.test_transforms)
        generator = torch.Generator()
        samples = [prepare(Sample.of_image(image), generator) for image in setting.images]
        images = collate(samples).images.to(setting.device)
        classes = equal_boxes(detector)
        with setting.autocast():
            spread = detector(images).logits.std()
        classes.weight /= spread
        with setting.autocast():  # anew, since it keeps copies of the weights
            outputs = detector(images)
        count = setting.candidates * len(images)
        thresh = outputs.logits.sigmoid().flatten().topk(count + 1).values[-1].item()
        rule = replace(detector.spec.postprocess, score_thresh=thresh)
        detector.spec = replace(detector.spec, postprocess=rule)
        starts = detector.spec.priors(outputs.level_sizes).level_starts
        ranked = outputs._replace(ctrness=None) if isinstance(detector, TTFNet) else outputs
        return len(rule.candidates(ranked, starts).score) / len(images)


def equal_boxes(detector: TTFNet | FCOS) -> nn.Conv2d:
    """Let all boxes and qualities be the same; the layer that predicts classes."""
    head, spec = detector.bbox_head, detector.spec
    slim = isinstance(head, SlimHead)
    names = ("hm", "wh", "iou") if slim else ("conv_cls", "conv_reg", "conv_centerness")
    parts = [part for name in names if (part := getattr(head, name)) is not None]
    classes, boxes, *quality = [_convolution(part) for part in parts]
    reach = REACH / spec.priors.strides[0] if spec.head.in_strides else REACH
    exponential = isinstance(spec.head, FCOSHeadSpec) and spec.head.distances != "relu_stride"
    nn.init.constant_(boxes.bias, math.log(reach) if exponential else reach)  # type: ignore[arg-type]
    for layer in (boxes, *quality):
        nn.init.zeros_(layer.weight)
    return classes


def _convolution(part: nn.Module) -> nn.Conv2d:
    """The only convolution of a predictor."""
    (found,) = [module for module in part.modules() if isinstance(module, nn.Conv2d)]
    return found


def seconds_of(call: Callable[[], object], device: torch.device) -> Seconds:
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, processor = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def in_turns(contestants: Sequence[Contestant], rounds: int) -> list[list[Seconds]]:
    """Seconds of each contestant in each round, after one to warm up."""
    taken: list[list[Seconds]] = [[] for _ in contestants]
    for turn in range(-1, rounds):
        order = list(zip(contestants, taken, strict=True))
        for contestant, kept in reversed(order) if turn % 2 else order:
            seconds = seconds_of(contestant.predict, contestant.setting.device)
            if turn >= 0:
                kept.append(seconds)
    return taken


def record(
    contestant: Contestant, seconds: Sequence[Seconds], *, against: str, theirs: Sequence[Seconds]
) -> Record:
    setting = contestant.setting
    pairs = list(zip(seconds, theirs, strict=True))
    wall = statistics.median(s.wall for s in seconds)
    found = contestant.predict()
    return Record(
        name=contestant.name,
        against=against,
        wall_ratio=statistics.median(s.wall / r.wall for s, r in pairs),
        processor_ratio=statistics.median(s.processor / r.processor for s, r in pairs),
        wall_seconds=wall,
        processor_seconds=statistics.median(s.processor for s in seconds),
        images_per_second=len(setting.images) / wall,
        candidates=contestant.candidates,
        detections=sum(len(d) for d in found) / len(found),
        size=setting.images[0].shape[-1],
        batch=len(setting.images),
        rounds=len(seconds),
        threads=torch.get_num_threads(),
        device=_device_name(setting.device),
        precision="bf16" if setting.bf16 else "fp32",
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


def noise(count: int, size: int) -> list[Tensor]:
    """Images as a decoder gives them, uint8 [3, S, S]."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, size, size)
    return list(torch.randint(256, shape, generator=generator, dtype=torch.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=[TTFNET], help="of kind ttfnet or fcos")
    parser.add_argument("--against", default=FCOS_R50, help="the recipe they are compared with")
    parser.add_argument("--candidates", type=int, default=1000, help="per image")
    parser.add_argument("--size", type=int, default=800, help="side of the decoded images")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--json", type=Path, help="write the records here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    setting = Setting(
        images=noise(args.batch, args.size),
        candidates=args.candidates,
        device=torch.device(args.device),
        bf16=args.precision == "bf16",
    )
    contestants = [Contestant(name, setting) for name in [args.against, *args.recipes]]
    taken = in_turns(contestants, args.rounds)
    rows = [
        record(contestant, seconds, against=args.against, theirs=taken[0])
        for contestant, seconds in zip(contestants, taken, strict=True)
    ]
    print(f"{'recipe':26} {'wall s':>8} {'ratio':>6} {'cpu s':>8} {'ratio':>6} {'img/s':>7}  boxes")
    for row in rows:
        print(
            f"{row.name:26} {row.wall_seconds:8.4f} {row.wall_ratio:6.2f} "
            f"{row.processor_seconds:8.4f} {row.processor_ratio:6.2f} "
            f"{row.images_per_second:7.2f}  {row.candidates:.0f} to {row.detections:.0f}"
        )
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
