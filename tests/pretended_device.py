"""An accelerator that a CPU pretends to be: what would wait for it is noted, and what mixes devices fails."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, ValuesView
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

import lightning_extract

PACKAGE = Path(lightning_extract.__file__).parent
DEVICE, CPU = torch.device("cuda", 0), torch.device("cpu")
Function = Callable[..., Any]

# Each hands a value, or a shape that hangs on values, to the host.
WAITING = {
    "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__", "equal",
    "allclose", "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount", "histc",
    "repeat_interleave",
}  # fmt: skip
# What may take tensors of both devices.
CROSSING = {"to", "copy_", "type_as", "__getitem__", "__setitem__", "__get__", "__set__", "index_put_"}


class OnDevice(Tensor):
    """A tensor of the CPU that says it lies on the accelerator, as do all results of operations with it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.detach().clone().requires_grad_(self.requires_grad)


class PretendedDevice(TorchFunctionMode):
    """Watches every call of torch's functions.

    Attributes:
        watching: Whether waits are noted.
        waits: How often each place waited: the innermost function of the package, or torch's outside of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watching = False
        self.waits: Counter[str] = Counter()

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return DEVICE if isinstance(args[0], OnDevice) else CPU
        name = getattr(func, "__name__", str(func))
        tensors = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        if func == Tensor.is_cuda.__get__:
            return bool(ours)
        if func is torch._has_compatible_shallow_copy_type:
            return False  # parameters become new ones on another device
        if name == "_parse_to":  # reads the arguments of Module.to, whose tensors come one by one
            return func(*args, **kwargs)
        if ours and name not in CROSSING:
            self._refuse_mixture(name, tensors)
        if self._waits(name, args, kwargs, ours):
            self._note(name)
        wanted = [_device_of(leaf) for leaf in _leaves((args[1:] if name == "to" else (), kwargs)) if _is_device(leaf)]
        if wanted:
            args, kwargs = tree_map(lambda leaf: CPU if _is_device(leaf) else leaf, (args, kwargs))
        result = func(*args, **kwargs)
        if name in ("cpu", "numpy") or (wanted and wanted[0] == CPU):
            return tree_map(_to_host, result)
        return tree_map(_to_device, result) if wanted or (ours and func == Tensor.grad.__get__) else result

    def _waits(self, name: str, args: Any, kwargs: Any, ours: list[OnDevice]) -> bool:
        blocking = not kwargs.get("non_blocking", False)
        targets = [_device_of(leaf) for leaf in _leaves((args[1:], kwargs)) if _is_device(leaf)]
        if name in ("to", "copy_"):
            places = [_device_of(arg) for arg in args if isinstance(arg, Tensor)]
            source, target = (places[1], places[0]) if name == "copy_" else (places[0], [*targets, places[-1]][0])
            return source != target and (blocking or target == CPU)
        if name in ("tensor", "as_tensor"):
            return DEVICE in targets and not isinstance(args[0], OnDevice)
        if name in ("__getitem__", "__setitem__") and isinstance(args[0], OnDevice):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            masks = [part for part in parts if isinstance(part, Tensor) and part.dtype == torch.bool]
            return bool(masks) or any(isinstance(part, list) or _device_of(part) == CPU for part in parts)
        return name in WAITING and bool(ours)

    def _refuse_mixture(self, name: str, tensors: list[Tensor]) -> None:
        # A number that is a tensor of the CPU may take part.
        strangers = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.ndim]
        if strangers:
            shapes = [tuple(tensor.shape) for tensor in strangers]
            raise RuntimeError(f"{name} takes tensors of the accelerator and of the CPU, the latter of shapes {shapes}")

    def _note(self, name: str) -> None:
        if self.watching:
            frame: FrameType | None = sys._getframe(1)
            while frame and not frame.f_code.co_filename.startswith(str(PACKAGE)):
                frame = frame.f_back
            code = frame and frame.f_code
            self.waits[f"{Path(code.co_filename).relative_to(PACKAGE)} {code.co_name}" if code else name] += 1


class _Generator(torch.Generator):
    """Of the CPU, whatever device is asked for."""

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        return super().__new__(cls, "cpu")


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = tree.values()
    if not isinstance(tree, list | tuple | ValuesView):
        yield tree
    else:
        for part in tree:
            yield from _leaves(part)


def _device_of(leaf: Any) -> torch.device | None:
    """Where a tensor lies, or which device a name means; none for other values."""
    if isinstance(leaf, Tensor):
        return DEVICE if isinstance(leaf, OnDevice) else CPU
    return (CPU if torch.device(leaf).type == "cpu" else DEVICE) if _is_device(leaf) else None


def _is_device(leaf: Any) -> bool:
    return isinstance(leaf, torch.device) or (isinstance(leaf, str) and leaf.split(":")[0] in ("cuda", "cpu"))


def _to_device(leaf: Any) -> Any:
    return leaf.as_subclass(OnDevice) if isinstance(leaf, Tensor) else leaf


def _to_host(leaf: Any) -> Any:
    return leaf.as_subclass(Tensor) if isinstance(leaf, Tensor) else leaf


@contextmanager
def pretended_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    """Lets a trainer on the CPU believe that it trains on an accelerator; watches iterations, with their callbacks."""
    device = PretendedDevice()
    advance = _TrainingEpochLoop.advance

    def watched_advance(loop: _TrainingEpochLoop, data_fetcher: Any) -> None:
        device.watching = True
        try:
            advance(loop, data_fetcher)
        finally:
            device.watching = False

    monkeypatch.setattr(_TrainingEpochLoop, "advance", watched_advance)
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", property(lambda strategy: DEVICE, lambda *_: None))
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda *_: None)
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (2**34, 2**34))
    with device:
        yield device
