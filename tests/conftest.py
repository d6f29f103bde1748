"""What all tests start from."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random weights and images are the same in every run, whatever ran before."""
    torch.manual_seed(0)
