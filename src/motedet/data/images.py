"""Image files as uint8 tensors of three channels, whatever is stored in them."""

from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from motedet.data.huge_images import any_size
from motedet.errors import DataError
from motedet.structures import Size

DeepGrey = Literal["depth", "full", "stretch"]

IMAGE_SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
)

_DEPTHS: Final = (8, 10, 12, 14, 16)  # bits per pixel of common sensors
_DEEP_MODES: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_READ_ERRORS: Final = (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError)


def read_image(path: Path, *, deep_grey: DeepGrey = "depth") -> Tensor:
    """Decode an image file.

    Grey is repeated to three channels; alpha is dropped; palette and CMYK become RGB. The
    orientation tag of cameras is not applied, because annotation files count pixels as stored.

    Grey of more than 8 bits (16-bit PNG and TIFF, 32-bit integers, floats) is brought to 8 by
    `deep_grey`:

    - "depth": divide by the smallest of 8, 10, 12, 14 and 16 bits that holds the image's maximum. A
      14-bit infrared frame in a 16-bit file keeps its contrast, and frames of one sensor are almost
      always scaled alike. Beyond 16 bits, or with negative values, as "stretch".
      Floats within [0, 1] are multiplied by 255.
    - "full": divide 16 bits by 257, whatever is used of them.
    - "stretch": the image's own minimum becomes 0, its maximum 255. No percentiles: a tiny
      hot target is less than one pixel in a thousand.

    Args:
        path: the file.
        deep_grey: what to do with more than 8 bits.

    Returns:
        [3, H, W] uint8. Its memory is laid out as [H, W, 3], which resizing and batches prefer.

    Raises:
        DataError: naming the file if it is missing, truncated, or not an image.
    """
    try:
        with any_size(), Image.open(path) as image:
            if image.mode in _DEEP_MODES:
                pixels = _to_8_bits(np.asarray(image), deep_grey)  # [H, W]
                pixels = np.repeat(pixels[..., None], 3, axis=2)  # [H, W, 3]
            else:
                pixels = _rgb(image)  # [H, W, 3]
    except _READ_ERRORS as error:
        raise DataError(_unreadable(path, error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)  # [3, H, W]


def read_image_size(path: Path) -> Size:
    """Height and width from the header of an image file; nothing is decoded.

    Raises:
        DataError: naming the file if it is missing or not an image.
    """
    try:
        with any_size(), Image.open(path) as image:
            return image.height, image.width
    except _READ_ERRORS as error:
        raise DataError(_unreadable(path, error)) from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """[H, W, 3] of an image of at most 8 bits per channel; alpha is dropped, not blended."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow asks for this detour
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return np.array(rgb)  # a copy: Pillow's own memory is read-only


def _to_8_bits(pixels: NDArray[np.generic], rule: DeepGrey) -> NDArray[np.uint8]:
    """[H, W] uint8 of a deep grey image by one of the rules of `read_image`."""
    values = np.nan_to_num(pixels.astype(np.float32))  # [H, W]
    low, high = float(values.min()), float(values.max())
    if rule == "stretch" or low < 0 or high >= 2 ** _DEPTHS[-1]:
        offset, top = low, high
    elif np.issubdtype(pixels.dtype, np.floating) and high <= 1.0:
        offset, top = 0.0, 1.0
    elif rule == "full":
        offset, top = 0.0, 65535.0
    else:
        offset, top = 0.0, next(2.0**bits - 1 for bits in _DEPTHS if high < 2**bits)
    scaled = (values - offset) * (255.0 / max(top - offset, 1e-12))  # [H, W]
    return (scaled + 0.5).clip(0, 255).astype(np.uint8)


def _unreadable(path: Path, error: Exception) -> str:
    if not path.is_file():
        return f"{path}: no such image file. Check the path, or the image folder that was given."
    size = path.stat().st_size
    return (
        f"{path}: cannot be read as an image ({size} bytes; {str(error) or type(error).__name__}). "
        "It is truncated or not an image: replace it, or take it out of the annotations."
    )
