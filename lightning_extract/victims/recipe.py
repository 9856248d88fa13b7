"""Optimizer and schedule in words and numbers, for a victim's card."""

from typing import Any

from torch.optim import Optimizer


def describe_recipe(optimizer: Any, scheduler: Any) -> dict[str, Any]:
    """Class names and settings of an optimizer and a learning-rate schedule.

    Raises:
        TypeError: There is not exactly one optimizer.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"expected one optimizer, got {optimizer!r}")
    return {
        "optimizer": {"class": type(optimizer).__name__, **_settings(optimizer.defaults)},
        "lr_scheduler": {"class": type(scheduler).__name__, **_settings(scheduler.state_dict())},
    }


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    """What was set: plain numbers and lists of them, no counters, and neither off nor none."""
    return {
        name: value
        for name, value in values.items()
        if not name.startswith("_")
        and name not in ("last_epoch", "base_lrs", "verbose")
        and value is not None
        and value is not False
        and isinstance(value, bool | int | float | str)
    }
