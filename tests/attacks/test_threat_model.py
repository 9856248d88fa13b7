import dataclasses
from typing import Any

import pytest

from lightning_extract.errors import InputError
from lightning_extract.victims.loading import load_victim
from tests.stand_ins import threat_model


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"query_budget": 0}, "query_budget is 0; give a positive number"),
        ({"query_budget": -5_000}, "query_budget is -5,000"),
        ({"num_classes": 1}, "num_classes is 1; a classifier has at least 2"),
        (
            {"num_classes": "unknown"},
            "num_classes is unknown, but soft access shows it; give the number, or set access to hard",
        ),
    ],
)
def test_impossible_numbers_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        threat_model(**values)


def test_shape_of_a_query() -> None:
    assert threat_model(channels=3, image_size=28).image_shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("name", "assumed", "true"), [("num_classes", 100, 10), ("channels", 3, 1), ("image_size", 28, 32)]
)
def test_a_victim_that_differs_is_refused(name: str, assumed: int, true: int) -> None:
    _, card = load_victim("lenet5_mnist5k")
    threat_model().check_victim(card)
    message = f"{name} is {assumed}, but the victim 'lenet5_mnist5k' has {true}; set {name} to {true}"
    with pytest.raises(InputError, match=message):
        threat_model(**{name: assumed}).check_victim(card)


def test_it_cannot_be_changed_in_mid_run() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        threat_model().query_budget = 5  # type: ignore[misc]


def test_with_labels_alone_the_number_of_classes_may_be_unknown() -> None:
    _, card = load_victim("lenet5_mnist5k")
    threat_model(num_classes="unknown", access="hard").check_victim(card)
