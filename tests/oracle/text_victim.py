"""A text victim whose answers can be computed by hand."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_extract.data.words import WordTokenizer
from lightning_extract.oracle import QueryLedger, TextQueries, VictimOracle

LENGTH, CLASSES = 6, 3
# Known words by number: <pad> <unk> bad good so.
TOKENIZER = WordTokenizer.of_sentences(["good good bad bad so"], size=5)
LOGITS = {"<pad>": (0.0, 0.0, 0.0), "<unk>": (0.0, 0.0, 1.0), "bad": (2.0, 0.0, 0.0), "good": (0.0, 3.0, 0.0)}


class WordVotes(nn.Module):
    """Every word adds its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, CLASSES)
        with torch.no_grad():
            for number, word in enumerate(TOKENIZER.words):
                self.table.weight[number] = torch.tensor(LOGITS.get(word, (0.5, 0.5, 0.5)))
        self.batches: list[int] = []

    def forward(self, words: Tensor) -> Tensor:
        self.batches.append(len(words))
        logits: Tensor = self.table(words).sum(dim=1)
        return logits


def text_oracle(network: nn.Module | None = None, budget: int = 1000, **others: Any) -> VictimOracle:
    """Its oracle; it reads six words of a sentence."""
    values: dict[str, Any] = {"access": "soft"} | others
    queries = TextQueries(TOKENIZER, LENGTH)
    return VictimOracle(network or WordVotes(), CLASSES, queries, ledger=QueryLedger(budget), **values)
