"""Images that are read window by window, so that their size is no matter."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from torch import Tensor

from motedet.data.images import read_image, read_image_size
from motedet.data.tiling import Window
from motedet.errors import DataError
from motedet.structures import Size

TIFF_SUFFIXES: Final = frozenset({".tif", ".tiff"})
LARGE: Final = 100_000_000  # pixels, 300 MB: a TIFF beyond it is not decoded whole


class Raster(Protocol):
    """An image that can be asked for its parts.

    Attributes:
        size: (height, width) in pixels.
    """

    size: Size

    def read(self, window: Window) -> Tensor:
        """[3, h, w] uint8, the pixels of a window inside the image."""


class WholeImage:
    """An image in memory, [3, H, W]."""

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self.size: Size = (image.shape[1], image.shape[2])

    def read(self, window: Window) -> Tensor:
        """[3, h, w], a view of the image."""
        x1, y1, x2, y2 = window.corners
        return self._image[:, y1:y2, x1:x2]


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """An image file whose windows can be read while the block runs.

    TIFF files of 8 bits are read by window where rasterio is installed; all others are decoded
    whole, once, as `read_image` does.

    Args:
        path: the file.

    Raises:
        DataError: naming the file if it is missing, damaged or not an image; or if it is a large
            TIFF and rasterio is missing.
    """
    if path.suffix.lower() in TIFF_SUFFIXES and path.is_file():
        if find_spec("rasterio") is not None:
            from motedet.data.block_tiff import open_tiff  # noqa: PLC0415 - optional package

            with open_tiff(path) as tiff:
                yield tiff if tiff.eight_bits else WholeImage(read_image(path))
            return
        _refuse_large(path)
    yield WholeImage(read_image(path))


def _refuse_large(path: Path) -> None:
    """Raise where a TIFF would have to be decoded whole although it is huge."""
    height, width = read_image_size(path)
    if height * width > LARGE:
        raise DataError(
            f"{path}: {width} x {height} pixels can only be read by window, which needs rasterio; "
            "install it with `pip install motedet[geo]`."
        )
