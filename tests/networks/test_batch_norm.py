from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_extract.networks import AllReduceBatchNorm, build_classifier, synchronise_batch_norm
from tests.two_processes import rank_file, run_on_two_processes

SHARES = {"equal": [3, 3], "unequal": [2, 4]}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.BatchNorm2d(3, affine=False, momentum=None),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.BatchNorm1d(4, eps=1e-3, momentum=0.01),
        nn.BatchNorm1d(4, track_running_stats=False),
    ).double()


def global_batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    # A mean far from zero shows a variance that cancels.
    return [torch.randn(6, 2, 4, 4, generator=generator, dtype=torch.float64) + 100 for _ in range(2)]


def run(module: nn.Module, batches: list[Tensor], weights: list[Tensor]) -> dict[str, Tensor]:
    """Two forward and backward passes of a loss that is a sum over samples, then an eval forward pass."""
    results: dict[str, Tensor] = {}
    for i, (batch, weight) in enumerate(zip(batches, weights, strict=True)):
        images = batch.clone().requires_grad_()
        output = module(images)
        (weight * output.square()).sum().backward()
        assert images.grad is not None
        results |= {f"output{i}": output.detach(), f"input_gradient{i}": images.grad}
    results |= {f"gradient.{n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    results |= dict(module.named_buffers())
    module[:-1].eval()  # type: ignore[index]
    results["eval"] = module[:-1](batches[0]).detach()  # type: ignore[index]
    return results


def loss_weights() -> list[Tensor]:
    return [
        torch.linspace(0.5, 2, 24, dtype=torch.float64).view(6, 4),
        torch.linspace(-1, 3, 24).double().view(6, 4),
    ]


def write_results(rank: int, folder: Path) -> None:
    for name, shares in SHARES.items():
        batches = [torch.split(b, shares)[rank] for b in global_batches()]
        weights = [torch.split(w, shares)[rank] for w in loss_weights()]
        module = synchronise_batch_norm(network(), "cpu")
        (folder / name).mkdir(exist_ok=True)
        torch.save(run(module, batches, weights), rank_file(folder / name, rank))


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch_norm")
    run_on_two_processes(write_results, folder)
    return folder


@pytest.mark.parametrize("shares", SHARES)
def test_two_processes_equal_one_on_the_whole_batch(results_folder: Path, shares: str) -> None:
    expected = run(network(), global_batches(), loss_weights())
    ranks = [torch.load(rank_file(results_folder / shares, rank), weights_only=True) for rank in (0, 1)]
    assert ranks[0].keys() == ranks[1].keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith(("output", "input_gradient", "eval")):
            found = torch.cat([rank[name] for rank in ranks])
        elif name.startswith("gradient."):
            found = ranks[0][name] + ranks[1][name]
        else:
            assert torch.equal(ranks[0][name], ranks[1][name]), name
            found = ranks[0][name]
        assert_close(found, value, rtol=1e-10, atol=1e-10, msg=name)


def test_one_process_is_batch_norm() -> None:
    expected = run(network(), global_batches(), loss_weights())
    found = run(synchronise_batch_norm(network(), "cpu"), global_batches(), loss_weights())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_conversion_keeps_parameters_buffers_and_settings() -> None:
    module = build_classifier("cnn_2_2", num_classes=10)
    module.eval()
    before = dict(module.named_parameters()) | dict(module.named_buffers())
    names = list(module.state_dict())
    assert synchronise_batch_norm(module, "cpu") is module
    after = dict(module.named_parameters()) | dict(module.named_buffers())
    assert list(module.state_dict()) == names
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    layers = [m for m in module.modules() if isinstance(m, AllReduceBatchNorm)]
    assert len(layers) == 4
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert all((m.momentum, m.eps, m.training) == (0.01, 1e-3, False) for m in layers)


def test_conversion_of_a_lone_layer_and_twice() -> None:
    layer = synchronise_batch_norm(nn.BatchNorm1d(3, affine=False, track_running_stats=False), "cpu")
    assert isinstance(layer, AllReduceBatchNorm)
    assert layer.weight is None
    assert layer.running_mean is None
    assert synchronise_batch_norm(layer, "cpu") is layer


def test_cuda_takes_the_library_form() -> None:
    module = synchronise_batch_norm(network(), "cuda")
    kinds = [type(m) for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert kinds == [nn.SyncBatchNorm] * 4
