"""The networks as they were at the end of a stage, for other runs to start from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lightning_extract.attacks.stages import EarlierStages
from lightning_extract.durable_file import write_durably
from lightning_extract.errors import InputError


def snapshot_path(run: str | Path, stage: str) -> Path:
    """Where a run folder keeps the end of a stage."""
    return Path(run) / "stages" / f"{stage}.safetensors"


def save_snapshot(run: str | Path, stage: str, networks: dict[str, nn.Module], facts: dict[str, Any]) -> None:
    """Writes the weights of networks, and what a later run must know of them; whole or not at all."""
    tensors = {
        f"{network}.{name}": value.detach().cpu().contiguous()
        for network, module in networks.items()
        for name, value in module.state_dict().items()
    }
    write_durably(snapshot_path(run, stage), save(tensors, metadata={"facts": json.dumps(facts)}))


def describe_missing_snapshot(earlier: EarlierStages) -> list[str]:
    """A sentence on the file that earlier stages need; nothing when it is there or none is needed."""
    path = snapshot_path(earlier.run, earlier.through)
    if not earlier.run or path.is_file():
        return []
    return [
        f"stages.earlier.run: {path} does not exist; give the folder of a run that has finished stage "
        f"{earlier.through}, or another stages.earlier.through"
    ]


def read_snapshot(
    earlier: EarlierStages, own: dict[str, str] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of another run's stage by their names, and what that run wrote of itself.

    Args:
        earlier: Which run and stage.
        own: This run's ``input_space`` and its ``victim``'s hash of weights, which the other must share; looked at
            when given.

    Raises:
        InputError: The file is missing, damaged, or of another experiment.
    """
    for missing in describe_missing_snapshot(earlier):
        raise InputError(missing)
    path = snapshot_path(earlier.run, earlier.through)
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"stages.earlier.run: {path} cannot be read ({type(error).__name__}); give another run"
        ) from error
    refuse_other_experiment(earlier, facts, own or {})
    return tensors, facts


def refuse_other_experiment(earlier: EarlierStages, facts: dict[str, Any], own: Mapping[str, str]) -> None:
    """Compares what another run wrote of itself with this run.

    Raises:
        InputError: They differ.
    """
    for name, value in own.items():
        if facts.get(name) != value:
            raise InputError(
                f"stages.earlier.run: {earlier.run} extracted with {name} {facts.get(name)}, here it is {value}; "
                "give a run of the same"
            )


def fill_networks(networks: dict[str, nn.Module], tensors: dict[str, Tensor]) -> None:
    """Puts weights that :func:`read_snapshot` gave into networks, by the networks' names.

    Raises:
        InputError: They are weights of other networks.
    """
    own = {
        f"{network}.{name}": value
        for network, module in networks.items()
        for name, value in module.state_dict().items()
    }
    differing = sorted(name for name in own | tensors if _shape(own.get(name)) != _shape(tensors.get(name)))
    if differing:
        raise InputError(
            f"stages.earlier.run holds other networks than this config: {len(differing)} tensors differ, the first is "
            f"{differing[0]}; set clone_training, latent_dim and width as in that run"
        )
    for network, module in networks.items():
        prefix = f"{network}."
        module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape
