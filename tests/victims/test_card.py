import json
from dataclasses import replace

import pytest

from lightning_extract.errors import InputError
from lightning_extract.victims.card import VictimCard

CARD = VictimCard(
    network="lenet5",
    num_classes=10,
    channels=1,
    image_size=32,
    dataset="mnist5k",
    split="test",
    mean=(0.1307,),
    std=(0.3081,),
    test_accuracy=0.97,
    recipe={"epochs": 3, "optimizer": {"class": "SGD", "lr": 0.1}},
    weights_sha256="ab",
)


def test_it_is_the_card_of_an_image_victim():
    assert CARD.medium == "images"
    assert "medium" not in json.loads(CARD.to_json())


def test_text_and_back():
    assert VictimCard.from_json(CARD.to_json()) == CARD
    unmeasured = replace(CARD, test_accuracy=None)
    assert VictimCard.from_json(unmeasured.to_json()) == unmeasured


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (0.1, 0.2)}, "need one number a channel, there are 1"),
        ({"std": (0.0,)}, "positive"),
        ({"mean": (float("nan"),)}, "finite"),
        ({"test_accuracy": 97.0}, "fraction between 0 and 1"),
        ({"format_version": 2}, "format version 2"),
    ],
)
def test_impossible_values_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(CARD, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": "10"}, "num_classes is '10', expected int"),
        ({"num_classes": True}, "num_classes is True, expected int"),
        ({"mean": 0.1}, "mean is 0.1, expected list"),
        ({"mean": ["0.1"]}, "expected numbers"),
        ({"recipe": None}, "recipe is None, expected dict"),
        ({"colour": 1}, r"unknown \['colour'\]"),
    ],
)
def test_reading_is_strict(change, message):
    text = json.dumps(json.loads(CARD.to_json()) | change)
    with pytest.raises(InputError, match=message):
        VictimCard.from_json(text, "here")


def test_missing_key_and_no_json():
    values = json.loads(CARD.to_json())
    del values["std"]
    with pytest.raises(InputError, match=r"here is no victim card of this release: missing \['std'\]"):
        VictimCard.from_json(json.dumps(values), "here")
    with pytest.raises(InputError, match="not valid JSON"):
        VictimCard.from_json("{", "here")
    with pytest.raises(InputError, match="no victim card"):
        VictimCard.from_json("[]", "here")
