"""From a weights file to a detector that is ready to predict."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from motedet.checkpoints import load_state, read_mmdet, read_weights
from motedet.engine.augment import predict_views
from motedet.engine.processes import choose_device
from motedet.errors import CheckpointError, MotedetError
from motedet.models.backbones import AnyBackbone, Backbone, DetectoRSResNet
from motedet.models.detectors import Detector
from motedet.models.necks import RFPSpec
from motedet.recipes import Recipe, parse_recipe
from motedet.structures import Detections, Size

logger = logging.getLogger(__name__)

Precision = Literal["32", "bf16"]
BF16: Final = ("avx512_bf16", "amx_bf16", "bf16")  # instructions of x86, x86 and ARM


@dataclass(frozen=True, slots=True)
class LoadedDetector:
    """A detector in evaluation mode, with the recipe it was trained by.

    Attributes:
        detector: on its device, in evaluation mode.
        recipe: the resolved recipe.
        classes: names in label order.
        precision: "bf16" computes convolutions and linear layers in bfloat16, as training with
            `bf16-mixed` does; boxes are decoded in float32.
    """

    detector: Detector
    recipe: Recipe
    classes: tuple[str, ...]
    precision: Precision = "32"

    @property
    def device(self) -> torch.device:
        """Where the detector computes."""
        return next(self.detector.parameters()).device

    @torch.inference_mode()
    def predict_batch(self, images: Tensor, image_sizes: Sequence[Size]) -> list[Detections]:
        """Detections of prepared images, on the CPU, from the views that the recipe asks for.

        Args:
            images: [B, 3, H, W] normalised and padded, as the recipe's test transforms leave them.
            image_sizes: (height, width) of each image without its padding.

        Returns:
            One record per image, in pixels of the network input.
        """
        images, views = images.to(self.device), self.recipe.test_time
        if views.plain:
            found = self._predict(images, image_sizes)
        else:
            own = self.recipe.model.postprocess
            found = predict_views(self._predict, images, image_sizes, views=views, own=own)
        return [detections.to("cpu") for detections in found]

    def _predict(self, images: Tensor, image_sizes: Sequence[Size]) -> list[Detections]:
        """Detections in images [B, 3, H, W] of B sizes, both on the detector's device."""
        if self.recipe.train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            return self.detector.predict(images, image_sizes)

    def _autocast(self) -> AbstractContextManager[object]:
        """Mixed precision; with "32" the caller's own, if it has set one."""
        if self.precision == "32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def build_untrained(recipe: Recipe, num_classes: int) -> Detector:
    """The recipe's detector without fetching pretrained weights, for values that come next."""
    return with_pretrained(recipe, pretrained=False).model.build(num_classes)


def with_pretrained(recipe: Recipe, *, pretrained: bool) -> Recipe:
    """The recipe with `pretrained` set for all its backbones, a recursive neck's own one too."""
    model, neck = recipe.model, recipe.model.neck
    # of the types they were, which a checker cannot know where detectors differ in their parts
    changes: dict[str, Any] = {"backbone": replace(model.backbone, pretrained=pretrained)}
    if isinstance(neck, RFPSpec):
        changes["neck"] = replace(neck, backbone=replace(neck.backbone, pretrained=pretrained))
    return recipe.model_copy(update={"model": replace(model, **changes)})


def backbones(recipe: Recipe) -> tuple[AnyBackbone, ...]:
    """The backbone of the recipe's model, and a recursive neck's own one."""
    model, neck = recipe.model, recipe.model.neck
    return (model.backbone, neck.backbone) if isinstance(neck, RFPSpec) else (model.backbone,)


def frozen_layers(backbone: nn.Module) -> int:
    """How many convolutions and linear layers do not learn."""
    layers = (m for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    return sum(not layer.weight.requires_grad for layer in layers)


def load(
    weights: Path | str, *, device: str = "auto", precision: Precision = "32"
) -> LoadedDetector:
    """Read a weights file of ours; it holds its recipe and its classes.

    Args:
        weights: a `.safetensors` file that training or `import-checkpoint` wrote.
        device: "auto" takes a CUDA GPU where there is one.
        precision: see `LoadedDetector`.

    Raises:
        CheckpointError: if the file is not one of ours or does not fit its recipe.
        MotedetError: if there is no such device, or it does not compute in this precision.
    """
    path, chosen = Path(weights), torch.device(choose_device(device))
    if precision == "bf16":
        check_bf16(chosen)
    file = read_weights(path)
    recipe = parse_recipe(file.recipe_json, source=f"{path} (recipe inside)")
    detector = build_untrained(recipe, len(file.classes))
    load_state(detector, file.state_dict, source=str(path))
    detector = detector.to(chosen)
    if recipe.train.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    if precision == "bf16":
        round_weights_(detector)
    return LoadedDetector(detector.eval(), recipe, tuple(file.classes), precision)


def check_bf16(device: torch.device) -> None:
    """Refuse bfloat16 where it would only be slow.

    Raises:
        MotedetError: if the device has no instructions for it.
    """
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # torch before 2.10 cannot tell
        tell: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
        able = any(tell().get(name) for name in BF16)
    if not able:
        raise MotedetError(
            f"precision bf16: torch {torch.__version__} sees no bfloat16 instructions on this "
            f"{device.type}, where it would be slower than float32; leave the precision at 32."
        )


def round_weights_(detector: nn.Module) -> None:
    """Round weights to bfloat16 once, which autocast would do anew in every pass.

    Args:
        detector: changed where autocast uses the rounded weights and nothing else: in plain
            convolutions and linear layers. What is made of them computes with its own.
    """
    for module in detector.modules():
        if type(module) in (nn.Conv2d, nn.Linear):
            module.to(torch.bfloat16)


def start_from(detector: Detector, weights: Path | str) -> None:
    """Copy what fits from another weights file: fine-tuning on other classes keeps the rest.

    Args:
        detector: takes every value whose name and shape it has.
        weights: a file of ours, a published mmdetection-style `.pth`, or a `.pth` of a backbone
            alone, such as ResNet's in caffe style; a recursive neck's backbone takes it too.

    Raises:
        CheckpointError: if the file cannot be read, or nothing in it fits.
    """
    path = Path(weights)
    state = read_weights(path).state_dict if path.suffix == ".safetensors" else read_mmdet(path)
    own = detector.state_dict()
    bodies = [n for n, m in detector.named_modules() if isinstance(m, Backbone | DetectoRSResNet)]
    named = state | {f"{body}.{name}": value for body in bodies for name, value in state.items()}
    fitting = {k: v for k, v in named.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise CheckpointError(
            f"{path}: none of its {len(state)} entries fits the recipe's model; "
            "start from weights of the same detector and backbone."
        )
    detector.load_state_dict(fitting, strict=False)
    left = [name for name in own if name not in fitting]
    logger.info("started from %s: %d of %d entries", path, len(fitting), len(own))
    if left:
        logger.info("random as before: %s%s", ", ".join(left[:8]), ", ..." if left[8:] else "")
