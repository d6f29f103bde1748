import pytest
import torch

from motedet import errors
from motedet.errors import MotedetError, ShapeError, check_boxes


@pytest.mark.parametrize("boxes", [torch.zeros(0, 4), torch.zeros(3, 4), torch.zeros(2, 4).half()])
def test_boxes_pass(boxes: torch.Tensor) -> None:
    check_boxes(boxes, "boxes")
    assert boxes.shape[-1] == 4


@pytest.mark.parametrize(
    "boxes", [torch.zeros(4), torch.zeros(2, 5), torch.zeros(2, 4, dtype=torch.int64)]
)
def test_other_tensors_are_refused_with_their_shape(boxes: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"mine must be a float tensor \[N, 4\].*got torch\."):
        check_boxes(boxes, "mine")


def test_own_errors_are_also_what_a_caller_would_guess() -> None:
    assert issubclass(errors.DataError, ValueError)
    assert issubclass(errors.RecipeError, ValueError)
    assert issubclass(errors.CheckpointError, RuntimeError)
    assert issubclass(errors.MissingPackageError, ImportError)
    assert all(issubclass(e, MotedetError) for e in (errors.DataError, errors.TrainingError))
