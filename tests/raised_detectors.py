"""Detectors with random weights that find something."""

import torch
from torch import nn

from motedet.export.graph import hardened
from motedet.models.detectors import AnyDetector, Detector
from small_detectors import small_specs

LAST = ("conv_cls", "retina_cls", "atss_cls", "hm.0", "rpn_cls", "fc_cls")


def raised(spec: AnyDetector, *, num_classes: int = 3, bias: float = -1.0) -> Detector:
    """The detector with classes that vary and are likely, in evaluation mode."""
    detector: Detector = spec.build(num_classes).eval()
    for name, module in detector.named_modules():
        if name.endswith(LAST) and isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
            nn.init.constant_(module.state_dict()["bias"], 0.0 if "fc_cls" in name else bias)
        if isinstance(module, nn.BatchNorm2d):
            values = module.state_dict()
            nn.init.normal_(values["running_mean"], std=0.1)
            nn.init.uniform_(values["running_var"], 0.5, 1.5)
    return detector


def small(name: str, *, bias: float = -1.0) -> Detector:
    """A detector of `small_specs`, raised and without soft-NMS."""
    torch.manual_seed(0)
    return hardened(raised(small_specs()[name], bias=bias))
