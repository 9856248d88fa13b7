"""A thief pool of raw sentences."""

from collections.abc import Sequence

from torch import Tensor

from lightning_extract.errors import InputError


class SentencePool:
    """Unlabelled sentences in memory; a query is a raw sentence, which the victim's own tokenizer reads.

    Args:
        sentences: The sentences; duplicates are samples of their own.

    Raises:
        InputError: There is none.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        if not sentences:
            raise InputError("a pool needs at least one sentence; give one")
        self.sentences = sentences

    @property
    def size(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def queries(self, positions: Tensor) -> list[str]:
        """The sentences at the given positions ``(n,)``."""
        return [self.sentences[position] for position in positions.tolist()]
