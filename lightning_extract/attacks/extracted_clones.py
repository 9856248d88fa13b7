"""Clones of a finished run as the start of another."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_extract.errors import InputError
from lightning_extract.networks import CloneEnsemble

_PREFIX = "clones.members."


def load_extracted_clones(
    runs: Sequence[str], clones: CloneEnsemble, own: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Puts the clones of run folders, in their order, in place of the first members of an ensemble.

    Args:
        runs: Run folders; surplus clones of the last are left out, members beyond theirs keep their weights.
        clones: The ensemble to start.
        own: This run's ``input_space`` and its ``victim``'s hash of weights, which the others must share.

    Returns:
        Each run with the queries that its clones have cost, its own start included: ``{"run": ..., "queries": ...}``.

    Raises:
        InputError: A folder holds no checkpoint of an attack, or other networks, or gives no clone.
    """
    weights: list[dict[str, Tensor]] = []
    origins = []
    for run in runs:
        if len(weights) >= len(clones) or list(runs).count(run) > 1:
            raise InputError(
                f"clone_training.start_from {list(runs)}: {run} gives no clone of its own to the {len(clones)} here; "
                "leave it out or raise clone_training.count"
            )
        checkpoint = _read_checkpoint(run)
        if own is not None:
            _refuse_other_experiment(run, own)
        attack = checkpoint["attack"]
        before = sum(origin["queries"] for origin in attack["start_from"])
        origins.append({"run": run, "queries": sum(attack["ledger"]["by_phase"].values()) + before})
        weights += _members(checkpoint["state_dict"])
    for member, state in zip(clones.members, weights, strict=False):
        here = {name: value.shape for name, value in member.state_dict().items()}
        there = {name: value.shape for name, value in state.items()}
        if here != there:
            differing = sorted(name for name in here | there if here.get(name) != there.get(name))
            raise InputError(
                f"clone_training.start_from {list(runs)} holds other networks than this config: {len(differing)} "
                f"tensors differ, the first is {differing[0]}; set clone_training.network to that of the run"
            )
        member.load_state_dict(state)
    return origins


def _read_checkpoint(run: str) -> dict[str, Any]:
    path = Path(run) / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise InputError(f"clone_training.start_from: {path} does not exist; give the folder of a run that was trained")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(f"clone_training.start_from: {path} cannot be read ({type(error).__name__})") from error
    attack = checkpoint.get("attack") if isinstance(checkpoint, dict) else None
    if not isinstance(attack, dict) or not {"ledger", "classes", "start_from"} <= attack.keys():
        raise InputError(
            f"clone_training.start_from: {path} is no checkpoint of an extraction attack; give another run"
        )
    if checkpoint["attack"]["classes"]:
        raise InputError(
            f"clone_training.start_from: the clones of {run} number the victim's classes in the order in which they "
            "discovered them; give a run with a known num_classes"
        )
    return checkpoint


def _refuse_other_experiment(run: str, own: Mapping[str, str]) -> None:
    try:
        summary = json.loads((Path(run) / "summary.json").read_text())
        found = {"input_space": summary["input_space"], "victim": summary["victim"]["weights_sha256"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"clone_training.start_from: {run} holds no readable summary.json; give another run"
        ) from error
    for name, value in own.items():
        if found[name] != value:
            raise InputError(
                f"clone_training.start_from: {run} extracted with {name} {found[name]}, here it is {value}; "
                "give a run of the same"
            )


def _members(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each member, from a checkpoint's state dict."""
    members: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(_PREFIX):
            position, rest = name.removeprefix(_PREFIX).split(".", 1)
            members.setdefault(int(position), {})[rest] = value
    return [members[position] for position in sorted(members)]
