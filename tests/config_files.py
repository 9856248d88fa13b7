"""The config files: what they say, what the real parser makes of it, and how tests go through them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.command_line import CONFIGS, real_parser
from tests.miniature import CONF

OVERLAYS = [CONFIGS / "wandb.yaml"]  # they lie over a complete config
ALL = sorted({*CONFIGS.glob("*.yaml"), *CONF.glob("*.yaml")}.difference(OVERLAYS))
ATTACKS = [path for path in ALL if "threat_model:" in path.read_text()]
# The papers' experiments in full size; the others are this project's own, for one core.
PAPER = [path for path in ATTACKS if "# Reproduces:\n" in path.read_text()]

each = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
each_shown = pytest.mark.parametrize("path", [p for p in ALL if p.parent == CONFIGS], ids=lambda path: path.stem)
each_attack = pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
each_of_paper = pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)


the_parser = cache(real_parser)


@cache
def parse_config(path: Path) -> Any:
    """What ``fit --config`` of the file gets."""
    return the_parser().parse_args(["fit", "--config", str(path)])


@cache
def parse(path: Path) -> Any:
    """What it would run, in plain types."""
    return parse_config(path).fit.as_dict()


@cache
def make_parts(path: Path) -> Any:
    """Model and data of the file, the networks without memory."""
    config = parse_config(path).clone()
    config.fit.trainer = None
    with torch.device("meta"):
        return the_parser().instantiate(config).fit


@cache
def read(path: Path) -> Any:
    """What the file says."""
    return yaml.safe_load(path.read_text())


def settings(path: Path) -> Any:
    """What the file says of the attack or the victim's training."""
    return read(path)["model"]["init_args"]


def attack_of(path: Path) -> str:
    """Name of the attack's class."""
    return str(read(path)["model"]["class_path"])


def medium_of(path: Path) -> str:
    """What a query of an attack's config is: images or text."""
    return str(settings(path)["threat_model"].get("medium", "images"))


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings of a tree, by their dotted keys."""
    if isinstance(tree, dict) and tree:
        for key, branch in tree.items():
            yield from leaves(branch, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, tree


def keys(tree: Any) -> set[str]:
    """Their keys alone."""
    return {key for key, _ in leaves(tree)}


def header(path: Path) -> str:
    """The comment above the settings, without its marks."""
    lines = path.read_text().splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines[: lines.index("seed_everything: 0")])
