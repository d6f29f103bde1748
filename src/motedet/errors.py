"""Errors that motedet raises on purpose, and the input checks that raise them.

Every message says where (file, image id, key), what was found, what was expected, and what to do.
The command line prints that one line and exits with code 2.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line must start without torch
    from torch import Tensor


class MotedetError(Exception):
    """Base of every error that motedet raises on purpose."""


class ShapeError(MotedetError, ValueError):
    """A tensor does not have the shape or type that its name promises."""


class DataError(MotedetError, ValueError):
    """An image, an annotation file or a data folder cannot be used as it is."""


class RecipeError(MotedetError, ValueError):
    """A recipe, or one of its keys or values, is not valid."""


class CheckpointError(MotedetError, RuntimeError):
    """A weights file does not fit the model, or is not what it claims to be."""


class MissingPackageError(MotedetError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class TrainingError(MotedetError, RuntimeError):
    """Training cannot go on; the message names the images of the batch."""


def check_boxes(boxes: "Tensor", name: str) -> None:
    """Raise unless `boxes` is a floating-point [N, 4] tensor.

    Raises:
        ShapeError: naming the tensor, its type and its shape.
    """
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
        raise ShapeError(
            f"{name} must be a float tensor [N, 4] (xyxy, pixels); "
            f"got {boxes.dtype} {list(boxes.shape)}."
        )
