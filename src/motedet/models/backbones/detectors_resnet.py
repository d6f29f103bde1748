"""ResNets of DetectoRS (Qiao et al. 2020, arXiv:2006.02334), made from timm's ResNets.

Every convolution is standardised, the 3x3 of the later stages are switchable atrous convolutions,
and the network can look at the images again with a feature pyramid in mind. Parameter names are
mmdetection's, which are the plain ResNet's plus those of the added parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from motedet.errors import RecipeError
from motedet.models.atrous import ConvAWS2d, SAConv2d
from motedet.models.backbones.timm_features import Backbone, BackboneSpec

STAGES: Final = (1, 2, 3, 4)  # stage s has stride 2^(s + 1)


class DetectoRSResNet(nn.Module):
    """A ResNet with standardised and switchable convolutions, and a second look.

    The state dict of the plain ResNet can be loaded, and then gives the plain ResNet's features.

    Attributes:
        channels: of C2..C5.
        strides: of C2..C5, in pixels per cell.
    """

    def __init__(
        self, spec: "DetectoRSResNetSpec", plain: Backbone, rfp_channels: int | None
    ) -> None:
        super().__init__()
        self.channels, self.strides = plain.channels, plain.strides
        self._takes_pyramid = rfp_channels is not None
        self._stem: list[str] = []
        for name, child in list(plain.named_children()):  # under their published names
            self.add_module(name, child)
            if not name.startswith("layer"):
                self._stem.append(name)
        self._freeze_bn = spec.freeze_bn
        frozen_layers = [f"layer{stage}" for stage in STAGES[: spec.frozen_stages]]
        self._frozen = [*self._stem, *frozen_layers] if spec.frozen_stages else []
        _standardise_(self)
        for stage in STAGES:
            self._prepare_stage(stage, spec, rfp_channels)
        for name in self._frozen:
            self.get_submodule(name).requires_grad_(False)
        if not spec.train_bn_affine:
            for norm in self._batch_norms():
                norm.requires_grad_(False)
        self.train()  # modules are born in training mode, the frozen ones too

    def forward(self, images: Tensor) -> list[Tensor]:
        """The images, then the features of the four stages, finest first.

        Args:
            images: [B, 3, H, W], normalised.

        Returns:
            The images themselves, because the recursive neck looks at them again, and C2..C5,
            each [B, C, h, w].
        """
        return [images, *self._features(images, None)]

    def refine(self, images: Tensor, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """The features of a second look (DetectoRS, section 3.2, eq. 2).

        Args:
            images: [B, 3, H, W], normalised.
            pyramid: what an earlier look found, finest first, at the strides of C2..C5; each
                [B, rfp_channels, h, w]. The first stage takes none, so the first map is not read.

        Returns:
            C2..C5, each [B, C, h, w].

        Raises:
            RecipeError: if there are fewer maps than stages, or the network was built without
                `rfp_channels`.
        """
        if len(pyramid) < len(STAGES) or not self._takes_pyramid:
            raise RecipeError(
                f"A second look needs a network built with rfp_channels (here: "
                f"{self._takes_pyramid}) and {len(STAGES)} pyramid levels; got {len(pyramid)}."
            )
        return self._features(images, pyramid)

    def train(self, mode: bool = True) -> "DetectoRSResNet":
        """Switch to training; what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        if self._freeze_bn:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def _features(self, images: Tensor, pyramid: Sequence[Tensor] | None) -> list[Tensor]:
        """C2..C5, with or without a pyramid in mind."""
        # On CPU and on tensor cores alike, convolutions are fastest with the channels innermost.
        x = images.contiguous(memory_format=torch.channels_last)
        for name in self._stem:
            x = self.get_submodule(name)(x)
        features: list[Tensor] = []
        for stage in STAGES:
            first, *others = self.get_submodule(f"layer{stage}").children()
            x = first(x)
            if pyramid is not None and stage > 1:
                x = x + first.get_submodule("rfp_conv")(pyramid[stage - 1])
            x = first.get_submodule("last_act")(x)  # see _prepare_stage
            for block in others:
                x = block(x)
            features.append(x)
        return features

    def _prepare_stage(
        self, stage: int, spec: "DetectoRSResNetSpec", rfp_channels: int | None
    ) -> None:
        """Give one stage its switchable convolutions and its input from the pyramid."""
        blocks = list(self.get_submodule(f"layer{stage}").children())
        if stage in spec.sac_stages:
            for block in blocks:
                plain = cast("ConvAWS2d", block.get_submodule("conv2"))
                block.add_module("conv2", _switchable(plain, use_deform=spec.use_deform))
        # The pyramid is added before the first block's last ReLU, which therefore moves out.
        last = "act3" if hasattr(blocks[0], "conv3") else "act2"
        blocks[0].add_module("last_act", blocks[0].get_submodule(last))
        blocks[0].add_module(last, nn.Identity())
        if rfp_channels is not None and stage > 1:
            conv = nn.Conv2d(rfp_channels, self.channels[stage - 1], 1)
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            blocks[0].add_module("rfp_conv", conv)
            hook = _complete_plain_block
            blocks[0].register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]

    def _batch_norms(self) -> list[nn.Module]:
        return [m for m in self.modules() if isinstance(m, _BatchNorm)]


