"""What every detector must do, whatever its head and its rule."""

import copy

import pytest
import torch
from torch import Tensor

from motedet.geometry import pairwise_iou
from motedet.models.dense import Detector, HeadOutputs
from motedet.models.detectors import AnyDetector, TwoStageOutputs
from motedet.structures import Targets
from small_detectors import SIZE, scene, small_dense, small_specs

SPECS, DENSE = small_specs(), small_dense()


@pytest.fixture(params=list(SPECS.values()), ids=list(SPECS))
def spec(request: pytest.FixtureRequest) -> AnyDetector:
    found: AnyDetector = request.param
    return found


def _build(spec: AnyDetector) -> Detector:
    torch.manual_seed(0)
    return spec.build(2)


@pytest.mark.parametrize("objects", [False, True], ids=["no objects", "objects"])
def test_losses_are_finite_and_reach_every_parameter(spec: AnyDetector, objects: bool) -> None:
    detector = _build(spec).train()
    losses = detector.loss(*scene(objects=objects))
    total = torch.stack(list(losses.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)
    # AutoAssign has no loss of boxes alone
    about_boxes = [v for n, v in losses.items() if "_box" in n or n == "loss_pos"]
    boxes = torch.stack(about_boxes)
    assert boxes.sum() > 0 if objects else boxes.sum() == 0
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_objects_without_area_do_no_harm(spec: AnyDetector) -> None:
    images, targets = scene()
    flat = torch.tensor([[30.0, 10.0, 30.0, 18.0], [12.0, 50.0, 20.0, 50.0]])
    boxes = torch.cat((flat[:1], targets[0].boxes, flat[1:]))
    labels = torch.cat((targets[0].labels[:1], targets[0].labels, targets[0].labels[:1]))
    losses = (
        _build(spec).train().loss(images, [Targets.of(boxes, labels, (SIZE, SIZE)), targets[1]])
    )
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    assert total > 0


def test_overfits_two_images(spec: AnyDetector) -> None:
    detector = _build(spec).train()
    images, targets = scene()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(detector.loss(images, targets).values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
    found = detector.eval().predict(images)
    for seen, true in zip(found, targets, strict=True):
        best = seen[torch.arange(min(len(seen), len(true.boxes)))]
        overlap = pairwise_iou(true.boxes, best.boxes)  # [G, G]
        same = true.labels[:, None] == best.labels[None]
        assert ((overlap > 0.5) & same).any(dim=1).all(), (overlap, best.scores)


def test_predictions_lie_in_the_images(spec: AnyDetector) -> None:
    detector = _build(spec).eval()
    _bias_classes(detector, 0)  # every prior or proposal is a candidate
    sizes = [(SIZE, 40), (30, SIZE)]
    for (height, width), found in zip(sizes, detector.predict(scene()[0], sizes), strict=True):
        assert 0 < len(found) <= 100
        assert found.boxes.min() >= 0
        assert found.boxes[:, 0::2].max() <= width
        assert found.boxes[:, 1::2].max() <= height
        assert (found.scores.diff() <= 0).all()


def test_no_detections(spec: AnyDetector) -> None:
    detector = _build(spec).eval()
    _bias_classes(detector, -10)
    for found in detector.predict(scene(objects=False)[0]):
        assert len(found) == 0


def _bias_classes(detector: Detector, value: float) -> None:
    """Set what every class starts from; the background class of second stages stays at 0."""
    for name, bias in detector.named_parameters():
        if "bbox_head" in name and name.endswith(("cls.bias", "hm.0.bias")):
            torch.nn.init.constant_(bias if "fc_cls" not in name else bias[:-1], value)


def test_a_single_process_needs_no_other_image(spec: AnyDetector) -> None:
    """The loss of a batch is the loss of its images, weighted by their share of the normaliser."""
    detector = _build(spec).eval()
    images, targets = scene()
    double = detector.loss(images.repeat(2, 1, 1, 1), targets * 2)
    single = detector.loss(images, targets)
    for name, value in single.items():
        torch.testing.assert_close(double[name], value, rtol=1e-4, atol=1e-6)


def test_shifted_images_give_shifted_detections(spec: AnyDetector) -> None:
    detector = _build(spec).eval()
    scores = [_blob_scores(detector, shift) for shift in (0, 16)]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-5)


def _blob_scores(detector: Detector, shift: int) -> Tensor:
    """Logits of the finest level around a blob in the middle of a large blank image."""
    images = torch.zeros(1, 3, 512, 512)
    images[:, 0, 200:208, 200 + shift : 208 + shift] = 3.0
    outputs = _dense_outputs(detector, images)
    h, w = outputs.level_sizes[0]
    per_cell = outputs.logits.shape[1] // sum(a * b for a, b in outputs.level_sizes)
    first: Tensor = outputs.logits[0, : h * w * per_cell].reshape(h, w, -1)  # [h, w, A * K]
    cell = (200 + shift) // 4
    return first[48:54, cell - 2 : cell + 4]


def _dense_outputs(detector: Detector, images: Tensor) -> HeadOutputs:
    """What is predicted at every prior."""
    with torch.no_grad():
        outputs = detector(images)
    dense: HeadOutputs = outputs.rpn if isinstance(outputs, TwoStageOutputs) else outputs
    return dense


@pytest.mark.parametrize("name", DENSE)
def test_forward_exports_and_matches(name: str) -> None:
    """Two-stage detectors are left out: how many proposals there are depends on the image."""
    detector = _build(DENSE[name]).eval()
    images, _ = scene()
    exported = torch.export.export(detector, (images,), strict=False).module()
    expected, found = detector(images), exported(images)
    assert found.level_sizes == expected.level_sizes
    for mine, theirs in zip(expected[:3], found[:3], strict=True):
        if mine is not None:
            torch.testing.assert_close(theirs, mine)


def test_copies_are_independent(spec: AnyDetector) -> None:
    detector = _build(spec).eval()
    twin = copy.deepcopy(detector)
    images, _ = scene()
    before = _dense_outputs(detector, images).logits
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    torch.testing.assert_close(_dense_outputs(detector, images).logits, before)
    assert not torch.equal(_dense_outputs(twin, images).logits, before)
