import copy

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError
from lightning_extract.networks import TEXT_CLASSIFIERS, TextCNN, build_text_classifier


def words(count: int = 4, length: int = 9, vocabulary: int = 20, seed: int = 0) -> Tensor:
    return torch.randint(1, vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))


def small(**sizes: int) -> TextCNN:
    torch.manual_seed(0)
    return TextCNN(3, 20, **({"embedding_dim": 6, "filters": 4} | sizes))


def slow_logits(network: TextCNN, sentence: list[int]) -> Tensor:
    """One sentence, window by window."""
    vectors = network.embedding.weight[sentence]
    maxima = []
    for convolution in network.convolutions:
        assert isinstance(convolution, nn.Conv1d)
        width = convolution.kernel_size[0]
        for weight, bias in zip(convolution.weight, convolution.bias, strict=True):
            windows = [vectors[i : i + width] for i in range(len(sentence) - width + 1)]
            scores = [(weight * window.T).sum() + bias for window in windows]
            maxima.append(max(*scores, torch.tensor(0.0, dtype=vectors.dtype)))
    return network.linear.weight @ torch.stack(maxima) + network.linear.bias


def test_published_parameter_count() -> None:
    network = build_text_classifier("text_cnn", 2, 10, 300)
    assert sum(p.numel() for p in network.parameters()) == 360_902 + 10 * 300


def test_logits_equal_a_loop_over_windows() -> None:
    network = small().double().eval()
    batch = words()
    batch[1, 6:] = 0
    expected = torch.stack([slow_logits(network, row.tolist()) for row in batch])
    torch.testing.assert_close(network(batch), expected)


def test_padding_takes_part_in_the_maximum() -> None:
    network = small().eval()
    with torch.no_grad():
        for convolution in network.convolutions:
            convolution.weight.fill_(-1.0)  # type: ignore[union-attr, operator]
            convolution.bias.fill_(0.5)  # type: ignore[union-attr, operator]
        network.embedding.weight[1:] = 1.0
        full, padded = torch.ones(1, 8, dtype=torch.int64), torch.tensor([[1, 1, 1, 0, 0, 0, 0, 0]])
        assert torch.equal(network(full)[0], network.linear.bias)  # all windows are negative
        assert not torch.allclose(network(padded)[0], network.linear.bias)  # an empty window is the bias


def test_initial_vectors() -> None:
    weight = TextCNN(2, 5000, 20).embedding.weight
    assert torch.equal(weight[0], torch.zeros(20))
    assert 0.2499 < weight.abs().max() <= 0.25
    assert weight[1:].std().item() == pytest.approx(0.25 / 3**0.5, rel=0.01)


@pytest.mark.parametrize("static", [False, True])
def test_vectors_learn_unless_static_and_padding_never(static: bool) -> None:
    torch.manual_seed(0)
    network = TextCNN(3, 20, 6, static, filters=4, dropout=0.0)
    batch = words()
    batch[:, 7:] = 0
    network(batch).logsumexp(dim=1).sum().backward()
    gradient = network.embedding.weight.grad
    assert (gradient is None) == static
    if gradient is not None:
        assert gradient[1:].abs().sum() > 0
        assert torch.equal(gradient[0], torch.zeros(6))


def test_dropout_in_training_only() -> None:
    network = small(filters=50)
    batch = words()
    assert not torch.equal(network(batch), network(batch))
    network.eval()
    assert torch.equal(network(batch), network(batch))


def test_precisions() -> None:
    network = small().eval()
    batch = words()
    exact = copy.deepcopy(network).double()(batch)
    assert exact.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(batch)
    torch.testing.assert_close(rough.double(), exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    "batch", [torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 9), torch.zeros(9, dtype=torch.int64)]
)
def test_other_inputs_are_refused(batch: Tensor) -> None:
    with pytest.raises(InputError, match=r"at least 5 words a sentence, not torch.*set the sentence length to 5"):
        small()(batch)


def test_sentences_of_the_largest_width_pass() -> None:
    assert small()(words(length=5)).shape == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text_rnn", 2, 10), "'text_rnn' is unknown; choose one of text_cnn"),
        (("text_cnn", 1, 10), "num_classes is 1"),
        (("text_cnn", 2, 0), "vocabulary is 0"),
        (("text_cnn", 2, 10, 0), "embedding_dim is 0"),
    ],
)
def test_impossible_classifiers(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_text_classifier(*arguments)


def test_impossible_widths() -> None:
    with pytest.raises(InputError, match=r"widths is \[3, 0\]"):
        TextCNN(2, 10, widths=(3, 0))
    with pytest.raises(InputError, match="filters is 0"):
        TextCNN(2, 10, filters=0)


@pytest.mark.parametrize("name", TEXT_CLASSIFIERS)
def test_classifiers_by_name(name: str) -> None:
    network = build_text_classifier(name, 4, 20, 8, static=True)
    assert network(words()).shape == (4, 4)
    assert any(not p.requires_grad for p in network.parameters())
