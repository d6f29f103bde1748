"""One training step and one prediction, against torchvision's detectors of the same size.

Both sides get the same backbone (ResNet-50, stem and first stage frozen, batch-norm frozen), the
same head, anchors, images, objects, score threshold and number of candidates. They run in turns.
torchvision's own resizing and normalising is left out: ours happens in the data pipeline.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import detection as torchvision_detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from motedet.assign import FCOSAssigner
from motedet.losses import GIoULoss, SmoothL1Loss
from motedet.models.backbones import BackboneSpec
from motedet.models.detectors import Detector, FasterRCNNSpec, FCOSSpec, RetinaNetSpec
from motedet.models.heads import FCOSHeadSpec
from motedet.models.heads.rpn import RPNSpec
from motedet.models.necks import FPNSpec
from motedet.models.rois import RoIAlign
from motedet.structures import Targets

CLASSES = 80
SCORE_THRESH = 0.05
HIGH_PROB = 0.06  # of one class in eighty, in the variant with many candidates

BACKBONE = BackboneSpec(
    out_stages=(2, 3, 4), frozen_stages=1, freeze_bn=True, train_bn_affine=False
)


@dataclass(frozen=True)
class Record:
    """One row of the result."""

    name: str
    phase: str
    seconds: float
    torchvision_seconds: float
    ratio: float
    images_per_second: float
    size: int
    batch: int
    objects: int
    threads: int
    device: str
    precision: str
    repeats: int


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    size: int
    batch: int
    objects: int
    repeats: int
    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision, or nothing."""
        if self.bf16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


class NoTransform(nn.Module):
    """In place of torchvision's transform: images are already as the network wants them."""

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """The images as one batch."""
        sizes = [(int(i.shape[-2]), int(i.shape[-1])) for i in images]
        return ImageList(torch.stack(images), sizes), targets

    def postprocess(self, result: list[dict[str, Tensor]], *_: object) -> list[dict[str, Tensor]]:
        """Nothing to scale back."""
        return result


def both(name: str, device: torch.device) -> tuple[Detector, nn.Module]:
    """Our detector and theirs; those with proposals get the same weights, hence as many regions."""
    mine, other = ours(name), theirs(name)
    if name == "faster_rcnn":
        states = [
            [v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]
            for model in (mine, other)
        ]
        with torch.no_grad():
            for value, copy in zip(*states, strict=True):
                if value.shape == copy.shape:  # all but the last layer, which has no background
                    copy.copy_(value)
    return mine.to(device), other.to(device)


def ours(name: str) -> Detector:
    if name == "faster_rcnn":
        box_loss = SmoothL1Loss(beta=1 / 9)
        return FasterRCNNSpec(
            backbone=replace(BACKBONE, out_stages=(1, 2, 3, 4)),
            rpn=RPNSpec(box_loss=box_loss),
            pool=RoIAlign(sampling_ratio=2),
            box_loss=box_loss,
        ).build(CLASSES)
    if name == "retinanet":
        neck = FPNSpec(extra="on_input", relu_before_extra=True)
        return RetinaNetSpec(backbone=BACKBONE, neck=neck).build(CLASSES)
    return FCOSSpec(
        backbone=BACKBONE,
        head=FCOSHeadSpec(conv_bias=True, ctrness_on="reg", distances="relu_stride"),
        assigner=FCOSAssigner(center_radius=1.5),
        box_loss=GIoULoss(),
    ).build(CLASSES)


def theirs(name: str) -> nn.Module:
    model = _their_faster_rcnn() if name == "faster_rcnn" else _their_dense(name)
    model.transform = NoTransform()
    return model


