"""Suppression that takes one box after the other, written as a loop of ONNX.

Each round takes the best box left of every image, its pick, and lowers the scores of others. That
gives what the definitions give: no score rises, so boxes are picked in the order of their final
scores, and of equals the first is picked first. There are as many rounds as boxes are kept.

W candidates of each of B images are a table [B, 5, W] of x1, y1, x2, y2 and label, with scores
[B, 1, W]; picks are [B, 5, 1]. A rule makes lower scores of scores, table, picks and two numbers.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx.inliner
from onnxscript import BOOL, FLOAT, INT64, graph, opset18, script
from onnxscript.values import Opset

from motedet.export.suppression import FLOOR

op: Any = opset18  # in which the exporter thinks; its types do not know what a constant is

if TYPE_CHECKING:
    Bools: TypeAlias = Any
    Floats: TypeAlias = Any
    Ints: TypeAlias = Any
else:  # of any shape; the bare names are single numbers for ONNX
    Bools, Floats, Ints = BOOL[...], FLOAT[...], INT64[...]


def function(body: Callable[..., Any]) -> Any:  # noqa: ANN401 - functions of ONNX have no type
    """The function of ONNX that is written like this in Python."""
    return script(Opset("motedet", 1), default_opset=op)(body)


@function
def overlap(table: Floats, pick: Floats) -> Floats:
    """[B, 1, W] as `aligned_iou`."""
    x1, y1, x2, y2, _ = op.Split(table, axis=1, num_outputs=5)
    px1, py1, px2, py2, _ = op.Split(pick, axis=1, num_outputs=5)
    zero = op.Constant(value_float=0.0)
    width = op.Max(op.Min(x2, px2) - op.Max(x1, px1), zero)
    height = op.Max(op.Min(y2, py2) - op.Max(y1, py1), zero)
    inter = width * height
    union = (x2 - x1) * (y2 - y1) + (px2 - px1) * (py2 - py1) - inter
    return inter / op.Max(union, op.Constant(value_float=1e-6))


@function
def wasserstein(table: Floats, pick: Floats) -> Floats:
    """[B, 1, W] as `motedet.geometry.gaussians.wasserstein`."""
    x1, y1, x2, y2, _ = op.Split(table, axis=1, num_outputs=5)
    px1, py1, px2, py2, _ = op.Split(pick, axis=1, num_outputs=5)
    eps = op.Constant(value_float=1e-6)
    two = op.Constant(value_float=2.0)
    dx = (px1 + px2) / two - (x1 + x2) / two
    dy = (py1 + py2) / two - (y1 + y2) / two
    dw = (px2 - px1 + eps) - (x2 - x1 + eps)
    dh = (py2 - py1 + eps) - (y2 - y1 + eps)
    return (dx * dx + dy * dy + eps) + (dw * dw + dh * dh) / op.Constant(value_float=4.0)


@function
def same_class(table: Floats, pick: Floats) -> Bools:
    """[B, 1, W]."""
    label = op.Constant(value_ints=[4])
    return op.Gather(table, label, axis=1) == op.Gather(pick, label, axis=1)


@function
def linear(scores: Floats, table: Floats, pick: Floats, nms_iou: FLOAT, unused: FLOAT) -> Floats:
    """As `SoftNMS.factors` with "linear"."""
    iou = overlap(table, pick)
    lowered = scores * (op.Constant(value_float=1.0) - iou)
    return op.Where(op.And(iou > nms_iou, same_class(table, pick)), lowered, scores)


@function
def gaussian(scores: Floats, table: Floats, pick: Floats, unused: FLOAT, sigma: FLOAT) -> Floats:
    """As `SoftNMS.factors` with "gaussian"."""
    iou = overlap(table, pick)
    lowered = scores * op.Exp(-(iou * iou) / sigma)
    return op.Where(same_class(table, pick), lowered, scores)


@function
def similar(scores: Floats, table: Floats, pick: Floats, thresh: FLOAT, constant: FLOAT) -> Floats:
    """As `similarity_nms`, regardless of class: what is similar is out."""
    nwd = op.Exp(-op.Sqrt(wasserstein(table, pick)) / constant)
    return op.Where(nwd > thresh, op.Constant(value_float=-1.0), scores)


def rounds(lowered: Any) -> Any:  # noqa: ANN401
    """The loop with a rule.

    Args:
        lowered: one of the above.

    Returns:
        A function of scores, table, the number of rounds at most, the lowest score that is picked,
        and the two numbers of the rule. It returns the score and the candidate of each pick, both
        [T, B, 1, 1]; an image without a box left has scores below the lowest one.
    """

    def picked(
        scores: Floats,
        table: Floats,
        count: INT64,
        lowest: FLOAT,
        first: FLOAT,
        second: FLOAT,
    ) -> tuple[Floats, Ints]:
        one = op.Constant(value_ints=[1])
        five = op.Constant(value_ints=[1, 5, 1])
        out = op.Constant(value_floats=[-1.0])

        @graph()
        def turn(number: INT64, going: BOOL, left: Floats):  # type: ignore[no-untyped-def]  # noqa: ANN202 - taken for its caller's
            best, place = op.TopK(left, one, axis=2)
            pick = op.GatherElements(table, op.Expand(place, five), axis=2)
            rest = lowered(left, table, pick, first, second)
            rest = op.ScatterElements(rest, place, op.Expand(out, op.Shape(place)), axis=2)
            return op.ReduceMax(best, keepdims=0) >= lowest, rest, op.Identity(best), place

        _, best, place = op.Loop(count, op.Cast(op.Constant(value_int=1), to=9), scores, body=turn)
        return best, place

    # every loop has the same name: domains tell them apart
    return script(Opset(f"motedet.{lowered.name}", 1), default_opset=op)(picked)


LINEAR, GAUSSIAN, SIMILAR = rounds(linear), rounds(gaussian), rounds(similar)
FUNCTIONS = (overlap, wasserstein, same_class, linear, gaussian, similar)


def in_rounds(
    loop: Any,  # noqa: ANN401
    candidates: tuple[FLOAT, FLOAT, INT64],
    max_per_image: int,
    lowest: float,
    numbers: tuple[float, float],
) -> tuple[INT64, FLOAT]:
    """Suppression in every image of a batch.

    Args:
        loop: one of the above.
        candidates: boxes [B, N, 4], scores [B, N] with `OUT` for none, and labels [B, N].
        max_per_image: at most so many are kept in an image.
        lowest: score that is kept.
        numbers: of the rule.

    Returns:
        [S, 2] image and place of what is kept, image by image, best first, and [S] its scores.
    """
    boxes, scores, labels = candidates
    zero, one, two = (op.Constant(value_ints=[number]) for number in range(3))
    floor = op.Constant(value_float=lowest)
    # Rounds look at W candidates, as many as the fullest image has, and not at N places.
    there = op.Cast(op.Greater(scores, op.Constant(value_float=FLOOR)), to=7)  # int64, [B, N]
    most = op.ReduceMax(op.ReduceSum(there, one, keepdims=0))  # [1]
    _, place = op.TopK(there, op.Max(most, one), axis=1)  # [B, W], the first of equals first
    boxes = op.GatherND(boxes, op.Unsqueeze(place, two), batch_dims=1)  # [B, W, 4]
    labels = op.Cast(op.GatherElements(labels, place, axis=1), to=1)  # float32, [B, W]
    table = op.Concat(boxes, op.Unsqueeze(labels, two), axis=2)  # [B, W, 5]
    best, pick = loop(
        op.Unsqueeze(op.GatherElements(scores, place, axis=1), one),
        op.Transpose(table, perm=[0, 2, 1]),
        op.Constant(value_int=max_per_image),
        floor,
        *[op.Constant(value_float=number) for number in numbers],
    )
    single = op.Constant(value_ints=[2, 3])
    best = op.Transpose(op.Squeeze(best, single), perm=[1, 0])  # [B, T]
    pick = op.Transpose(op.Squeeze(pick, single), perm=[1, 0])  # [B, T]
    rows = op.Transpose(op.NonZero(op.GreaterOrEqual(best, floor)), perm=[1, 0])  # [S, 2]
    places = op.GatherND(op.GatherElements(place, pick, axis=1), rows)  # [S]
    image = op.Gather(rows, zero, axis=1)  # [S, 1]
    return op.Concat(image, op.Unsqueeze(places, one), axis=1), op.GatherND(best, rows)


def with_functions(model: Any) -> Any:  # noqa: ANN401 - onnx has no types
    """A model with what its loops call: the exporter writes the loops, but not these functions."""
    if all(node.op_type != "Loop" for node in model.graph.node):
        return model
    version = next(entry.version for entry in model.opset_import if entry.domain == "")
    for written in FUNCTIONS:
        proto = written.to_function_proto()
        for entry in proto.opset_import:
            if entry.domain == "":  # nothing that is used here has changed between the two
                entry.version = version
        model.functions.append(proto)
    return onnx.inliner.inline_local_functions(model)
