"""Random predictions for the tests of prediction-aware assigners."""

from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from assignment_scenes import Scene
from motedet.priors import PriorGrid
from motedet.structures import PackedTargets, Predictions


@dataclass(frozen=True)
class Guess:
    """What a network says about a scene, in few numbers."""

    boxes: str
    scores: str
    num_classes: int
    seed: int

    def labelled(self, targets: PackedTargets) -> PackedTargets:
        """The same objects with random classes."""
        generator = torch.Generator().manual_seed(self.seed)
        labels = torch.randint(self.num_classes, targets.labels.shape, generator=generator)
        return replace(targets, labels=labels)

    def predictions(self, grid: PriorGrid, targets: PackedTargets) -> Predictions:
        """[B, P] predictions for objects that `labelled` gave."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        boxes = torch.stack(
            [self._boxes(grid, targets, b, generator) for b in range(targets.num_images)]
        )
        shape = (targets.num_images, grid.num_priors, self.num_classes)
        logits = torch.randn(shape, generator=generator) * 3 - 1
        if self.scores == "tied":
            logits = logits.round() * 2
        if self.scores == "equal":
            logits = torch.full_like(logits, -4.6)
        if self.scores == "saturated":
            logits = logits * 60
        return Predictions(logits.sigmoid(), logits, boxes)

    def _boxes(
        self, grid: PriorGrid, targets: PackedTargets, image: int, generator: torch.Generator
    ) -> Tensor:
        points, strides = grid.points(), grid.strides()[:, None]
        shift = torch.randn(len(points), 4, generator=generator)
        center = points + shift[:, :2] * strides
        if self.boxes == "nowhere":
            center = center + 5000
        half = (shift[:, 2:] * 0.7).exp() * strides * (60 if self.boxes == "huge" else 1)
        own = targets.boxes[targets.image_index == image]
        if self.boxes == "objects" and len(own):
            chosen = own[torch.randint(len(own), (len(points),), generator=generator)]
            noise = torch.randint(-1, 2, chosen.shape, generator=generator)
            return chosen + noise * (torch.rand(len(points), 1, generator=generator) < 0.5)
        made = torch.cat((center - half, center + half), dim=1)
        return (made / 4).round() * 4 if self.boxes == "tied" else made


guesses = st.builds(
    Guess,
    boxes=st.sampled_from(("near", "near", "tied", "objects", "objects", "huge", "nowhere")),
    scores=st.sampled_from(("any", "any", "tied", "equal", "saturated")),
    num_classes=st.sampled_from((1, 3, 8)),
    seed=st.integers(0, 10_000),
)


def predicted(scene: Scene, guess: Guess, grid: PriorGrid) -> tuple[PackedTargets, Predictions]:
    """A scene's objects, with classes, and predictions for them."""
    targets = guess.labelled(scene.targets())
    return targets, guess.predictions(grid, targets)
