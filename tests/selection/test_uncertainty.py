import math

import pytest
import torch

from lightning_extract.selection import select_uncertain
from tests.selection.made_up import made_up_candidates, softmax_outputs


@pytest.mark.parametrize("classes", [2, 10, 43])
@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_the_highest_entropies_are_chosen(classes: int, sharpness: float) -> None:
    outputs = softmax_outputs(500, classes, seed=classes, sharpness=sharpness)
    among = torch.arange(0, 500, 2)

    def entropy(index: int) -> float:
        return -math.fsum(p * math.log(p) for p in outputs[index].tolist() if p > 0)

    expected = sorted(among.tolist(), key=lambda index: (-entropy(index), index))[:50]
    assert select_uncertain(made_up_candidates(outputs), among, 50).tolist() == expected


def test_by_hand() -> None:
    outputs = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.5, 0.0, 0.5]])
    assert select_uncertain(made_up_candidates(outputs), torch.arange(4), 4).tolist() == [2, 1, 3, 0]
