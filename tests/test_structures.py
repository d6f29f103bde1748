import pytest
import torch

from motedet.errors import ShapeError
from motedet.structures import (
    BACKGROUND,
    IGNORED,
    Assignment,
    Detections,
    PackedTargets,
    Pairs,
    Targets,
)


def targets(count: int, size: tuple[int, int] = (64, 64)) -> Targets:
    return Targets.of(torch.rand(count, 4), torch.arange(count), size)


def test_targets_need_one_label_per_box() -> None:
    with pytest.raises(ShapeError, match=r"int64 \[2\], one per box; got torch\.int64 \[3\]"):
        Targets.of(torch.zeros(2, 4), torch.zeros(3, dtype=torch.int64), (8, 8))
    with pytest.raises(ShapeError, match=r"torch\.float32"):
        Targets.of(torch.zeros(2, 4), torch.zeros(2), (8, 8))


def test_packing_keeps_the_order_and_the_image_of_each_object() -> None:
    batch = [targets(2), targets(0), targets(3)]
    packed = PackedTargets.pack(batch)
    assert packed.image_index.tolist() == [0, 0, 2, 2, 2]
    assert torch.equal(packed.boxes, torch.cat([t.boxes for t in batch]))
    assert packed.labels.tolist() == [0, 1, 0, 1, 2]
    assert packed.num_images == 3
    assert packed.valid_sizes is None


def test_packing_no_objects_is_ordinary() -> None:
    packed = PackedTargets.pack([targets(0), targets(0)])
    assert packed.boxes.shape == (0, 4)
    assert packed.image_index.shape == packed.ignore_image_index.shape == (0,)


def test_packing_can_limit_priors_to_the_padding() -> None:
    packed = PackedTargets.pack([targets(1, (32, 64)), targets(1)], limit_to_padding=True)
    assert packed.valid_sizes == ((32, 64), (64, 64))


def test_pairs_are_chosen_by_mask_or_index() -> None:
    pairs = Pairs(torch.tensor([5, 6, 7]), torch.tensor([0, 0, 1]))
    assert len(pairs[torch.tensor([True, False, True])]) == 2
    assert pairs[torch.tensor([2])].prior.tolist() == [7]


def test_assignment_tells_positive_from_ignored() -> None:
    match = Assignment(torch.tensor([[3, BACKGROUND, IGNORED]]), torch.zeros(1, 3))
    assert match.positive.tolist() == [[True, False, False]]
    assert match.ignored.tolist() == [[False, False, True]]


def test_detections_follow_torchvisions_names() -> None:
    found = Detections(torch.zeros(2, 4), torch.tensor([0.9, 0.1]), torch.tensor([0, 1]))
    assert set(found.as_dict()) == {"boxes", "labels", "scores"}
    assert len(found[found.scores > 0.5]) == 1
    assert len(Detections.empty()) == 0


def test_detections_need_scores_and_labels_for_every_box() -> None:
    with pytest.raises(ShapeError, match=r"2 boxes, scores \[1\], labels \[2\]"):
        Detections(torch.zeros(2, 4), torch.zeros(1), torch.zeros(2, dtype=torch.int64))
