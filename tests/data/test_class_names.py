import pytest

from lightning_extract.data.class_names import class_indices, shared_class_names
from lightning_extract.data.proxy_classes import (
    CIFAR100_10_CLASSES,
    CIFAR100_40_CLASSES,
    PROXY_CLASSES,
    expand_proxy_classes,
)
from lightning_extract.errors import InputError
from tests.data.cifar_names import CIFAR10_CLASSES, CIFAR100_CLASSES

DIGITS = tuple("0123456789")
MNIST = (
    *("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four"),
    *("5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"),
)
SIGNS = tuple(f"{sign:05d}" for sign in range(43))


def test_names_and_indices_are_mixed_freely() -> None:
    assert class_indices("p", ("rose", 3, "apple"), CIFAR100_CLASSES) == [70, 3, 0]
    assert class_indices("p", ("7", 7), ("5", "6", "7", *"01234")) == [2, 7]  # a name, and an index


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ((0, 100, -1), r"pool 'p' has the classes 0 to 99, pool_classes names \[100, -1\]"),
        (("palmtree",), "pool 'p' has no class 'palmtree'; close to it: palm_tree"),
        (("Rose", "plate"), "pool 'p' has no class 'Rose'; close to it: rose"),
        (
            ("qqq", "zzz"),
            "no class 'qqq', 'zzz'; it has apple, aquarium_fish, baby, bear, beaver, bed, bee, beetle, ...",
        ),
    ],
)
def test_unknown_classes_are_named(wanted: tuple[int | str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_indices("p", wanted, CIFAR100_CLASSES)


def test_a_short_list_is_shown_whole() -> None:
    with pytest.raises(InputError, match=r"it has bird, cat$"):
        class_indices("p", ("house",), ("bird", "cat"))


@pytest.mark.parametrize(
    ("pool", "victim", "shared"),
    [
        (("cat", "Pine Tree", "air-plane"), ("pine_tree", "airplane", "dog"), ["Pine Tree", "air-plane"]),
        (CIFAR100_CLASSES, CIFAR10_CLASSES, []),
        (CIFAR10_CLASSES, CIFAR10_CLASSES[3:5], ["cat", "deer"]),
        (MNIST, DIGITS, list(MNIST)),
        (DIGITS[:3], MNIST, ["0", "1", "2"]),
        (DIGITS, SIGNS, []),
        (SIGNS, SIGNS, []),
        (tuple(str(index) for index in range(100)), DIGITS, []),
        (DIGITS, ("cat", "7"), []),
        (("cat", "7"), ("7", "cat"), ["cat"]),
        ((), DIGITS, []),
        (("_", "cat"), ("-", "dog"), []),
    ],
)
def test_shared_names(pool: tuple[str, ...], victim: tuple[str, ...], shared: list[str]) -> None:
    assert shared_class_names(pool, victim) == shared


def test_proxy_classes_are_of_cifar100_and_not_of_cifar10() -> None:
    for names, count in ((CIFAR100_40_CLASSES, 40), (CIFAR100_10_CLASSES, 10)):
        assert len(set(names)) == len(names) == count
        assert set(names) <= set(CIFAR100_CLASSES)
        assert shared_class_names(names, CIFAR10_CLASSES) == []
    assert set(CIFAR100_10_CLASSES) < set(CIFAR100_40_CLASSES)
    assert len(set(CIFAR100_CLASSES)) == 100


def test_short_names() -> None:
    assert expand_proxy_classes("cifar100", ("dfms_40",)) == CIFAR100_40_CLASSES
    assert expand_proxy_classes("cifar100", ("dfms_10",)) == CIFAR100_10_CLASSES
    assert expand_proxy_classes("svhn", ("1", 2)) == ("1", 2)
    assert not set(PROXY_CLASSES) & set(CIFAR100_CLASSES)
