"""Images read by window."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image

from motedet.data import rasters, read_image
from motedet.data.block_tiff import open_tiff
from motedet.data.rasters import open_raster
from motedet.data.tiling import Window
from motedet.errors import DataError

WINDOW = Window(x=20, y=5, width=17, height=30)


def pixels(bands: int, kind: str = "uint8") -> NDArray[np.generic]:
    return np.random.default_rng(0).integers(0, 250, (bands, 40, 60)).astype(kind)


def write_tiff(path: Path, values: NDArray[np.generic]) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=values.shape[2],
        height=values.shape[1],
        count=len(values),
        dtype=values.dtype,
        tiled=True,
        blockxsize=16,
        blockysize=16,
        compress="deflate",
        transform=rasterio.Affine.translation(1, 2),
    ) as file:
        file.write(values)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_windows_are_parts_of_the_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels(3).transpose(1, 2, 0)).save(path)
    whole = read_image(path)
    with open_raster(path) as raster:
        assert raster.size == (40, 60)
        part = raster.read(WINDOW)
    assert part.dtype == torch.uint8
    assert torch.equal(part, whole[:, 5:35, 20:37])


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_bands_of_a_tiff(tmp_path: Path, bands: int) -> None:
    values = pixels(bands)
    with open_tiff(write_tiff(tmp_path / "a.tif", values)) as tiff:
        assert tiff.eight_bits
        part = tiff.read(WINDOW).numpy()
    wanted = values[:3] if bands >= 3 else np.repeat(values[:1], 3, axis=0)
    np.testing.assert_array_equal(part, wanted[:, 5:35, 20:37])


def test_deep_grey_is_decoded_whole(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels(1, "uint16") * 4)
    with open_raster(path) as raster:
        assert torch.equal(raster.read(WINDOW), read_image(path)[:, 5:35, 20:37])


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels(3))
    monkeypatch.setattr(rasters, "find_spec", lambda _: None)
    with open_raster(path) as raster:
        assert torch.equal(raster.read(WINDOW), read_image(path)[:, 5:35, 20:37])
    monkeypatch.setattr(rasters, "LARGE", 100)
    with pytest.raises(DataError, match=r"a.tif: 60 x 40 pixels .*pip install motedet\[geo\]"):
        open_raster(path).__enter__()
    assert importlib.util.find_spec("rasterio") is not None


def test_bad_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\x00nothing")
    for path in (broken, tmp_path / "none.tif", tmp_path / "none.png"):
        with pytest.raises(DataError, match=path.name):
            open_raster(path).__enter__()


def test_damaged_blocks_are_named(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels(3))
    data = bytearray(path.read_bytes())
    data[400:3000] = b"\xff" * 2600
    path.write_bytes(data)
    with open_raster(path) as raster, pytest.raises(DataError, match=r"a.tif: the window"):
        raster.read(Window(x=0, y=0, width=60, height=40))
