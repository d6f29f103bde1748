from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from fake_data import write_image
from motedet.data.huge_images import any_size


def test_the_limit_of_pillow_is_lifted_and_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 48 x 64 is far beyond
    write_image(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    with pytest.raises(Image.DecompressionBombError):
        Image.open(BytesIO(content))
    with any_size(), any_size():
        assert Image.open(BytesIO(content)).size == (64, 48)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_limit_is_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    with pytest.raises(KeyError), any_size():
        raise KeyError
    assert Image.MAX_IMAGE_PIXELS == 7
