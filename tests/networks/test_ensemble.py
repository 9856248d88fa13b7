import pytest
import torch

from lightning_extract.errors import InputError
from lightning_extract.networks import CloneEnsemble, build_classifier


def test_logits_are_stacked_in_the_members_order() -> None:
    torch.manual_seed(0)
    members = [build_classifier("lenet5_half", 10, channels=1) for _ in range(3)]
    ensemble = CloneEnsemble(iter(members))
    images = torch.rand(4, 1, 32, 32)
    logits = ensemble(images)
    assert len(ensemble) == 3
    assert logits.shape == (3, 4, 10)
    for s, member in enumerate(members):
        assert ensemble.members[s] is member
        assert torch.equal(logits[s], member(images))
    assert not torch.equal(logits[0], logits[1])


def test_an_empty_ensemble_is_refused() -> None:
    with pytest.raises(InputError, match="0 members"):
        CloneEnsemble([])
