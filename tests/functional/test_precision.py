from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lightning_extract.functional.precision import full_float32

BACKENDS: dict[str, Any] = {
    "matrix products on GPUs": torch.backends.cuda.matmul,
    "convolutions on GPUs": torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    "matrix products on CPUs": torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    "convolutions on CPUs": torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
}


def precisions() -> dict[str, str]:
    return {name: backend.fp32_precision for name, backend in BACKENDS.items()}


def choose(precision: str) -> None:
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(autouse=True)
def _precisions_as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    choose(before)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_every_backend_computes_in_float32_and_is_put_back(precision: str) -> None:
    choose(precision)
    before = precisions()
    assert before["convolutions on GPUs"] == "tf32", "what cuDNN does unless told not to"
    assert ("tf32" in (before["matrix products on GPUs"], before["matrix products on CPUs"])) is (
        precision != "highest"
    )
    with full_float32("cpu"):
        assert set(precisions().values()) == {"ieee"}
    assert precisions() == before
    assert torch.get_float32_matmul_precision() == precision


def test_an_error_inside_puts_all_back() -> None:
    choose("medium")
    before = precisions()
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ZeroDivisionError), full_float32("cpu"):
            1 / 0  # noqa: B018
        assert torch.is_autocast_enabled("cpu")
    assert precisions() == before


def test_it_can_be_nested() -> None:
    choose("high")
    before = precisions()
    with full_float32("cpu"):
        with full_float32("cpu"):
            pass
        assert set(precisions().values()) == {"ieee"}
    assert precisions() == before


def test_autocast_is_off_inside() -> None:
    factor = torch.randn(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert (factor @ factor).dtype == torch.bfloat16
        with full_float32("cpu"):
            assert (factor @ factor).dtype == torch.float32
        assert (factor @ factor).dtype == torch.bfloat16


def test_a_small_step_survives() -> None:
    generator = torch.Generator().manual_seed(0)
    point, weight = torch.randn(1, 3072, generator=generator), torch.randn(3072, 10, generator=generator) / 55
    step = torch.randn(1, 3072, generator=generator)
    step *= 1e-3 / step.norm()
    expected = ((point + step).double() - point.double()) @ weight.double()

    def error() -> float:
        found = ((point + step) @ weight).double() - (point @ weight).double()
        return ((found - expected).norm() / expected.norm()).item()

    with torch.autocast("cpu", torch.bfloat16):
        assert error() > 0.5, "mixed precision must lose it, or the test shows nothing"
        with full_float32("cpu"):
            assert error() < 0.2
