"""DarkNet-53 (Redmon and Farhadi 2018, arXiv:1804.02767), made from timm's.

The published detectors rectify with a leaky slope of 0.1, timm's DarkNet with PyTorch's 0.01. The
names and shapes are equal, so weights would load silently under the wrong slope.
"""

from dataclasses import dataclass
from typing import Final, Literal

from torch import nn

from motedet.errors import RecipeError
from motedet.models.backbones.timm_features import Backbone, BackboneSpec

TIMM_SLOPE: Final = 0.01  # of timm's module, with which its ImageNet weights were trained


@dataclass(frozen=True, kw_only=True)
class DarkNetSpec:
    """Which stages, and which parts learn.

    Channels are 128, 256, 512 and 1024 at strides 4 to 32. Without weights it starts as timm
    starts it: Kaiming normal, and every residual block as the identity.

    Attributes:
        out_stages: the stages whose features are used, 1 (stride 4) to 4 (stride 32).
        leaky_slope: of all activations.
        frozen_stages: 0 freezes nothing, n the stem and the stages up to n, statistics included.
        freeze_stem: the stem's weights do not learn, but its batch-norm goes on collecting
            statistics. Published configs of DarkNet detectors call this `frozen_stages=0`.
        freeze_bn: batch-norm uses its stored statistics in training too.
        train_bn_affine: whether scales and shifts of the batch-norms learn.
        pretrained: download timm's ImageNet weights when built; they need `leaky_slope=0.01`.
    """

    kind: Literal["darknet53"] = "darknet53"
    out_stages: tuple[int, ...] = (1, 2, 3, 4)
    leaky_slope: float = 0.1
    frozen_stages: int = 0
    freeze_stem: bool = False
    freeze_bn: bool = False
    train_bn_affine: bool = True
    pretrained: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.leaky_slope < 1:
            raise ValueError(f"leaky_slope must be in [0, 1); got {self.leaky_slope}.")
        if not 0 <= self.frozen_stages <= 4:
            raise ValueError(f"frozen_stages must be 0 to 4; got {self.frozen_stages}.")
        self._of_timm()  # which checks the stages

    @property
    def name(self) -> str:
        """The timm model."""
        return "darknet53"

    def build(self) -> Backbone:
        """The module, with random weights unless `pretrained`.

        Raises:
            RecipeError: if timm's weights do not fit the slope, or cannot be fetched.
        """
        if self.pretrained and self.leaky_slope != TIMM_SLOPE:
            raise RecipeError(
                f"timm's weights of 'darknet53' were trained with a leaky slope of {TIMM_SLOPE}, "
                f"but would load into one of {self.leaky_slope} without a word; set "
                f"model.backbone.leaky_slope={TIMM_SLOPE}, or start from weights of slope 0.1 "
                "(motedet train --init FILE)."
            )
        backbone = self._of_timm().build()
        for module in backbone.modules():
            if isinstance(module, nn.LeakyReLU):
                module.negative_slope = self.leaky_slope
        if self.freeze_stem:
            backbone.get_submodule("stem_conv1").requires_grad_(False)
        return backbone

    def _of_timm(self) -> BackboneSpec:
        """The same network, up to the slope."""
        return BackboneSpec(
            name=self.name,
            out_stages=self.out_stages,
            frozen_stages=self.frozen_stages,
            freeze_bn=self.freeze_bn,
            train_bn_affine=self.train_bn_affine,
            pretrained=self.pretrained,
        )