@dataclass(frozen=True, kw_only=True)
class DetectoRSResNetSpec:
    """Which ResNet, and which parts of it learn.

    Its features are always those of stages 1 to 4 (C2..C5), behind the images.

    Attributes:
        name: a ResNet of timm, of the "pytorch" style (stride on the 3x3).
        frozen_stages: 0 freezes nothing, n the stem and the stages up to n.
        freeze_bn: batch-norm uses its stored statistics in training too.
        train_bn_affine: whether scales and shifts of the batch-norms learn.
        pretrained: download timm's ImageNet weights when built.
        use_deform: switchable convolutions are deformable too.
        sac_stages: the stages whose blocks have a switchable atrous convolution.
    """

    kind: Literal["detectors_resnet"] = "detectors_resnet"
    name: str = "resnet50"
    frozen_stages: int = 1
    freeze_bn: bool = True
    train_bn_affine: bool = True
    pretrained: bool = False
    use_deform: bool = True
    sac_stages: tuple[int, ...] = (2, 3, 4)

    def __post_init__(self) -> None:
        """Check the stages."""
        if not 0 <= self.frozen_stages <= len(STAGES):
            raise ValueError(f"frozen_stages must be 0 to 4; got {self.frozen_stages}.")
        if not set(self.sac_stages) <= set(STAGES) or list(self.sac_stages) != sorted(
            set(self.sac_stages)
        ):
            raise ValueError(f"sac_stages must increase, within 1 to 4; got {self.sac_stages}.")

    def build(self, rfp_channels: int | None = None) -> DetectoRSResNet:
        """The module; without `pretrained` it starts as timm's randomly initialised ResNet.

        Args:
            rfp_channels: of the pyramid that `refine` takes; without it there is no `refine`.

        Raises:
            RecipeError: if timm has no such ResNet, or its weights cannot be fetched.
        """
        plain = BackboneSpec(name=self.name, pretrained=self.pretrained).build()
        _check_resnet(plain, self.name)
        network = DetectoRSResNet(self, plain, rfp_channels)
        return network.to(memory_format=torch.channels_last)


def _check_resnet(network: nn.Module, name: str) -> None:
    """Raise unless `network` is laid out as a ResNet with a 3x3 in the middle of its blocks."""
    layers = [getattr(network, f"layer{stage}", None) for stage in STAGES]
    blocks = [b for layer in layers if isinstance(layer, nn.Sequential) for b in layer]
    middles = [getattr(block, "conv2", None) for block in blocks]
    known = all(isinstance(layer, nn.Sequential) for layer in layers) and all(
        isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3) for conv in middles
    )
    if not known:
        raise RecipeError(f"DetectoRS is made of ResNets such as 'resnet50'; {name!r} is none.")


def _standardise_(module: nn.Module) -> None:
    """Replace the convolutions below `module`, each by one that computes the same."""
    for key, child in list(module.named_children()):
        if type(child) is nn.Conv2d and child.bias is None:
            module.add_module(key, _standardised(child))
        else:
            _standardise_(child)


def _standardised(conv: nn.Conv2d) -> ConvAWS2d:
    """A ConvAWS2d that computes what `conv` computes."""
    twin = ConvAWS2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        stride=conv.stride[0],
        padding=cast("tuple[int, int]", conv.padding)[0],
        dilation=conv.dilation[0],
        groups=conv.groups,
    )
    twin.load_state_dict(conv.state_dict())
    return twin


def _switchable(conv: ConvAWS2d, *, use_deform: bool) -> SAConv2d:
    """A SAConv2d that computes what `conv` computes."""
    twin = SAConv2d(
        conv.in_channels,
        conv.out_channels,
        stride=conv.stride[0],
        dilation=conv.dilation[0],
        groups=conv.groups,
        use_deform=use_deform,
    )
    twin.load_state_dict({"weight": conv.weight.detach()})
    return twin


def _complete_plain_block(
    block: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Let the state dict of a plain block reproduce it: it adds nothing from the pyramid."""
    if f"{prefix}conv1.weight" in state_dict and f"{prefix}conv1.weight_gamma" not in state_dict:
        for name, parameter in block.get_submodule("rfp_conv").named_parameters():
            state_dict.setdefault(f"{prefix}rfp_conv.{name}", torch.zeros_like(parameter))
