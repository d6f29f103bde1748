"""AutoAssign's losses on pairs: by hand, at the edges, and their gradients."""

import math

import torch
from torch import Tensor

from motedet.losses.autoassign import (
    center_loss,
    negative_loss,
    negative_weights,
    positive_loss,
    shared_negative_weights,
)

NO_ROWS = torch.zeros(0, dtype=torch.int64)


def test_nothing() -> None:
    none = torch.zeros(0)
    assert positive_loss(none, none, NO_ROWS, 0).shape == (0,)
    assert positive_loss(none, none, NO_ROWS, 2).tolist() == [100.0, 100.0]
    weights = negative_weights(none, NO_ROWS, NO_ROWS, num_gt=0, num_entries=3)
    assert weights.tolist() == [1, 1, 1]
    objects, active = torch.tensor([0, 2]), torch.tensor([False, False])
    assert center_loss(none, NO_ROWS, objects, active).tolist() == [0, 0]


def test_positive_loss_by_hand() -> None:
    confidence, weight = torch.tensor([0.2, 0.6, 0.5]), torch.tensor([1.0, 0.5, 0.7])
    found = positive_loss(confidence, weight, torch.tensor([0, 0, 2]), 3)
    shares = [math.exp(0.6), 0.5 * math.exp(1.8)]
    average = (0.2 * shares[0] + 0.6 * shares[1]) / sum(shares)
    expected = torch.tensor([-math.log(average), 100.0, -math.log(0.5)])
    torch.testing.assert_close(found, expected)


def test_certain_points_cost_nothing() -> None:
    """The average of ones may come out above one, of which there is no cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(1000, generator=generator)
    gt = torch.randint(40, (1000,), generator=generator)
    found = positive_loss(torch.ones(1000), weight, gt, 40)
    assert (found < 1e-5).all()


def test_negative_weights_by_hand() -> None:
    quality = torch.tensor([0.0, 0.5, 0.75, 0.9, 0.2, 0.2])
    gt = torch.tensor([0, 0, 0, 1, 2, 2])
    entry = torch.tensor([4, 1, 2, 2, 0, 4])
    found = negative_weights(quality, gt, entry, num_gt=3, num_entries=6)
    # hardness 1, 2, 4 scaled to 0, 1/3, 1; a bag of one point or of equal ones is all hard
    torch.testing.assert_close(found, torch.tensor([0.0, 2 / 3, 0.0, 1.0, 0.0, 1.0]))


def test_last_object_of_a_class_counts() -> None:
    quality = torch.tensor([0.0, 0.5, 0.5, 0.0])
    entry = torch.tensor([0, 1, 0, 1])
    first = negative_weights(quality, torch.tensor([0, 0, 1, 1]), entry, num_gt=2, num_entries=2)
    assert first.tolist() == [0.0, 1.0]


def test_perfect_fit_is_finite() -> None:
    quality = torch.tensor([1.0, 0.3])
    found = negative_weights(
        quality, torch.tensor([0, 0]), torch.tensor([0, 1]), num_gt=1, num_entries=2
    )
    assert found.tolist() == [0.0, 1.0]


def test_shared_bags_are_bags_of_every_object() -> None:
    generator = torch.Generator().manual_seed(1)
    quality = torch.rand(2, 5, generator=generator)
    member = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0]]).bool()
    present = torch.tensor([[True, False, True], [False, False, True]])
    found = shared_negative_weights(quality, member, present)
    gt, entry, values = [], [], []
    for row, (image, label) in enumerate(present.nonzero().tolist()):
        points = member[image].nonzero()[:, 0]
        gt.append(torch.full_like(points, row))
        entry.append((image * 5 + points) * 3 + label)
        values.append(quality[image, points])
    expected = negative_weights(
        torch.cat(values), torch.cat(gt), torch.cat(entry), num_gt=3, num_entries=30
    )
    torch.testing.assert_close(found.flatten(), expected)


def test_negative_loss_by_hand() -> None:
    found = negative_loss(torch.tensor([0.5, 1.0, 0.4]), torch.tensor([0.5, 1.0, 0.0]))
    expected = torch.tensor([-(0.25**2) * math.log(0.75), 100.0, 0.0])
    torch.testing.assert_close(found, expected)


def test_center_loss_by_hand() -> None:
    weight = torch.tensor([0.5, 0.25, 1.0])
    objects, active = torch.tensor([3, 0, 1]), torch.tensor([True, False, True])
    found = center_loss(weight, torch.tensor([0, 0, 2]), objects, active)
    torch.testing.assert_close(found, torch.tensor([4.0, 0.0, 1.0]))


def test_mixed_precision_leaves_probabilities_alone() -> None:
    probs = torch.tensor([0.3, 0.9])
    expected = negative_loss(probs, torch.ones(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = negative_loss(probs, torch.ones(2))
    assert torch.equal(found, expected)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(2)

    def values(*shape: int) -> Tensor:
        raw = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return (0.05 + 0.9 * raw).requires_grad_()

    gt = torch.tensor([0, 0, 0, 1, 3, 3])
    check = torch.autograd.gradcheck
    assert check(lambda p, w: positive_loss(p, w, gt, 4)[[0, 1, 3]], (values(6), values(6)))
    weight = values(5).detach()
    assert check(lambda p: negative_loss(p, weight), (values(5),))
    objects, active = torch.tensor([2, 1]), torch.tensor([True, True])
    image = torch.tensor([0, 0, 0, 0, 1, 1])
    assert check(lambda w: center_loss(w, image, objects, active), (values(6),))
