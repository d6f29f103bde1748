"""TIFF files read by blocks; needs rasterio (`pip install motedet[geo]`)."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as Part
from torch import Tensor

from motedet.data.tiling import Window
from motedet.errors import DataError
from motedet.structures import Size

CACHE: Final = 1 << 27  # bytes of decoded blocks; by itself GDAL keeps 5 % of the machine's memory


class BlockTIFF:
    """An open TIFF file; one band is repeated, more than three are left out."""

    def __init__(self, dataset: rasterio.DatasetReader) -> None:
        self._dataset = dataset
        self._bands = [1, 2, 3] if dataset.count >= 3 else [1, 1, 1]
        self.size: Size = (dataset.height, dataset.width)

    @property
    def eight_bits(self) -> bool:
        """Whether its bands can be used as they are."""
        return all(np.dtype(self._dataset.dtypes[band - 1]) == np.uint8 for band in self._bands)

    def read(self, window: Window) -> Tensor:
        """[3, h, w] uint8.

        Raises:
            DataError: naming the file if its blocks are damaged.
        """
        part = Part(window.x, window.y, window.width, window.height)
        try:
            pixels = self._dataset.read(self._bands, window=part)  # [3, h, w]
        except RasterioError as error:
            raise DataError(
                f"{self._dataset.name}: the window {window.corners} cannot be read ({error}); the "
                "file is damaged."
            ) from error
        return torch.from_numpy(pixels)


@contextmanager
def open_tiff(path: Path) -> Iterator[BlockTIFF]:
    """A TIFF file, open while the block runs.

    Raises:
        DataError: naming the file if it is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pixels are all we ask for
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise DataError(f"{path}: cannot be read as a TIFF ({error}).") from error
    with rasterio.Env(GDAL_CACHEMAX=CACHE), dataset:
        yield BlockTIFF(dataset)
