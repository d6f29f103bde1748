"""The slip of RFLA's AutoAssign, by hand."""

import torch

from motedet.assign.integer_mask import IntegerMask
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Targets


def _targets(counts: tuple[int, ...]) -> PackedTargets:
    return PackedTargets.pack(
        [Targets.of(torch.zeros(n, 4), torch.zeros(n, dtype=torch.int64), (8, 8)) for n in counts]
    )


def test_rows_are_inverted_numbers() -> None:
    index = torch.tensor(
        [
            [BACKGROUND] * 6,  # no objects: row 0
            [BACKGROUND, 0, 1, 1, BACKGROUND, BACKGROUND],  # rows 0, -1 and -2
            [IGNORED, 4, 4, IGNORED, 2, 3],  # its objects are 0, 1, 2: rows 1, -1, -2 and -3
        ]
    )
    match = Assignment(index, torch.zeros_like(index, dtype=torch.float32))
    mask = IntegerMask.of(match, _targets((0, 2, 3)))
    assert mask.blank.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 1, 1],
        [0, 1, 0, 1, 1, 1],
    ]
    assert mask.member.int().tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 1, 1, 1, 1],
        [1, 1, 1, 1, 0, 1],
    ]
