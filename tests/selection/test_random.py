import torch

from lightning_extract.selection import select_random
from tests.selection.made_up import made_up_candidates, softmax_outputs

OUTPUTS = softmax_outputs(10, 2, seed=0)


def choice(seed: int, count: int = 3) -> list[int]:
    return select_random(made_up_candidates(OUTPUTS, seed=seed), torch.arange(10), count).tolist()


def test_the_generator_decides() -> None:
    assert choice(0) == choice(0)
    assert len({tuple(choice(seed)) for seed in range(20)}) > 15


def test_every_sample_is_equally_likely() -> None:
    chosen = torch.tensor([choice(seed) for seed in range(2_000)])
    # 600 of 2,000 choices of 3 among 10, with a standard deviation of 20.5.
    assert ((chosen.flatten().bincount(minlength=10) - 600).abs() < 90).all()
