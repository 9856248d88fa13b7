import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks.heldout_selection import HeldOutSelection

SAMPLES = torch.arange(8.0).view(8, 1, 1, 1)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


class Clones(nn.Module):
    """One clone whose answers are its weights, a row of logits for each of the samples 0 to 7."""

    def __init__(self, predicted: list[int], outputs: int = 4) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(8, outputs))
        self.become(predicted)

    @torch.no_grad()
    def become(self, predicted: list[int]) -> None:
        self.table.zero_()
        self.table[range(8), predicted] = 1.0

    def forward(self, samples: Tensor) -> Tensor:
        return self.table[samples.flatten().long()][None]


def predict(logits: Tensor) -> Tensor:
    return logits.mean(dim=0).argmax(dim=1)


def with_answers(count: int = 8, soft: bool = False) -> HeldOutSelection:
    selection = HeldOutSelection()
    answers = nn.functional.one_hot(LABELS, 4).float() if soft else LABELS
    selection.answers.add(SAMPLES[:count], answers[:count], random.Random(0))
    return selection


@pytest.mark.parametrize("soft", [True, False])
def test_the_score_is_the_share_of_equal_labels(soft: bool) -> None:
    row = with_answers(soft=soft).select(Clones([0, 0, 1, 1, 2, 0, 0, 0]), predict)
    assert row["heldout_agreement"] == pytest.approx(5 / 8)


def test_batches_of_different_size_count_by_samples() -> None:
    selection = with_answers(6)
    selection.answers.add(SAMPLES[6:], LABELS[6:], random.Random(0))
    row = selection.select(Clones([0, 0, 1, 1, 2, 2, 0, 0]), predict)
    assert row["heldout_agreement"] == pytest.approx(6 / 8)


def test_the_best_so_far_is_scored_anew_on_todays_answers() -> None:
    selection, clones = with_answers(4), Clones([0, 0, 1, 1, 0, 0, 0, 0])
    assert selection.select(clones, predict) == {"heldout_agreement": 1, "heldout_best": 1}
    clones.become([0, 0, 1, 0, 2, 2, 0, 0])
    assert selection.select(clones, predict) == {"heldout_agreement": 0.75, "heldout_best": 0}
    selection.answers.add(SAMPLES[4:], LABELS[4:], random.Random(0))
    # Of the eight answers the first clone has four, this one five: 5 / 8 is below the old score, but better.
    assert selection.select(clones, predict) == {"heldout_agreement": 0.625, "heldout_best": 1}
    assert torch.equal(selection.best["table"], clones.table)


def test_the_kept_weights_do_not_train_on() -> None:
    selection, clones = with_answers(), Clones([0] * 8)
    selection.select(clones, predict)
    kept = clones.table.detach().clone()
    clones.become([3] * 8)
    assert torch.equal(selection.best["table"], kept)


def test_of_equals_the_later_is_kept() -> None:
    selection = with_answers()
    for predicted in ([0] * 8, [1] * 8, [2] * 8):
        clones = Clones(predicted)
        assert selection.select(clones, predict)["heldout_best"] == 1
    assert torch.equal(selection.best["table"], clones.table)


def test_clones_answer_with_the_outputs_that_they_knew_then() -> None:
    selection, clones = with_answers(4), Clones([0, 0, 1, 1, 1, 1, 1, 1])
    with torch.no_grad():
        clones.table[:, 2:] = 9.0  # outputs that stand for nothing yet
    assert selection.select(clones, predict, outputs=2) == {"heldout_agreement": 1, "heldout_best": 1}
    clones.become([0, 0, 1, 0, 0, 0, 0, 0])
    # Three outputs are known now; the best so far goes on answering with its two.
    assert selection.select(clones, predict, outputs=3) == {"heldout_agreement": 0.75, "heldout_best": 0}
    assert selection.best_outputs == 2


def test_state_survives_a_checkpoint(tmp_path: Path) -> None:
    selection, restored = with_answers(), HeldOutSelection()
    selection.select(Clones([0, 0, 1, 1, 2, 2, 3, 3]), predict, outputs=4)
    torch.save(selection.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), torch.device("cpu"))
    assert restored.best_outputs == 4
    assert torch.equal(restored.best["table"], selection.best["table"])
    worse = Clones([0] * 8)
    assert restored.select(worse, predict, outputs=4) == {"heldout_agreement": 0.25, "heldout_best": 0}
