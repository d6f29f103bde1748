"""Backbones: any timm model with feature maps, behind one small class.

The stages are numbered as in the papers: stage s has stride 2^(s + 1), so C2..C5 of a ResNet are
stages 1..4. Parameter names are timm's, which for ResNets are also torchvision's and mmdetection's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, cast

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from motedet.errors import RecipeError


class Backbone(nn.Module):
    """A timm feature extractor with frozen parts.

    Attributes:
        channels: of each returned feature map.
        strides: of each returned feature map, in pixels per cell.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        frozen: Sequence[nn.Module],
        freeze_bn: bool,
        train_affine: bool,
    ) -> None:
        super().__init__()
        # The children are adopted under their own names, so that the state dict has the published
        # names; the tuple hides the network itself from registration.
        self._network = (network,)
        for name, child in network.named_children():
            self.add_module(name, child)
        self._nhwc = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
        self._frozen = tuple(frozen)
        self._freeze_bn = freeze_bn
        info = _feature_info(network)
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.strides: tuple[int, ...] = tuple(info.reduction())
        for module in self._frozen:
            module.requires_grad_(False)
        if not train_affine:
            for norm in self._batch_norms():
                norm.requires_grad_(False)
        self.train()  # modules are born in training mode, the frozen ones too

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the chosen stages, finest first.

        Args:
            images: [B, 3, H, W], normalised.

        Returns:
            One [B, C, h, w] per chosen stage.
        """
        # On CPU and on tensor cores alike, convolutions are fastest with the channels innermost.
        features = self._network[0](images.contiguous(memory_format=torch.channels_last))
        if self._nhwc:
            return [f.permute(0, 3, 1, 2) for f in features]
        return list(features)

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        if self._freeze_bn:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def _batch_norms(self) -> list[nn.Module]:
        return [m for m in self.modules() if isinstance(m, _BatchNorm)]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Which backbone, and which parts of it learn.

    Attributes:
        name: a timm model.
        out_stages: the stages whose features are used, 1 (stride 4) to 4 (stride 32); stages after
            the last one are not built.
        style: where bottleneck ResNets have their stride: "pytorch" on the 3x3, "caffe" on the
            first 1x1. The names and shapes are equal, so weights load silently in the wrong style.
            ResNets without bottlenecks (18, 34) are the same in both.
        frozen_stages: 0 freezes nothing, n the stem and the stages up to n.
        freeze_bn: batch-norm uses its stored statistics in training too.
        train_bn_affine: whether scales and shifts of the batch-norms learn.
        pretrained: download timm's weights when built.
    """

    kind: Literal["timm"] = "timm"
    name: str = "resnet50"
    out_stages: tuple[int, ...] = (1, 2, 3, 4)
    style: Literal["pytorch", "caffe"] = "pytorch"
    frozen_stages: int = 0
    freeze_bn: bool = False
    train_bn_affine: bool = True
    pretrained: bool = False

    def __post_init__(self) -> None:
        """Check the stages."""
        if not self.out_stages or list(self.out_stages) != sorted(set(self.out_stages)):
            raise ValueError(f"out_stages must increase; got {self.out_stages}.")
        if self.out_stages[0] < 1:
            raise ValueError(f"out_stages start at 1 (stride 4); got {self.out_stages}.")
        if self.frozen_stages < 0:
            raise ValueError(f"frozen_stages must be 0 or more; got {self.frozen_stages}.")

    def build(self) -> Backbone:
        """The module, with random weights unless `pretrained`.

        Raises:
            RecipeError: if timm has no such model, or it cannot do what is asked.
        """
        if self.pretrained and self.style == "caffe":
            raise RecipeError(
                f"timm's weights of {self.name!r} are of the pytorch style, but would load "
                "into the caffe style without a word; start from caffe weights (motedet train "
                "--init FILE), or set model.backbone.style=pytorch and a normalisation to match."
            )
        network = self._create()
        if self.style == "caffe":
            _move_strides_to_first_conv(network, self.name)
        backbone = Backbone(
            network,
            frozen=_first_stages(network, self.frozen_stages, self.name),
            freeze_bn=self.freeze_bn,
            train_affine=self.train_bn_affine,
        )
        return backbone.to(memory_format=torch.channels_last)

    def _create(self) -> nn.Module:
        indices = _feature_indices(self.name, self.out_stages)
        try:
            network: nn.Module = timm.create_model(
                self.name, features_only=True, out_indices=indices, pretrained=self.pretrained
            )
        except (OSError, RuntimeError) as error:
            if not self.pretrained:
                raise
            reason = str(error).splitlines()[0]
            raise RecipeError(
                f"The pretrained weights of {self.name!r} could not be fetched ({reason}). "
                "Connect to the network once, or set backbone.pretrained to false."
            ) from error
        return network


def _feature_indices(name: str, stages: Sequence[int]) -> tuple[int, ...]:
    """Positions in timm's list of features that have the strides of `stages`."""
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"{name[:6]}*")[:5])
        raise RecipeError(f"timm has no model {name!r}; similar names: {similar or 'none'}.")
    try:
        with torch.device("meta"):  # shapes only
            network: nn.Module = timm.create_model(name, features_only=True)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise RecipeError(f"timm's {name!r} cannot return feature maps ({error}).") from error
    found: list[int] = list(_feature_info(network).reduction())
    wanted = [2 ** (stage + 1) for stage in stages]
    if not set(wanted) <= set(found):
        raise RecipeError(
            f"{name!r} has features at strides {found}; stages {tuple(stages)} need {wanted}."
        )
    return tuple(len(found) - 1 - found[::-1].index(stride) for stride in wanted)


def _feature_info(network: nn.Module) -> FeatureInfo:
    """Timm's description of the feature maps."""
    return cast("FeatureInfo", network.feature_info)


def _first_stages(network: nn.Module, count: int, name: str) -> list[nn.Module]:
    """The children of `network` up to the one that ends stage `count`."""
    if count == 0:
        return []
    children = list(network.named_children())
    # By stride and not by number: DarkNet's first stage is one of stride 2.
    last = {row["reduction"]: row["module"] for row in _feature_info(network).info}
    named = str(last.get(2 ** (count + 1))).replace(".", "_")  # as timm flattens names
    ends = [key for key, _ in children if key in (f"layer{count}", named)]
    if not ends:
        raise RecipeError(f"frozen_stages={count} is not known for {name!r}; use 0.")
    before = [module for _, module in takewhile(lambda child: child[0] != ends[0], children)]
    return [*before, network.get_submodule(ends[0])]


def _move_strides_to_first_conv(network: nn.Module, name: str) -> None:
    """Turn the "pytorch" style into the "caffe" style; blocks of two 3x3 have only one style."""
    blocks = [m for m in network.modules() if hasattr(m, "conv1") and hasattr(m, "conv2")]
    if not blocks or not isinstance(getattr(network, "layer1", None), nn.Module):
        raise RecipeError(f"style 'caffe' is for ResNets; {name!r} is none.")
    for block in blocks:
        if hasattr(block, "conv3"):
            first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
            first.stride, second.stride = second.stride, first.stride
