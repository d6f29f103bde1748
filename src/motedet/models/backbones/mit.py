"""Mix Transformer, the encoder of SegFormer (Xie et al. 2021, arXiv:2105.15203), from timm's parts.

It has the layout of PVT v2 (Wang et al. 2021, arXiv:2106.13797), which timm has, with narrower
feed-forward layers in the first two stages. Parameter names are those of timm's PVT v2.
"""

from dataclasses import dataclass
from typing import Final, Literal

import timm
import torch
from torch import nn

from motedet.errors import RecipeError
from motedet.models.backbones.timm_features import Backbone

EPS: Final = 1e-6  # of all layer norms; timm has 1e-5 in those behind convolutions

Size = Literal["b0", "b1", "b2", "b3", "b4", "b5"]


@dataclass(frozen=True, kw_only=True)
class MiTSpec:
    """Which size, and which parts learn.

    Features are at strides 4, 8, 16 and 32, each closed by a layer norm; images must be 32 px or
    larger. Channels are 64, 128, 320 and 512, of `b0` the half.

    Attributes:
        size: of the six of SegFormer; b2 to b5 are deeper than b1.
        drop_path: how often the last block is left out in training; it grows from 0 at the first.
        frozen_stages: 0 freezes nothing, n the first n stages.
        pretrained: timm has no weights of this network, so nothing but false can be built; it is
            there because all backbones have it.
    """

    kind: Literal["mit"] = "mit"
    size: Size = "b1"
    drop_path: float = 0.1
    frozen_stages: int = 0
    pretrained: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must be in [0, 1); got {self.drop_path}.")
        if not 0 <= self.frozen_stages <= 4:
            raise ValueError(f"frozen_stages must be 0 to 4; got {self.frozen_stages}.")

    @property
    def name(self) -> str:
        """What SegFormer calls it."""
        return f"mit_{self.size}"

    def build(self) -> Backbone:
        """The module with random weights.

        Raises:
            RecipeError: if `pretrained`.
        """
        if self.pretrained:
            raise RecipeError(
                f"timm has no weights of {self.name!r}; start from a file of them (motedet train "
                "--init FILE), and set model.backbone.pretrained=false."
            )
        network: nn.Module = timm.create_model(
            f"pvt_v2_{self.size}",  # depths, widths, heads and reductions are the same
            features_only=True,
            mlp_ratios=(4, 4, 4, 4),
            drop_path_rate=self.drop_path,
        )
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = EPS
        names = ["patch_embed", *(f"stages_{stage}" for stage in range(self.frozen_stages))]
        frozen = [network.get_submodule(name) for name in names] if self.frozen_stages else []
        backbone = Backbone(network, frozen=frozen, freeze_bn=False, train_affine=True)
        return backbone.to(memory_format=torch.channels_last)
