"""What clones read of sentences and images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.attacks.clone_reader import WIDEST_WINDOW, ImageReader, SentenceReader
from lightning_extract.attacks.rounds import TextClones
from lightning_extract.data.pools import ImagePool
from lightning_extract.data.sentence_pool import SentencePool
from lightning_extract.errors import InputError
from lightning_extract.networks import CloneEnsemble, build_text_classifier

LENGTH, VOCABULARY, DIMENSION = 20, 40, 12
SENTENCES = ["The film, the film!", "a plot", "moon", "A bad, bad plot of a bad film " * 3, "the moon of the plot " * 5]
# The last stands in no sentence, and "so-so" is no single word.
VECTORS = {"film": 0.25, "moon": -0.75, "Moon": 9.0, "so-so": 7.0, "sun": 0.5}


def settings(**others: object) -> TextClones:
    values = {"vocabulary": VOCABULARY, "embedding_dim": DIMENSION, "sentence_length": LENGTH} | others
    return TextClones(**values)  # type: ignore[arg-type]


def reader(sentences: Sequence[str] = SENTENCES, **others: object) -> SentenceReader:
    made = SentenceReader(settings(**others))
    made.learn(SentencePool(sentences))
    return made


def clone(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return build_text_classifier("text_cnn", 3, VOCABULARY, DIMENSION)


@pytest.fixture
def vectors() -> str:
    lines = [" ".join([word, *[str(value)] * DIMENSION]) for word, value in VECTORS.items()]
    Path("vectors.txt").write_text("\n".join(lines) + "\n")
    return "vectors.txt"


# Trimming.


@pytest.mark.parametrize("positions", [[2], [1, 2], [0, 1, 2], [3], [4, 2], [0, 1, 2, 3, 4], [2, 2, 0]])
def test_less_padding_gives_the_same_logits(positions: list[int]) -> None:
    made, network = reader(), clone().double().eval()
    chosen = torch.tensor(positions)
    sentences = [SENTENCES[position] for position in positions]
    short, whole = made.of_pool(chosen), made.tokenizer.encode(sentences, LENGTH)
    assert torch.equal(made.of_samples(sentences), short)
    longest = int((whole != 0).sum(dim=1).max())
    assert whole.shape == (len(positions), LENGTH)
    assert short.shape == (len(positions), min(LENGTH, longest + WIDEST_WINDOW))
    assert short.dtype == torch.int64
    assert torch.equal(short, whole[:, : short.shape[1]])
    assert_close(network(short), network(whole), rtol=0, atol=1e-14)


@pytest.mark.parametrize("words", range(LENGTH - 6, LENGTH + 3))
def test_nearly_full_sentences_give_the_same_logits(words: int) -> None:
    # Between the longest sentence and the cut there may be room for some windows of padding, or for none.
    sentence = " ".join(["moon"] * words)
    made, network = reader([sentence, "film"]), clone().double().eval()
    assert_close(
        network(made.of_pool(torch.tensor([0]))), network(made.tokenizer.encode([sentence], LENGTH)), rtol=0, atol=1e-14
    )


def test_trimming_is_seen_where_it_cuts_into_windows() -> None:
    """The tests above can fail: one column less, and the widest window of padding alone is missing."""
    made, network = reader(["moon"]), clone().double().eval()
    with torch.no_grad():
        for convolution in network.convolutions:
            convolution.bias.fill_(-0.01)
            convolution.weight.abs_()
        network.embedding.weight.abs_().neg_()
        network.convolutions[2].bias.fill_(1.0)
    short = made.of_pool(torch.tensor([0]))
    assert_close(network(short), network(made.of_samples(["moon"])), rtol=0, atol=1e-14)
    assert not torch.allclose(network(short[:, :-1]), network(short))


def test_a_process_without_a_sentence_of_a_batch_reads_nothing() -> None:
    nothing = reader().of_pool(torch.empty(0, dtype=torch.int64))
    assert len(nothing) == 0
    assert clone()(nothing).shape == (0, 3)


def test_the_pool_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = torch.arange(len(SENTENCES))
    whole = reader().of_pool(everything)
    monkeypatch.setattr("lightning_extract.attacks.clone_reader.SENTENCES_AT_A_TIME", 2)
    assert torch.equal(reader().of_pool(everything), whole)


# The vocabulary.


def test_words_of_the_pool_stand_before_those_of_the_vectors(vectors: str) -> None:
    words = reader(["plot moon", "plot", "Moon plot film"], vectors=vectors).tokenizer.words
    assert words == ["<pad>", "<unk>", "plot", "moon", "film", "sun"]


def test_capitals_are_kept_where_asked(vectors: str) -> None:
    words = reader(["Moon moon", "Moon"], vectors=vectors, lowercase=False).tokenizer.words
    assert words == ["<pad>", "<unk>", "Moon", "moon", "film", "sun"]


def test_the_least_frequent_words_are_unknown(vectors: str) -> None:
    made = reader(["plot moon", "plot"], vocabulary=3, vectors=vectors)
    assert made.tokenizer.words == ["<pad>", "<unk>", "plot"]
    assert made.of_samples(["plot moon"])[0, :3].tolist() == [2, 1, 0]


def test_a_vocabulary_survives_and_is_not_made_anew() -> None:
    before = reader()
    after = SentenceReader(settings())
    after.load_state_dict(before.state_dict())
    assert torch.equal(after.of_samples(SENTENCES), before.of_samples(SENTENCES))
    after.learn(SentencePool(["entirely other words"]))
    assert after.tokenizer.words == before.tokenizer.words
    assert after.of_pool(torch.tensor([0])).unique().tolist() == [0, 1]


def test_a_damaged_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="the checkpoint's vocabulary holds no tokenizer"):
        SentenceReader(settings()).load_state_dict("{")


# Word vectors.


def test_vectors_are_filled_in(vectors: str) -> None:
    made = reader(vectors=vectors)
    clones: Any = CloneEnsemble([clone(0), clone(1)])
    before = [member.embedding.weight.detach().clone() for member in clones.members]
    made.initialise(clones.members)
    known = [number for number, word in enumerate(made.tokenizer.words) if word in VECTORS]
    assert sorted(made.tokenizer.words[number] for number in known) == ["film", "moon", "sun"]
    for member, old in zip(clones.members, before, strict=True):
        weight = member.embedding.weight.detach()
        for number in known:
            assert_close(weight[number], torch.full((DIMENSION,), VECTORS[made.tokenizer.words[number]]))
        assert not weight[0].any()
        size = len(made.tokenizer)
        assert torch.equal(weight[size:], old[size:]), "no word has these rows"
        others = [number for number in range(1, size) if number not in known]
        ratio = weight[others] / old[others]
        assert_close(ratio, ratio[0, 0].expand_as(ratio))
        deviation = made.vectors.values.std() if made.vectors is not None else None
        assert_close(weight[others].std(), deviation)


def test_without_vectors_nothing_is_filled_in() -> None:
    network = clone()
    before = [value.clone() for value in network.state_dict().values()]
    reader().initialise(nn.ModuleList([network]))
    assert all(torch.equal(new, old) for new, old in zip(network.state_dict().values(), before, strict=True))


def test_vectors_of_another_length_are_refused(vectors: str) -> None:
    with pytest.raises(InputError, match=r"text.embedding_dim is 300, but vectors.txt has vectors of 12 .* it to 12"):
        reader(embedding_dim=300, vectors=vectors)


# Images.


def test_images_are_read_as_they_are() -> None:
    pixels: Tensor = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    made = ImageReader()
    made.learn(ImagePool(pixels, seed=0))
    chosen = torch.tensor([4, 1, 1])
    assert_close(made.of_pool(chosen), pixels[chosen].float() / 127.5 - 1)
    samples = torch.rand(2, 1, 2, 2)
    assert made.of_samples(samples) is samples
    assert made.state_dict() == ""