def _their_faster_rcnn() -> nn.Module:
    """With the proposals, samples and detections of `FasterRCNNSpec`."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=3,
    )
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    model: nn.Module = torchvision_detection.FasterRCNN(
        backbone,
        CLASSES + 1,  # and background
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=2000,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_train=1000,
        rpn_post_nms_top_n_test=1000,
        box_score_thresh=SCORE_THRESH,
        box_nms_thresh=0.5,
        box_detections_per_img=100,
    )
    return model


def _their_dense(name: str) -> nn.Module:
    retinanet = name == "retinanet"
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=3,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(2048 if retinanet else 256, 256),
    )
    model: nn.Module
    if retinanet:
        model = torchvision_detection.RetinaNet(
            backbone, CLASSES, score_thresh=SCORE_THRESH, detections_per_img=100
        )
    else:
        # Its score is sqrt(class * centre-ness), and a fresh centre-ness is 0.5.
        thresh = math.sqrt(SCORE_THRESH * 0.5)
        model = torchvision_detection.FCOS(
            backbone, CLASSES, score_thresh=thresh, nms_thresh=0.5, detections_per_img=100
        )
    return model


@torch.no_grad()
def raise_scores(model: nn.Module) -> None:
    """Let one class start just above the threshold, so that 1/80 of all pairs are candidates."""
    odds = HIGH_PROB / (1 - HIGH_PROB)
    for name, parameter in model.named_parameters():
        if name.endswith((".fc_cls.bias", ".cls_score.bias")):  # softmax, with a background
            parameter[1] = math.log(CLASSES * odds)
        elif name.endswith(
            ("classification_head.cls_logits.bias", "retina_cls.bias", "conv_cls.bias")
        ):
            parameter.view(-1, CLASSES)[:, 0] = math.log(odds)


def tiny_objects(setting: Setting) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Images [B, 3, S, S], and boxes and labels with the sizes of AI-TOD."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(setting.batch, 3, setting.size, setting.size, generator=generator)
    boxes, labels = [], []
    for _ in range(setting.batch):
        side = 12.8 + 5.9 * torch.randn(setting.objects, 1, generator=generator)
        half = side.clamp(min=2) / 2
        center = torch.rand(setting.objects, 2, generator=generator) * (setting.size - 64) + 32
        boxes.append(torch.cat((center - half, center + half), dim=1).to(setting.device))
        label = torch.randint(CLASSES, (setting.objects,), generator=generator)
        labels.append(label.to(setting.device))
    return images.to(setting.device), boxes, labels


def training_steps(name: str, setting: Setting) -> tuple[Callable[[], object], ...]:
    """Our step and theirs: forward, losses, backward, SGD."""
    images, boxes, labels = tiny_objects(setting)
    size = (setting.size, setting.size)
    targets = [Targets.of(b, c, size) for b, c in zip(boxes, labels, strict=True)]
    dicts = [{"boxes": b, "labels": c} for b, c in zip(boxes, labels, strict=True)]
    mine, other = both(name, setting.device)
    return (
        _step(mine.train(), lambda: mine.loss(images, targets), setting),
        _step(other.train(), lambda: other(list(images), dicts), setting),
    )


def _step(
    model: nn.Module, losses: Callable[[], dict[str, Tensor]], setting: Setting
) -> Callable[[], object]:
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with setting.autocast():
            total = torch.stack(list(losses().values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def predictions(name: str, setting: Setting, *, many: bool) -> tuple[Callable[[], object], ...]:
    """Our prediction and theirs."""
    images, _, _ = tiny_objects(setting)
    mine, other = both(name, setting.device)
    mine.eval()
    other.eval()
    if many:
        raise_scores(mine)
        raise_scores(other)

    def predict_ours() -> object:
        with setting.autocast():
            return mine.predict(images)

    def predict_theirs() -> object:
        with torch.no_grad(), setting.autocast():
            return other(list(images))

    return predict_ours, predict_theirs


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(calls: tuple[Callable[[], object], ...], setting: Setting) -> tuple[float, float]:
    """Median seconds of both, measured alternately after one warm-up each."""
    times: list[list[float]] = [[], []]
    for turn in range(setting.repeats + 1):
        for call, kept in zip(calls, times, strict=True):
            taken = seconds_of(call, setting.device)
            if turn:
                kept.append(taken)
    return statistics.median(times[0]), statistics.median(times[1])


def measure(name: str, phase: str, setting: Setting) -> Record:
    torch.manual_seed(0)
    if phase == "train":
        calls = training_steps(name, setting)
    else:
        calls = predictions(name, setting, many=phase == "predict_many")
    seconds, other = in_turns(calls, setting)
    return Record(
        name=name,
        phase=phase,
        seconds=seconds,
        torchvision_seconds=other,
        ratio=seconds / other,
        images_per_second=setting.batch / seconds,
        size=setting.size,
        batch=setting.batch,
        objects=setting.objects,
        threads=torch.get_num_threads(),
        device=_device_name(setting.device),
        precision="bf16" if setting.bf16 else "fp32",
        repeats=setting.repeats,
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


def settings(args: argparse.Namespace) -> list[Setting]:
    """Two images of 512 px in fp32; with a CUDA GPU also sixteen of 800 px in bf16."""
    cuda = args.device == "cuda" or (args.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if cuda else "cpu")
    cases = [(512, 2, False), (800, 16, True)] if cuda else [(512, 2, False)]
    return [
        Setting(args.size or size, args.batch or batch, args.objects, args.repeats, device, bf16)
        for size, batch, bf16 in cases
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", default=["retinanet", "fcos", "faster_rcnn"])
    parser.add_argument("--phases", nargs="+", default=["train", "predict", "predict_many"])
    parser.add_argument("--size", type=int, help="side of the square images in pixels")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--objects", type=int, default=200, help="per image")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--json", type=Path, help="write the records here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    records = []
    print(f"{'name':11} {'phase':13} {'ours s':>9} {'torchvision s':>14} {'ratio':>6} {'img/s':>7}")
    for setting in settings(args):
        for name in args.names:
            for phase in args.phases:
                row = measure(name, phase, setting)
                records.append(asdict(row))
                print(
                    f"{row.name:11} {row.phase:13} {row.seconds:9.4f} "
                    f"{row.torchvision_seconds:14.4f} {row.ratio:6.2f} "
                    f"{row.images_per_second:7.2f}",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
