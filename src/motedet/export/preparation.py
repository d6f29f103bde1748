"""What happens to an image before the network: outside of the exported file, and inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motedet.data.transforms import AnyTransform, Normalise, Pad, Resize, ResizeKeepRatio, Scale
from motedet.errors import RecipeError
from motedet.structures import Size


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The test transforms of a recipe, taken apart.

    Attributes:
        resizing: what the runner does, in order, on uint8 pixels.
        normalise: what the file does itself.
        pad: the runner pads to multiples of its divisor, the file writes its value there.
    """

    resizing: tuple[Resize | ResizeKeepRatio | Scale, ...]
    normalise: Normalise
    pad: Pad

    @classmethod
    def of(cls, transforms: Sequence[AnyTransform]) -> "Preparation":
        """The parts of test transforms.

        Raises:
            RecipeError: unless they are resizing, then normalise, then perhaps pad.
        """
        resizing = tuple(t for t in transforms if isinstance(t, Resize | ResizeKeepRatio | Scale))
        normalise = [t for t in transforms if isinstance(t, Normalise)]
        pad = [t for t in transforms if isinstance(t, Pad)]
        kinds = [t.kind for t in transforms]
        expected = [t.kind for t in (*resizing, *normalise, *pad)]
        if kinds != expected or len(normalise) != 1 or len(pad) > 1:
            raise RecipeError(
                f"data.test_transforms are {', '.join(kinds) or 'none'}; export needs resize, "
                "resize_keep_ratio or scale, then normalise, then perhaps pad."
            )
        return cls(
            resizing=resizing,
            normalise=normalise[0],
            pad=pad[0] if pad else Pad(divisor=1),
        )

    def size(self) -> Size | None:
        """(height, width) that holds every prepared image; None if that depends on the image."""
        if not self.resizing:
            return None
        last = self.resizing[-1]
        if isinstance(last, Resize):
            return self._padded(last.size)
        if isinstance(last, ResizeKeepRatio):
            return self._padded((last.long, last.long))
        return None

    def check(self, size: Size) -> None:
        """Refuse a size that the padding would not leave alone.

        Raises:
            RecipeError: naming the nearest one that it does.
        """
        if min(size) < 1 or self._padded(size) != size:
            height, width = self._padded((max(size[0], 1), max(size[1], 1)))
            raise RecipeError(
                f"--size {size[0]}x{size[1]}: both sides must be multiples of {self.pad.divisor}, "
                f"as the recipe pads to; use {height}x{width}."
            )

    def as_dict(self) -> dict[str, Any]:
        """What the runner reads."""
        steps: list[dict[str, Any]] = []
        for step in self.resizing:
            if isinstance(step, Resize):
                steps.append({"kind": step.kind, "size": list(step.size)})
            elif isinstance(step, ResizeKeepRatio):
                steps.append({"kind": step.kind, "short": step.short, "long": step.long})
            else:
                steps.append({"kind": step.kind, "factor": step.factor})
        return {"resizing": steps, "divisor": self.pad.divisor}

    def _padded(self, size: Size) -> Size:
        divisor = self.pad.divisor
        return (-(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor)


class Normalised(nn.Module):
    """Normalisation and the value of the padding, inside of the file."""

    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        rule = preparation.normalise
        self.register_buffer("mean", torch.tensor(rule.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(rule.std)[:, None, None])
        self._bgr = rule.bgr
        self._value = preparation.pad.value

    def forward(self, images: Tensor, sizes: Tensor) -> Tensor:
        """What the detector reads.

        Args:
            images: [B, 3, H, W] uint8 in RGB; what is in the padding does not matter.
            sizes: [B, 2] int64, (height, width) of each image without its padding.

        Returns:
            [B, 3, H, W] float32.
        """
        pixels = images.to(torch.float32)
        if self._bgr:
            pixels = pixels.flip(1)
        pixels = (pixels - self.mean) / self.std
        y = torch.arange(images.shape[2])[:, None]  # [H, 1]
        x = torch.arange(images.shape[3])  # [W]
        height, width = sizes[:, :, None, None, None].unbind(1)  # [B, 1, 1, 1] each
        return pixels.where((y < height) & (x < width), self._value)
