import hashlib
import json
from dataclasses import replace

import pytest
import torch

from lightning_extract.errors import InputError
from lightning_extract.victims.loading import describe_missing_victim, load_tokenizer, load_victim, read_card
from lightning_extract.victims.text_card import TextVictimCard
from tests.victims.text_folder import LENGTH, SENTENCES, save_small_text_victim


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "victims" / "activethief_mr"
    save_small_text_victim(folder)
    return folder


def edit_card(folder, **change):
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def replace_tokenizer(folder, content):
    (folder / "tokenizer.json").write_bytes(content)
    edit_card(folder, tokenizer_sha256=hashlib.sha256(content).hexdigest())


def test_saved_victim_and_tokenizer_come_back(tmp_path):
    network, tokenizer = save_small_text_victim(tmp_path)
    loaded, card = load_victim(tmp_path)
    assert isinstance(card, TextVictimCard)
    assert (card.medium, card.sentence_length, card.embedding_dim, card.test_accuracy) == ("text", LENGTH, 4, 0.5)
    words = load_tokenizer(tmp_path).encode(SENTENCES, LENGTH)
    assert torch.equal(words, tokenizer.encode(SENTENCES, LENGTH))
    assert torch.equal(loaded(words), network.eval()(words))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "tokenizer.json", "victim.safetensors"]
    assert TextVictimCard.from_json(card.to_json()) == card


def test_image_victims_have_another_medium_and_no_tokenizer():
    assert load_victim("lenet5_mnist5k")[1].medium == "images"
    with pytest.raises(InputError, match="answers images, so that it has no tokenizer"):
        load_tokenizer("lenet5_mnist5k")


def test_missing_tokenizer(folder):
    assert describe_missing_victim(folder) is None
    (folder / "tokenizer.json").unlink()
    missing = describe_missing_victim(folder)
    assert "nor a folder with tokenizer.json: train one" in missing
    assert "configs/victim_activethief_mr.yaml" in missing
    for load in (load_victim, load_tokenizer):
        with pytest.raises(InputError, match=r"nor a folder with tokenizer.json"):
            load(folder)


def test_changed_tokenizer(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("film", "fiml"))
    with pytest.raises(InputError, match=r"tokenizer.json has sha256 .* its card says .* changed or damaged"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\xff", "tokenizer.json is no text file"), (b"{}", "tokenizer.json holds no tokenizer")],
)
def test_damaged_tokenizer_with_a_fitting_hash(folder, content, message):
    replace_tokenizer(folder, content)
    with pytest.raises(InputError, match=message):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 13}, r"embedding.weight has shape \(12, 4\), expected \(13, 4\)"),
        ({"network": "text_rnn"}, "the text classifier 'text_rnn' is unknown"),
        ({"vocabulary": 0}, "vocabulary is 0"),
        ({"embedding_dim": "4"}, "embedding_dim is '4', expected int"),
        ({"channels": 1}, r"unknown \['channels'\]"),
    ],
)
def test_card_that_does_not_fit(folder, change, message):
    edit_card(folder, **change)
    with pytest.raises(InputError, match=message):
        load_victim(folder)


def test_tokenizer_with_more_words_than_rows(folder):
    edit_card(folder, vocabulary=5)
    with pytest.raises(InputError, match=r"knows 8 words, the victim has room for 5"):
        load_tokenizer(folder)


def test_impossible_lengths():
    card = TextVictimCard(
        network="text_cnn", num_classes=2, vocabulary=5, embedding_dim=4, sentence_length=8, dataset="films",
        split="test", test_accuracy=None, recipe={}, weights_sha256="ab", tokenizer_sha256="cd",
    )  # fmt: skip
    with pytest.raises(InputError, match="sentence_length is 0"):
        replace(card, sentence_length=0)
    with pytest.raises(InputError, match="fraction between 0 and 1"):
        replace(card, test_accuracy=50.0)


def test_card_that_is_no_card(folder):
    (folder / "card.json").write_text("[]")
    with pytest.raises(InputError, match="no victim card"):
        read_card(folder)
