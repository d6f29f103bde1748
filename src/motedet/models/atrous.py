"""Convolutions of DetectoRS (Qiao et al. 2020, arXiv:2006.02334): standardised, and switchable.

Parameter names are mmcv's. Both take the weights of a plain convolution, and then compute what it
computes.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

EPS: Final = 1e-5  # added to the variance of a filter, as published
POOL: Final = 5  # side of the window that the switch and the offsets look at


class ConvAWS2d(nn.Conv2d):
    """A convolution whose filters are standardised: weight standardisation with an affine part.

    The effective filter o is gamma_o * (W_o - mean(W_o)) / sqrt(var(W_o) + 1e-5) + beta_o (Qiao et
    al. 2019, arXiv:1903.10520, and the affine part of DetectoRS). `weight_gamma` and
    `weight_beta` are buffers, 1 and 0 at first. A state dict of a plain convolution has neither:
    they then become sqrt(var + 1e-5) and the mean of the given filters, which are thereby
    reproduced.
    """

    weight_gamma: Tensor  # [O, 1, 1, 1]
    weight_beta: Tensor  # [O, 1, 1, 1]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False
        )
        self.register_buffer("weight_gamma", torch.ones(out_channels, 1, 1, 1))
        self.register_buffer("weight_beta", torch.zeros(out_channels, 1, 1, 1))
        self.register_load_state_dict_pre_hook(_complete_plain_state)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the standardised filters.

        Args:
            x: [B, C, h, w].

        Returns:
            [B, O, h', w'].
        """
        result: Tensor = self._conv_forward(x, self.standardised_weight(), None)
        return result

    def standardised_weight(self) -> Tensor:
        """The effective filters, [O, C / groups, k, k]."""
        mean, std = _filter_statistics(self.weight)  # [O, 1, 1, 1] each
        return self.weight_gamma * (self.weight - mean) / std + self.weight_beta

    def plain_extras(self, weight: Tensor) -> dict[str, Tensor]:
        """The other entries of the state dict with which the filters `weight` are reproduced."""
        mean, std = _filter_statistics(weight)
        return {"weight_gamma": std, "weight_beta": mean}


class SAConv2d(ConvAWS2d):
    """Switchable atrous convolution, 3x3 (DetectoRS, sections 4.2 and 4.3).

    The same filters look at two dilations, the second three times the first; a switch decides per
    cell. Around that, the average of the whole map is added (global context). At first the switch
    is 1 and all else 0: the standardised convolution of the smaller dilation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        use_deform: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            groups=groups,
        )
        self.use_deform = use_deform
        self.weight_diff = nn.Parameter(torch.zeros_like(self.weight))
        self.switch = nn.Conv2d(in_channels, 1, 1, stride)
        self.pre_context = nn.Conv2d(in_channels, in_channels, 1)
        self.post_context = nn.Conv2d(out_channels, out_channels, 1)
        if use_deform:
            taps = 2 * 9  # (y, x) for each of the 3x3 taps
            self.offset_s = nn.Conv2d(in_channels, taps, 3, stride, padding=1)
            self.offset_l = nn.Conv2d(in_channels, taps, 3, stride, padding=1)
        for part in self.children():
            for parameter in part.parameters():
                nn.init.zeros_(parameter)
        nn.init.ones_(self.switch.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve at both dilations and mix.

        Args:
            x: [B, C, h, w].

        Returns:
            [B, O, ceil(h / stride), ceil(w / stride)].
        """
        x = x + self.pre_context(_global_average(x))
        near = _window_average(x)  # [B, C, h, w]
        switch = self.switch(near)  # [B, 1, h', w']
        weight = self.standardised_weight()
        small = self._branch(x, near, weight, large=False)  # [B, O, h', w']
        large = self._branch(x, near, weight + self.weight_diff, large=True)
        mixed: Tensor = switch * small + (1 - switch) * large
        mixed = mixed + self.post_context(_global_average(mixed))
        # Deformable convolution answers with the channels outermost.
        return mixed.contiguous(memory_format=torch.channels_last)

    def plain_extras(self, weight: Tensor) -> dict[str, Tensor]:
        """The other entries of the state dict with which the filters `weight` are reproduced."""
        zeros = {n: torch.zeros_like(v) for n, v in self.state_dict().items() if n != "weight"}
        ones = {"switch.bias": torch.ones_like(self.state_dict()["switch.bias"])}
        return zeros | ones | super().plain_extras(weight)

    def _branch(self, x: Tensor, near: Tensor, weight: Tensor, *, large: bool) -> Tensor:
        """The convolution at the given dilation, or at three times it. All sizes are equal."""
        dilation = self.dilation[0] * (3 if large else 1)
        padding = dilation  # of a 3x3
        if not self.use_deform:
            return F.conv2d(x, weight, None, self.stride, padding, dilation, self.groups)
        offset = (self.offset_l if large else self.offset_s)(near)  # [B, 18, h', w']
        # In half precision a position beyond 256 is a whole number, and the CPU knows no such
        # kernel; the sampling is therefore always in float32 or better.
        exact = torch.promote_types(x.dtype, torch.float32)
        x, offset, weight = x.to(exact), offset.to(exact), weight.to(exact)
        pair = (dilation, dilation)
        moved: Tensor = deform_conv2d(
            x, offset, weight, stride=self.stride, padding=pair, dilation=pair
        )
        return moved.to(near.dtype)


def _filter_statistics(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (unbiased) of each filter, [O, 1, 1, 1] each."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
    return mean, (variance + EPS).sqrt()


def _global_average(x: Tensor) -> Tensor:
    """[B, C, 1, 1]."""
    return x.mean(dim=(2, 3), keepdim=True)


def _window_average(x: Tensor) -> Tensor:
    """The average over 5x5 cells around each, [B, C, h, w]."""
    reach = POOL // 2
    # A border can only be mirrored in a map that is larger than it.
    mode = "reflect" if min(x.shape[-2:]) > reach else "replicate"
    return F.avg_pool2d(F.pad(x, (reach,) * 4, mode=mode), POOL, stride=1)


def _complete_plain_state(
    module: ConvAWS2d, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Let a state dict that holds only filters reproduce the plain convolution.

    `state_dict` is load_state_dict's own copy. Anything more than the filters means that they
    come from a convolution of this kind, and then nothing may be missing.
    """
    names = [name for name in state_dict if name.startswith(prefix)]
    if names != [f"{prefix}weight"]:
        return
    weight = state_dict[names[0]].detach()
    if weight.shape == module.weight.shape:  # else load_state_dict tells
        extras = module.plain_extras(weight.to(module.weight.dtype))
        state_dict.update({prefix + name: value for name, value in extras.items()})
