"""What clones read of a pool's samples: images as they are, sentences as the numbers of their words."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_extract.attacks.rounds import TextClones
from lightning_extract.data.sentence_pool import SentencePool
from lightning_extract.data.thief_pool import ThiefPool
from lightning_extract.data.word_vectors import WordVectors, fill_embedding, read_vectors
from lightning_extract.data.words import PADDING, WordTokenizer
from lightning_extract.errors import InputError
from lightning_extract.networks import TextCNN

SENTENCES_AT_A_TIME = 4096  # bounds the memory of the library, changes no result
WIDEST_WINDOW = 5  # words that a convolution of text_cnn spans at most


class ImageReader:
    """Clones read images as the victim does."""

    def describe_missing(self) -> list[str]:
        """What must be put in place before anything can be read, a sentence each."""
        return []

    def learn(self, pool: ThiefPool) -> None:
        """Gets to know the pool."""
        self._pool = pool

    def of_pool(self, positions: Tensor) -> Tensor:
        """Inputs of clones ``(B, C, H, W)`` for samples of the pool, on the CPU."""
        samples = self._pool.queries(positions)
        assert isinstance(samples, Tensor)
        return samples

    def of_samples(self, samples: Tensor | Sequence[str]) -> Tensor:
        """Inputs of clones for samples from elsewhere."""
        assert isinstance(samples, Tensor)
        return samples

    def initialise(self, clones: nn.ModuleList) -> None:
        """Gives clones what they know before any training: nothing."""

    def state_dict(self) -> str:
        """What must be kept to read again, for a checkpoint."""
        return ""

    def load_state_dict(self, state: str) -> None:
        """Restores it."""


class SentenceReader:
    """Clones read the words of the attacker's own vocabulary, which is that of the pool and of its word vectors.

    Args:
        settings: The vocabulary, and what is known of its words.
    """

    tokenizer: WordTokenizer

    def __init__(self, settings: TextClones) -> None:
        self.settings = settings
        self._vectors: WordVectors | None = None
        self._inputs = torch.empty(0)
        # Evaluations ask for the same batches again and again.
        self._read: dict[tuple[str, ...], Tensor] = {}

    def describe_missing(self) -> list[str]:
        """What must be put in place before anything can be read, a sentence each."""
        path = self.settings.vectors
        if path is None or Path(path).is_file():
            return []
        return [f"word vectors {path} are missing; put them there, or others into text.vectors of the config, or null"]

    def learn(self, pool: ThiefPool) -> None:
        """Makes the vocabulary, unless a checkpoint brought it, and reads the pool once."""
        assert isinstance(pool, SentencePool)
        if not hasattr(self, "tokenizer"):
            words = () if self.vectors is None else self.vectors.words
            self.tokenizer = WordTokenizer.of_sentences(
                pool.sentences, self.settings.vocabulary, self.settings.lowercase, words
            )
        numbers = [
            self._numbers(pool.sentences[start : start + SENTENCES_AT_A_TIME])
            for start in range(0, pool.size, SENTENCES_AT_A_TIME)
        ]
        self._inputs = torch.cat(numbers)

    @property
    def vectors(self) -> WordVectors | None:
        """The word vectors, read once.

        Raises:
            InputError: They have another length than the clones' embeddings.
        """
        if self.settings.vectors is not None and self._vectors is None:
            self._vectors = read_vectors(self.settings.vectors, self.settings.vectors_limit)
            found = self._vectors.values.shape[1]
            if found != self.settings.embedding_dim:
                raise InputError(
                    f"text.embedding_dim is {self.settings.embedding_dim}, but {self.settings.vectors} has vectors of "
                    f"{found} numbers; set it to {found}"
                )
        return self._vectors

    def of_pool(self, positions: Tensor) -> Tensor:
        """Inputs of clones ``(B, L)`` for samples of the pool, on the CPU."""
        return _as_long_as_needed(self._inputs[positions])

    def of_samples(self, samples: Tensor | Sequence[str]) -> Tensor:
        """Inputs of clones ``(B, L)`` for sentences from elsewhere."""
        batch = tuple(str(sentence) for sentence in samples)
        if batch not in self._read:
            self._read[batch] = self._numbers(batch)
        return _as_long_as_needed(self._read[batch])

    def _numbers(self, sentences: Sequence[str]) -> Tensor:
        return self.tokenizer.encode(sentences, self.settings.sentence_length).to(torch.int32)

    def initialise(self, clones: nn.ModuleList) -> None:
        """Gives clones the word vectors."""
        if self.vectors is None:
            return
        for clone in clones:
            assert isinstance(clone, TextCNN)
            # The vocabulary may be smaller than the room for it.
            fill_embedding(clone.embedding.weight.detach()[: len(self.tokenizer)], self.tokenizer, self.vectors)

    def state_dict(self) -> str:
        """The vocabulary, for a checkpoint: without it the clones read nothing."""
        return self.tokenizer.to_json()

    def load_state_dict(self, state: str) -> None:
        """Restores it."""
        self.tokenizer = WordTokenizer.from_json(state, "the checkpoint's vocabulary")


def _as_long_as_needed(words: Tensor) -> Tensor:
    """Without padding that would only repeat windows, which a maximum over them does not see."""
    longest = int((words != PADDING).any(dim=0).sum())  # 0 for no sentences, a small batch's share of a process
    return words[:, : longest + WIDEST_WINDOW].long()


Reader = ImageReader | SentenceReader
