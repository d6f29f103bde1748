from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fake_data import write_image
from motedet.data.images import DeepGrey, read_image, read_image_size
from motedet.errors import DataError


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_modes_of_png_become_three_channels(tmp_path: Path, mode: str) -> None:
    write_image(tmp_path / "a.png", mode=mode)
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert image.shape == (3, 48, 64)
    if mode in {"L", "LA", "1"}:
        assert torch.equal(image[0], image[2])


def test_cmyk_jpeg_becomes_three_channels(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", mode="CMYK")
    assert read_image(tmp_path / "a.jpg").shape == (3, 48, 64)


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), 200, dtype=np.uint8)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 200).all()


def test_palette_with_transparency_reads_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (4, 3))
    image.putpalette([10, 20, 30] * 256)
    image.save(tmp_path / "a.png", transparency=bytes([0] * 256))
    assert read_image(tmp_path / "a.png")[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("values", "rule", "expected"),
    [
        ([0, 100, 255], "depth", [0, 100, 255]),
        ([0, 4095], "depth", [0, 255]),
        ([0, 8000, 16383], "depth", [0, 125, 255]),
        ([0, 65535], "depth", [0, 255]),
        ([0, 257, 2570], "full", [0, 1, 10]),
        ([1000, 1500, 2000], "stretch", [0, 128, 255]),
        ([7, 7], "stretch", [0, 0]),
    ],
    ids=["8 bits used", "12 bits", "14 bits", "16 bits", "full", "stretch", "flat"],
)
def test_deep_grey(tmp_path: Path, values: list[int], rule: DeepGrey, expected: list[int]) -> None:
    Image.fromarray(np.array([values], dtype=np.uint16)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", deep_grey=rule)
    assert image[:, 0].tolist() == [expected] * 3


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[-1.0, 0.0, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 200000]], dtype=np.int32), [0, 255]),
        (np.array([[0.0, np.nan, 1.0]], dtype=np.float32), [0, 0, 255]),
    ],
    ids=["float 0 to 1", "negative", "over 16 bits", "not a number"],
)
def test_float_and_wide_tiff(tmp_path: Path, pixels: np.ndarray, expected: list[int]) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == expected


def test_size_is_height_then_width(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", size=(7, 9))
    assert read_image_size(tmp_path / "a.png") == (7, 9)


def test_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_image, read_image_size):
        with pytest.raises(DataError, match=r"nope.png: no such image file"):
            read(tmp_path / "nope.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, size=(100, 100))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"a\.\w+: cannot be read as an image \(2000 bytes"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image at all"], ids=["empty", "text"])
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


def test_image_beyond_pillows_limit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    assert read_image(tmp_path / "a.png").shape == (3, 40, 40)
    assert read_image_size(tmp_path / "a.png") == (40, 40)
