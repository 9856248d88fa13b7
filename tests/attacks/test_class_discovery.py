"""What was found of the victim's classes, and the outputs that stand for it."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lightning_extract.attacks.class_discovery import ClassDiscovery, KnownClasses, copy_outputs, initialise_outputs
from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier


def test_labels_take_outputs_in_the_order_of_their_discovery() -> None:
    classes = ClassDiscovery(capacity=5)
    assert classes.unknown
    assert classes.found == 0
    assert classes.observe(torch.tensor([7, 3, 7]), 10) == range(0, 2)
    assert classes.observe(torch.tensor([3, 3]), 20) == range(2, 2)
    assert classes.observe(torch.tensor([900, 0, 7]), 30) == range(2, 4)
    assert classes.labels == [3, 7, 0, 900], "labels of one batch are sorted"
    assert classes.history == [(10, 2), (30, 4)]
    assert classes.outputs_of(torch.tensor([900, 3, 0, 7, 7])).tolist() == [3, 0, 2, 1, 1]


def test_only_found_outputs_are_visible_and_lead_back_to_their_labels() -> None:
    classes = ClassDiscovery(capacity=5)
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    assert classes.visible(logits).shape == (2, 3, 0)
    assert_close(classes.to_victim_classes(torch.empty(3, 0), 4), torch.zeros(3, 4))
    classes.observe(torch.tensor([2]), 1)
    classes.observe(torch.tensor([0]), 2)
    assert_close(classes.visible(logits), logits[..., :2])
    found = classes.to_victim_classes(torch.tensor([[0.75, 0.25], [0.1, 0.9]]), 4)
    assert_close(found, torch.tensor([[0.25, 0, 0.75, 0], [0.9, 0, 0.1, 0]]))
    # Clones of an earlier time knew the first classes only.
    assert_close(classes.to_victim_classes(torch.tensor([[1.0]]), 4), torch.tensor([[0.0, 0, 1, 0]]))


def test_more_classes_than_room_are_refused_with_the_remedy() -> None:
    classes = ClassDiscovery(capacity=3)
    classes.observe(torch.tensor([1, 2, 3]), 1_000)
    message = "answered with 4 classes by query 2,000, .*class_capacity 3; raise it and start in a new run folder"
    with pytest.raises(InputError, match=message):
        classes.observe(torch.tensor([1, 9]), 2_000)


def test_state_survives_a_checkpoint(tmp_path: Path) -> None:
    classes, restored = ClassDiscovery(capacity=5), ClassDiscovery(capacity=5)
    classes.observe(torch.tensor([4, 2]), 7)
    torch.save(classes.state_dict(), tmp_path / "state.pt")
    classes.observe(torch.tensor([0]), 8)  # the saved state is a copy
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (restored.labels, restored.history) == ([2, 4], [(7, 2)])
    assert restored.observe(torch.tensor([4, 1]), 9) == range(2, 3)


def test_known_classes_change_nothing() -> None:
    classes, values = KnownClasses(), torch.randn(2, 3, 4)
    assert not classes.unknown
    assert classes.found is None
    assert classes.history is None
    assert classes.observe(torch.tensor([1]), 5) == range(0)
    assert classes.visible(values) is values
    assert classes.outputs_of(values) is values
    assert classes.to_victim_classes(values, 4) is values
    assert classes.state_dict() == {}


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_fresh_outputs_lose_their_weights_and_momentum_only(make: Callable[..., torch.optim.Optimizer]) -> None:
    network = build_classifier("lenet5_half", 6, 1)
    momentum = {"momentum": 0.9} if make is torch.optim.SGD else {}
    optimizer = make(network.parameters(), lr=0.1, **momentum)
    network(torch.randn(4, 1, 32, 32)).square().sum().backward()
    optimizer.step()
    weights, states = deepcopy(network.state_dict()), deepcopy(optimizer.state_dict()["state"])
    initialise_outputs(network, range(2, 4), seed=3, optimizer=optimizer)
    kept, fresh = [0, 1, 4, 5], [2, 3]
    for name, value in network.state_dict().items():
        if name.startswith("fc2"):
            assert torch.equal(value[kept], weights[name][kept])
            assert not torch.isclose(value[fresh], weights[name][fresh]).any()
            assert 0.05 < value[fresh].abs().max() <= 42**-0.5  # torch's default for 42 inputs
        else:
            assert torch.equal(value, weights[name]), name
    parameters = list(network.named_parameters())
    for (name, _), (position, state) in zip(parameters, optimizer.state_dict()["state"].items(), strict=True):
        for key, value in state.items():
            before = states[position][key]
            if name.startswith("fc2") and value.ndim:
                assert torch.equal(value[kept], before[kept])
                assert not value[fresh].any()
            else:
                assert torch.equal(value, before), (name, key)


def test_fresh_outputs_hang_on_the_seed_only() -> None:
    networks = [build_classifier("lenet5_half", 6, 1) for _ in range(3)]
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        initialise_outputs(network, range(6), seed, torch.optim.SGD(network.parameters()))
    first, same, other = (network.fc2 for network in networks)
    assert torch.equal(first.weight, same.weight)
    assert torch.equal(first.bias, same.bias)
    assert not torch.isclose(first.weight, other.weight).any()


def test_outputs_are_copied_between_heads() -> None:
    source, target = (build_classifier("lenet5_half", 6, 1) for _ in range(2))
    before = deepcopy(target.state_dict())
    copy_outputs(source, target, range(2, 4))
    for name, value in target.state_dict().items():
        same = torch.tensor([True, True, False, False, True, True])
        if name.startswith("fc2"):
            assert torch.equal(value[2:4], source.state_dict()[name][2:4])
            assert torch.equal(value[same], before[name][same])
        else:
            assert torch.equal(value, before[name])
