"""The run folder's record of how well evasion attacks carry over to the victim."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_extract.durable_file import write_durably
from lightning_extract.errors import InputError

FORMAT_VERSION = 1
# Measured again, on other images or with another seed, an attack's entry is replaced.
DECIDED_BY = ("name", "norm", "epsilon", "targeted", "steps", "step_size", "restarts")


class TransferFile:
    """``transfer.json``: victim and clone by the hash of their weights, and one entry per evasion attack.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "transfer.json"

    def read(self) -> dict[str, Any] | None:
        """What the file holds; None where there is none.

        Raises:
            InputError: It is broken or of another format.
        """
        if not self.path.is_file():
            return None
        try:
            record = json.loads(self.path.read_text())
        except (OSError, ValueError):
            record = None
        if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
            raise InputError(f"{self.path} is no record of format {FORMAT_VERSION}; move it away and run test again")
        return record

    def add(self, victim: dict[str, Any], clone: dict[str, Any], evasions: list[dict[str, Any]]) -> None:
        """Adds entries; those about another victim or clone are dropped, since one table compares one pair.

        Args:
            victim: What is known of it, with ``weights_sha256``.
            clone: The same.
            evasions: Settings and numbers of each attack.
        """
        before = self.read()
        entries: dict[tuple[Any, ...], dict[str, Any]] = {}
        if before is not None and _hashes(before) == (victim["weights_sha256"], clone["weights_sha256"]):
            entries = {_key(entry): entry for entry in before["evasions"]}
        elif before is not None:
            rank_zero_warn(f"what {self.path} held about another clone or victim is dropped")
        entries |= {_key(entry): entry for entry in evasions}
        record = {"format_version": FORMAT_VERSION, "victim": victim, "clone": clone, "evasions": [*entries.values()]}
        write_durably(self.path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


def _hashes(record: dict[str, Any]) -> tuple[str, str]:
    return record["victim"]["weights_sha256"], record["clone"]["weights_sha256"]


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in DECIDED_BY)
