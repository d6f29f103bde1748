"""What a recipe may say: one complete, validated description of a training run.

Pure parts (assigners, priors, losses, transforms, protocols) are their own schema; the records here
only put them together. Paths and worker counts are not part of a recipe.
"""

from typing import Annotated, Literal, Self

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
from motedet.metrics import AnyProtocol
from motedet.models.detectors import AnyDetector

Fraction = Annotated[float, Field(ge=0, le=1)]
Flip = Literal["none", "horizontal", "vertical"]


class Strict(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerSpec(Strict):
    """Which optimiser, and what it does to biases and normalisation layers.

    Attributes:
        kind: SGD with momentum, or AdamW.
        lr: learning rate at the recipe's global batch size.
        bias_lr_factor: learning rate of biases relative to `lr`.
        bias_decay_factor: weight decay of biases relative to `weight_decay`.
        norm_decay_factor: weight decay of normalisation layers relative to `weight_decay`.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.005
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    bias_lr_factor: NonNegativeFloat = 1.0
    bias_decay_factor: NonNegativeFloat = 1.0
    norm_decay_factor: NonNegativeFloat = 1.0


class ScheduleSpec(Strict):
    """How the learning rate moves: a warm-up by steps, then a curve by epochs.

    Attributes:
        kind: `step` drops by `gamma` at `drop_epochs`; `cosine` and `poly` fall to `final_factor`.
        warmup: `linear` climbs from `warmup_factor`, `constant` stays at it, for `warmup_steps`.
    """

    kind: Literal["step", "cosine", "poly", "constant"] = "step"
    drop_epochs: tuple[PositiveInt, ...] = (8, 11)
    gamma: PositiveFloat = 0.1
    power: PositiveFloat = 0.9
    final_factor: NonNegativeFloat = 0.0
    warmup: Literal["linear", "constant", "none"] = "linear"
    warmup_steps: NonNegativeInt = 500
    warmup_factor: PositiveFloat = 0.001


class TrainSpec(Strict):
    """How to train.

    Attributes:
        batch_size: images per optimiser step over all processes, before `accumulate`.
        accumulate: batches whose gradients are added up for one optimiser step.
        clip_norm: largest norm of the whole gradient; null for no clipping.
        ema_decay: decay of the moving average of the weights that is validated and saved; null for
            none. The decay warms up as (1 + n) / (10 + n) with the number n of steps.
        validate_every: epochs between two validations; the last epoch is always validated.
    """

    epochs: PositiveInt = 12
    batch_size: PositiveInt = 2
    accumulate: PositiveInt = 1
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    clip_norm: PositiveFloat | None = None
    ema_decay: Fraction | None = None
    validate_every: PositiveInt = 1
    channels_last: bool = False
    seed: NonNegativeInt = 0
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()


class DataSpec(Strict):
    """Which data set, and what happens to an image on its way to the network.

    Attributes:
        keep_empty: train on images without objects too; published COCO and AI-TOD results do not.
        min_image_side: leave out training images with a shorter side, in pixels.
    """

    dataset: AnyDataset
    keep_empty: bool = True
    min_image_side: PositiveInt = 1
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
