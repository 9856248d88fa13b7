import pytest
import torch

from lightning_extract.errors import InputError
from lightning_extract.victims.best_weights import BestWeights


def observe(best, accuracies, start=0):
    """Observes a network whose weight is the epoch's number; returns the epoch in which the patience ended, if any."""
    network = torch.nn.Linear(1, 1, bias=False)
    for epoch, accuracy in enumerate(accuracies, start):
        torch.nn.init.constant_(network.weight, epoch)
        best.observe(accuracy, epoch, network)
        if best.exhausted:
            return epoch
    return None


def test_the_first_of_equal_epochs_is_kept():
    best = BestWeights(patience=3)
    assert observe(best, [0.5, 0.7, 0.6, 0.7, 0.7]) == 4
    assert (best.accuracy, best.epoch, best.weights["weight"].item()) == (0.7, 1, 1.0)


def test_a_better_epoch_starts_the_patience_anew():
    assert observe(BestWeights(patience=2), [0.5, 0.4, 0.6, 0.5, 0.7, 0.1]) is None
    assert observe(BestWeights(patience=1), [0.5, 0.6, 0.6]) == 2


def test_state_survives_a_checkpoint(tmp_path):
    best, restored = BestWeights(patience=3), BestWeights(patience=3)
    observe(best, [0.2, 0.6, 0.5])
    torch.save(best.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert not restored.exhausted
    assert observe(restored, [0.6, 0.6], start=3) == 4
    assert (restored.accuracy, restored.epoch, restored.weights["weight"].item()) == (0.6, 1, 1.0)


def test_patience_below_one():
    with pytest.raises(InputError, match="patience is 0"):
        BestWeights(patience=0)
