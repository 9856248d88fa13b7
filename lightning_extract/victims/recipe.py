"""Optimizer and schedule in words and numbers, for a victim's card."""

from collections import Counter
from typing import Any

from torch.optim import Optimizer


def describe_recipe(optimizer: Any, scheduler: Any) -> dict[str, Any]:
    """Class names and settings of an optimizer and a learning-rate schedule, which may be None.

    A setting that the schedule keeps for itself, as OneCycleLR its pct_start, is not seen.

    Raises:
        TypeError: There is not exactly one optimizer.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"expected one optimizer, got {optimizer!r}")
    # A schedule leaves its bounds in the group, as OneCycleLR its max_lr.
    group = optimizer.param_groups[0]
    added = {name: group[name] for name in sorted(group.keys() - optimizer.defaults.keys() - {"params", "initial_lr"})}
    recipe: dict[str, Any] = {"optimizer": {"class": type(optimizer).__name__, **_settings(optimizer.defaults)}}
    if scheduler is None:
        return recipe | {"lr_scheduler": None}
    schedule = {"class": type(scheduler).__name__, **_settings(scheduler.state_dict()), **_settings(added)}
    return recipe | {"lr_scheduler": schedule}


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    """What was set, as JSON has it: no counters, and neither off nor none."""
    # MultiStepLR keeps its milestones as a Counter.
    plain = {name: sorted(v.elements()) if isinstance(v, Counter) else v for name, v in values.items()}
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}
    return {
        name: value
        for name, value in plain.items()
        if not name.startswith("_")
        and name not in ("last_epoch", "base_lrs", "verbose")
        and value is not None
        and value is not False
        and isinstance(value, bool | int | float | str | list)
    }
