"""What a recipe may say: one complete, validated description of a training run.

Pure parts (assigners, priors, losses, transforms, protocols) are their own schema; the records here
only put them together. Paths and worker counts are not part of a recipe.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from motedet.data.datasets import AnyDataset
from motedet.data.transforms import AnyTransform
from motedet.data.windowed import Tiles, TrainTiles
from motedet.metrics import AnyProtocol
from motedet.models.detectors import AnyDetector

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Flip = Literal["none", "horizontal", "vertical"]


class Strict(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerSpec(Strict):
    """Which optimiser, and what it does to biases, normalisation layers and parts of the detector.

    Parameters have the names of the detector's state dict, such as `neck.lateral_convs.0.weight`.

    Attributes:
        kind: SGD with momentum, or AdamW.
        lr: learning rate at the recipe's global batch size.
        bias_lr_factor: learning rate of biases relative to `lr`.
        bias_decay_factor: weight decay of biases relative to `weight_decay`.
        norm_decay_factor: weight decay of normalisation layers relative to `weight_decay`.
        lr_factors: learning rate of a part relative to `lr`, by the path of the part: `bbox_head`
            holds every parameter whose name starts with `bbox_head.`. The longest path that holds
            a parameter counts. Biases have `bias_lr_factor` on top.
        no_decay: parameters with one of these texts anywhere in their name have no weight decay.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.005
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    bias_lr_factor: NonNegativeFloat = 1.0
    bias_decay_factor: NonNegativeFloat = 1.0
    norm_decay_factor: NonNegativeFloat = 1.0
    lr_factors: dict[str, PositiveFloat] = {}
    no_decay: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class ScheduleSpec(Strict):
    """How the learning rate moves: a warm-up by steps, then a curve by epochs.

    Attributes:
        kind: `step` drops by `gamma` at `drop_epochs`; `cosine` and `poly` fall to `final_factor`.
        per: `cosine` and `poly` fall at every step, or only between epochs, where the last epoch
            stays above `final_factor`.
        warmup: `linear` climbs from `warmup_factor`, `constant` stays at it, for `warmup_steps`.
    """

    kind: Literal["step", "cosine", "poly", "constant"] = "step"
    drop_epochs: tuple[PositiveInt, ...] = (8, 11)
    gamma: PositiveFloat = 0.1
    power: PositiveFloat = 0.9
    final_factor: NonNegativeFloat = 0.0
    per: Literal["step", "epoch"] = "step"
    warmup: Literal["linear", "constant", "none"] = "linear"
    warmup_steps: NonNegativeInt = 500
    warmup_factor: PositiveFloat = 0.001


class TrainSpec(Strict):
    """How to train.

    Attributes:
        epochs: passes over the training images; null where `steps` is given.
        steps: optimiser steps to train, in place of `epochs`. The last pass over the images ends
            early where they ask for it, and falling schedules end with them; `drop_epochs` and
            `validate_every` still count passes.
        batch_size: images per optimiser step over all processes, before `accumulate`.
        accumulate: batches whose gradients are added up for one optimiser step.
        loss_scale: the loss is multiplied by this before its gradient is taken in 16-mixed, and the
            gradient divided by it; null adapts the number to the gradients, step by step. A step
            whose gradient is not finite is left out either way.
        clip_norm: largest norm of the whole gradient; null for no clipping.
        ema_decay: decay of the moving average of the weights that is validated and saved; null for
            none. The decay warms up as (1 + n) / (10 + n) with the number n of steps.
        validate_every: epochs between two validations; the end of training is always validated.
    """

    epochs: PositiveInt | None = 12
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 2
    accumulate: PositiveInt = 1
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    loss_scale: PositiveFloat | None = None
    clip_norm: PositiveFloat | None = None
    ema_decay: Fraction | None = None
    validate_every: PositiveInt = 1
    channels_last: bool = False
    seed: NonNegativeInt = 0
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()

    @model_validator(mode="before")
    @classmethod
    def _steps_replace_the_default_of_epochs(cls, values: Any) -> Any:  # noqa: ANN401 - unchecked yet
        if isinstance(values, dict) and values.get("steps") is not None:
            return {"epochs": None, **values}
        return values

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"either epochs or steps says how long to train, found epochs={self.epochs} and "
                f"steps={self.steps}; set the other one to null"
            )
        return self

    @model_validator(mode="after")
    def _only_float16_is_scaled(self) -> Self:
        if self.loss_scale is not None and self.precision != "16-mixed":
            raise ValueError(
                f"loss_scale={self.loss_scale:g} belongs to precision 16-mixed, found "
                f"{self.precision}; set one of the two"
            )
        return self

    def num_steps(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the whole training."""
        return self.steps or (self.epochs or 0) * steps_per_epoch

    def num_epochs(self, steps_per_epoch: int) -> int:
        """Passes over the training images, the last of which may end early."""
        return self.epochs or -(-(self.steps or 0) // steps_per_epoch)


class DataSpec(Strict):
    """Which data set, and what happens to an image on its way to the network.

    Attributes:
        keep_empty: train on images without objects too; published COCO and AI-TOD results do not.
        min_image_side: leave out training images with a shorter side, in pixels.
        oversample_thresh: see images of rare classes more than once per epoch: an image with a
            class that a share f < `oversample_thresh` of the training images holds comes
            ceil(sqrt(oversample_thresh / f)) times; null shows every image once.
        tiles: cut training images into windows, in memory and not on disk; null for whole images.
    """

    dataset: AnyDataset
    keep_empty: bool = True
    min_image_side: PositiveInt = 1
    oversample_thresh: Share | None = None
    tiles: TrainTiles | None = None
    train_transforms: tuple[AnyTransform, ...]
    test_transforms: tuple[AnyTransform, ...]


class ViewsSpec(Strict):
    """Test-time augmentation: which views of each image are looked at, every scale in every flip.

    Attributes:
        scales: factors on the size of the network input.
        flips: mirror images; "none" is the view as it is.
        nms_iou: what was found in all views is merged by dropping a box above this IoU with a
            better one of its class; null takes the detector's own.
        max_per_image: at most so many are returned after that; null takes the detector's own.
    """

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)
    flips: Annotated[tuple[Flip, ...], Field(min_length=1)] = ("none",)
    nms_iou: Fraction | None = None
    max_per_image: PositiveInt | None = None

    @property
    def plain(self) -> bool:
        """Whether each image is looked at only once and as it is."""
        return self.scales == (1.0,) and self.flips == ("none",)


class Recipe(Strict):
    """One complete run.

    Attributes:
        name: its path in the zoo, without the suffix.
        summary: what it is, in one line.
        source: where `published` comes from.
        published: results in percent, by the names of the protocol; empty if there are none.
        classes: class names in label order; null takes them from the training data.
        test_time: views that evaluation and prediction look at; validation during training looks at
            each image once.
        test_tiles: look at whole images in windows, also during training; null looks at each image
            at once.
    """

    name: str
    summary: str
    source: str = ""
    published: dict[str, float] = {}
    classes: tuple[str, ...] | None = None
    model: AnyDetector
    data: DataSpec
    train: TrainSpec = TrainSpec()
    test_time: ViewsSpec = ViewsSpec()
    test_tiles: Tiles | None = None
    protocol: AnyProtocol

    @model_validator(mode="after")
    def _classes_agree_with_the_dataset(self) -> Self:
        known = self.data.dataset.classes
        if self.classes is not None and known is not None and set(self.classes) != set(known):
            raise ValueError(
                f"classes {list(self.classes)} differ from those of the data set "
                f"{self.data.dataset.kind!r}: {list(known)}; leave `classes` out"
            )
        return self
