import pytest
import torch

from motedet.data.transforms.draws import check_probability, happens, uniform, whole


def test_draws_come_from_the_generator_alone() -> None:
    first, second = (torch.Generator().manual_seed(5) for _ in range(2))
    torch.manual_seed(1)
    numbers = [uniform(first, 0, 1), whole(first, 0, 9), happens(first, 0.5)]
    torch.manual_seed(2)
    assert numbers == [uniform(second, 0, 1), whole(second, 0, 9), happens(second, 0.5)]


def test_ranges() -> None:
    generator = torch.Generator().manual_seed(0)
    assert {whole(generator, 2, 4) for _ in range(50)} == {2, 3, 4}
    assert all(2 <= uniform(generator, 2, 3) < 3 for _ in range(50))
    assert not happens(generator, 0.0)
    assert happens(generator, 1.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_check_probability(value: float) -> None:
    with pytest.raises(ValueError, match="p must lie in"):
        check_probability(value, "p")
