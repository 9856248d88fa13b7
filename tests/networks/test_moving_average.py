import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_extract.networks import MovingAverage
from tests.state import assert_same_state


def changed(network: nn.Module) -> nn.Module:
    """The network after a step: other weights, other batch statistics."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    network(torch.randn(8, 3))
    return network


def test_it_is_torchs_average_of_the_whole_state() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = MovingAverage(network, 0.9)
    moving = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
    of_torch = AveragedModel(network, multi_avg_fn=moving, use_buffers=True)
    for _ in range(4):
        changed(network)
        average.update_parameters(network)
        of_torch.update_parameters(network)
        assert_same_state(average.state_dict(), of_torch.state_dict())
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_it_begins_with_a_copy_and_again_after_a_restart() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = MovingAverage(network, 0.9)
    for _ in range(2):
        assert not average.begun
        average.update_parameters(changed(network))
        assert average.begun
        assert_same_state(average.module.state_dict(), network.state_dict())
        average.update_parameters(changed(network))
        average.restart()


def test_a_loaded_average_knows_whether_it_has_begun() -> None:
    network = nn.Linear(3, 4)
    old, new = MovingAverage(network, 0.9), MovingAverage(network, 0.9)
    for begun in (False, True):
        nn.ModuleList([new]).load_state_dict(nn.ModuleList([old]).state_dict())
        assert new.begun is begun
        old.update_parameters(network)
