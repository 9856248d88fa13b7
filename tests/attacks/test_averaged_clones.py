"""Averages of clones against plain arithmetic, and the choice among them against a count by hand."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from lightning_extract.attacks.averaged_clones import AveragedClones
from lightning_extract.errors import InputError
from lightning_extract.networks import CloneEnsemble
from tests.two_processes import rank_file, run_on_two_processes


def test_averages_are_recursions_that_begin_with_a_copy() -> None:
    clones = CloneEnsemble([nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))])
    averages = AveragedClones(clones, (0.5, 0.9))
    expected: dict[float, dict[str, Tensor]] = {0.5: {}, 0.9: {}}
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        with torch.no_grad():
            for value in clones.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.rand(value.shape, generator=generator))
        averages.update_parameters(clones)
        for momentum, states in expected.items():
            for name, value in clones.state_dict().items():
                old = states.get(name, value).double()
                states[name] = momentum * old + (1 - momentum) * value.double()
    for position, momentum in enumerate((0.5, 0.9)):
        for name, value in averages.model(clones, position).state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), expected[momentum][name], atol=1e-6, rtol=0)
    averages.restart()
    averages.update_parameters(clones)
    for name, value in averages.model(clones, 1).state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, clones.state_dict()[name])


class Answers(nn.Module):
    """A clone that says what it was told, whatever the image: for position p of the batch label ``labels[p]``."""

    def __init__(self, labels: list[int]) -> None:
        super().__init__()
        self.labels = nn.Parameter(torch.tensor(labels, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        labels = self.labels[images[:, 0].long()].round().long()
        return nn.functional.one_hot(labels, 4).float()


# The victim's labels; class 3 never comes.
VICTIM = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2])
POSITIONS = torch.arange(9.0)[:, None]


def validation() -> Iterator[tuple[Tensor, Tensor]]:
    yield POSITIONS[:5], VICTIM[:5]
    yield POSITIONS[5:], VICTIM[5:]


def predict(logits: Tensor) -> Tensor:
    return logits.mean(dim=0).argmax(dim=1)


def test_the_score_is_the_mean_of_the_recalls_of_classes_that_occur() -> None:
    clones = CloneEnsemble([Answers([0, 0, 0, 3, 1, 1, 1, 0, 2])])
    metrics = AveragedClones(clones, ()).select(clones, validation, predict, num_classes=4)
    assert float(metrics["heldout_agreement"]) == pytest.approx((3 / 6 + 1 / 2 + 1) / 3)
    assert float(metrics["heldout_best"]) == 1
    assert float(metrics["heldout_momentum"]) == 0


def test_the_best_of_clones_and_averages_is_chosen_and_the_best_ever_is_kept() -> None:
    good, bad = VICTIM.tolist(), [3] * 9
    clones = CloneEnsemble([Answers(good)])
    averages = AveragedClones(clones, (0.999, 0.0))
    assert averages.select(clones, validation, predict, 4)["heldout_best"] == 1, (
        "before any update there are no averages"
    )
    assert averages.chosen == -1
    averages.update_parameters(clones)
    clones.load_state_dict(CloneEnsemble([Answers(bad)]).state_dict())
    averages.update_parameters(clones)
    metrics = averages.select(clones, validation, predict, 4)
    assert float(metrics["heldout_momentum"]) == pytest.approx(0.999), "the slow average still knows"
    assert averages.model(clones) is averages.model(clones, 0)
    assert metrics["heldout_best"] == 1, "as good as the best"
    kept = deepcopy(averages.best)
    averages.averages[0].module.load_state_dict(clones.state_dict())
    assert averages.select(clones, validation, predict, 4)["heldout_best"] == 0
    assert all(torch.equal(averages.best[name], value) for name, value in kept.items())
    state = averages.selection_state()
    other = AveragedClones(clones, (0.999, 0.0))
    other.load_selection_state(state, torch.device("cpu"))
    assert other.selection_state()["best_score"] == averages.best_score
    averages.restart()
    assert averages.select(clones, validation, predict, 4)["heldout_best"] == 1, "a stage begins anew"


def select_a_share(rank: int, folder: object) -> None:
    clones = CloneEnsemble([Answers([0, 0, 0, 3, 1, 1, 1, 0, 2])])

    def share() -> Iterator[tuple[Tensor, Tensor]]:
        yield POSITIONS[rank::2], VICTIM[rank::2]

    metrics = AveragedClones(clones, ()).select(clones, share, predict, num_classes=4)
    torch.save(metrics, rank_file(folder, rank))  # type: ignore[arg-type]


def test_processes_validate_their_shares(tmp_path: object) -> None:
    run_on_two_processes(select_a_share, tmp_path)
    for rank in range(2):
        metrics = torch.load(rank_file(tmp_path, rank), weights_only=True)  # type: ignore[arg-type]
        assert float(metrics["heldout_agreement"]) == pytest.approx((3 / 6 + 1 / 2 + 1) / 3)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 2.0])
def test_impossible_momenta_are_refused(momentum: float) -> None:
    with pytest.raises(InputError, match="give momenta of at least 0 and below 1"):
        AveragedClones(CloneEnsemble([nn.Linear(2, 3)]), (0.5, momentum))
