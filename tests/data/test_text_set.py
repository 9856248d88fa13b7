import pytest
import torch
from torch import Tensor

from lightning_extract.data.text_set import TextSet
from lightning_extract.errors import InputError


def test_batches_and_subsets() -> None:
    whole = TextSet(["a", "b", "c", "a"], torch.tensor([0, 1, 2, 0]), ("x", "y", "z"))
    assert (len(whole), whole.num_classes) == (4, 3)
    sentences, labels = whole.batch(torch.tensor([2, 0]))
    assert (sentences, labels.tolist()) == (["c", "a"], [2, 0])
    part = whole.subset(torch.tensor([3]))
    assert (part.sentences, part.labels.tolist(), part.classes) == (["a"], [0], ("x", "y", "z"))


@pytest.mark.parametrize(
    ("sentences", "labels", "message"),
    [
        ([], torch.tensor([], dtype=torch.int64), "at least one sentence"),
        (["a", " "], torch.tensor([0, 1]), "sentence 1 of 2 is empty"),
        (["a", "b"], torch.tensor([0]), "2 sentences need as many int64 labels"),
        (["a"], torch.tensor([0.0]), "int64 labels, got torch.float32"),
        (["a", "b"], torch.tensor([0, 2]), "labels from 0 to 2 do not fit 2 classes"),
        (["a", "b"], torch.tensor([-1, 1]), "labels from -1 to 1 do not fit"),
    ],
)
def test_what_does_not_belong_together(sentences: list[str], labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextSet(sentences, labels, ("x", "y"))
