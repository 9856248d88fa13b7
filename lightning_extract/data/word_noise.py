"""Sentences of random words, the noise pool of texts."""

from collections.abc import Sequence

import torch

from lightning_extract.data.draws import mix_seed
from lightning_extract.errors import InputError

NOISE_DRAW = -2  # the seed of the noise; iterations are numbered from 0


def check_noise_lengths(lengths: tuple[int, int]) -> None:
    """Refuses impossible bounds.

    Raises:
        InputError: The shortest is below 1, or above the longest.
    """
    if not 1 <= lengths[0] <= lengths[1]:
        raise InputError(
            f"noise_lengths is {list(lengths)}; give the fewest words of a sentence, at least 1, and then the most"
        )


def noise_sentences(words: Sequence[str], lengths: tuple[int, int], count: int, seed: int) -> list[str]:
    """Sentences whose words are drawn uniformly and independently from a vocabulary.

    Reference:
        Pal et al., ActiveThief, AAAI 2020: discrete uniform noise over the vocabulary. The lengths are not published.

    Args:
        words: The vocabulary, public.
        lengths: Fewest and most words of a sentence; all numbers between are equally probable.
        count: Number of sentences.
        seed: The run's seed.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, NOISE_DRAW))
    sizes = torch.randint(lengths[0], lengths[1] + 1, (count,), generator=generator)
    return [
        " ".join([words[number] for number in torch.randint(len(words), (size,), generator=generator).tolist()])
        for size in sizes.tolist()
    ]
