"""The attacks in miniature, run through the real command line inside the test's process."""

import inspect
import re
from pathlib import Path

import lightning_extract.attacks as attacks
from lightning_extract.attacks import ExtractionAttack
from lightning_extract.commands import run_cli
from lightning_extract.extract_cli import ExtractCLI

CONF = Path(__file__).parent / "conf"

ATTACKS: list[type[ExtractionAttack]] = [
    attack for name in attacks.__all__ if not inspect.isabstract(attack := getattr(attacks, name))
]


def config_of(attack: type[ExtractionAttack]) -> Path:
    """The miniature config of an attack: tests/conf/<name in snake case>.yaml."""
    special = {"DisGUIDE": "disguide", "DFME": "dfme", "DFMS": "dfms", "MAZE": "maze"}
    name = special.get(attack.__name__) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", attack.__name__).lower()
    return CONF / f"{name}.yaml"


def fit(config: Path, run_dir: str = "run", *arguments: str) -> ExtractCLI:
    """Runs ``lightning-extract fit`` and returns the CLI with its model and trainer."""
    return run_cli(["fit", "--config", str(config), "--run_dir", run_dir, *arguments])
