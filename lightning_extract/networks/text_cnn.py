"""The text network of ActiveThief: one layer of convolutions over word vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from lightning_extract.errors import InputError

PADDING = 0  # the word that fills sentences up; its vector is zero and never trained
# Kim 2014, section 4.3: random vectors get the variance of the pre-trained ones; 0.25 is what suits word2vec's.
EMBEDDING_RANGE = 0.25


class TextCNN(nn.Module):
    """Word vectors, parallel convolutions of several widths, the maximum over time, and a linear layer.

    Padding takes part: the convolutions see its zero vectors, and the maximum is taken over all positions, as in
    Kim's network.

    Reference:
        Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014; Pal et al., ActiveThief, AAAI 2020.

    Deviations:
        Kim regularises by a limit on the norm of the linear layer's weights, ActiveThief by weight decay; neither is
        part of this network. Convolutions and linear layer have PyTorch's initial weights.

    Args:
        num_classes: Number of logits.
        vocabulary: Number of words, the padding word 0 included.
        embedding_dim: Length of a word vector; 300 is that of Kim's word2vec vectors.
        static: Whether the word vectors are kept from training.
        filters: Convolutions of each width; 100, Kim 2014, section 3.1.
        widths: Words that a convolution spans; 3, 4, 5, Kim 2014, section 3.1.
        dropout: Probability to drop one of the maxima; 0.1 is ActiveThief's, Kim has 0.5.

    Shape:
        Word numbers int64 ``(B, L)`` with L at least the largest width, to ``(B, num_classes)`` logits.

    Raises:
        InputError: A size is below 1, or a batch is no int64 matrix of long enough sentences.

    Example:
        >>> TextCNN(num_classes=2, vocabulary=50)(torch.tensor([[7, 3, 11, 0, 0]])).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary: int,
        embedding_dim: int = 300,
        static: bool = False,
        filters: int = 100,
        widths: Sequence[int] = (3, 4, 5),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for name, size in (("vocabulary", vocabulary), ("embedding_dim", embedding_dim), ("filters", filters)):
            if size < 1:
                raise InputError(f"{name} is {size}, but text_cnn needs at least 1; raise it.")
        if not widths or min(widths) < 1:
            raise InputError(f"widths is {list(widths)}, but text_cnn needs one or more, each at least 1; correct it.")
        self.embedding = nn.Embedding(vocabulary, embedding_dim, padding_idx=PADDING)
        nn.init.uniform_(self.embedding.weight, -EMBEDDING_RANGE, EMBEDDING_RANGE)
        with torch.no_grad():
            self.embedding.weight[PADDING].zero_()
        self.embedding.weight.requires_grad_(not static)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_dim, filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(filters * len(widths), num_classes)
        self.shortest = max(widths)

    def forward(self, words: Tensor) -> Tensor:
        if words.ndim != 2 or words.dtype != torch.int64 or words.shape[1] < self.shortest:
            raise InputError(
                f"text_cnn takes int64 word numbers (B, L) of at least {self.shortest} words a sentence, not "
                f"{words.dtype} {tuple(words.shape)}; set the sentence length to {self.shortest} or more."
            )
        vectors = self.embedding(words).transpose(1, 2)
        maxima = [relu(convolution(vectors)).amax(dim=2) for convolution in self.convolutions]
        logits: Tensor = self.linear(self.dropout(torch.cat(maxima, dim=1)))
        return logits
