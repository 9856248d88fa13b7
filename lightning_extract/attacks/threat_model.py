"""What the attacker may do and knows."""

from dataclasses import dataclass
from typing import Literal

from lightning_extract.errors import InputError
from lightning_extract.oracle import Access, InputSpace, QueryLedger, VictimOracle, victim_queries
from lightning_extract.victims.card import Card, Medium
from lightning_extract.victims.loading import load_victim


@dataclass(frozen=True)
class ThreatModel:
    """The attacker's side of the experiment.

    Args:
        victim: A shipped victim's name or a folder with ``victim.safetensors`` and ``card.json``.
        query_budget: Samples that the victim may answer, a positive whole number.
        num_classes: Number of classes the victim distinguishes, known to the attacker; unknown when it is not, and the
            attacker discovers classes in the labels of hard access.
        channels: Channels of an image, 1 or 3.
        image_size: Height and width of an image in pixels.
        access: The victim answers with a probability vector (soft) or the top-1 label (hard).
        remainder: What a budget that does not divide into whole iterations does with the rest: leave it (stop, the
            official codes' rule) or spend it in a last smaller iteration (fill).
        medium: What a query is: an image, or a raw sentence (text), which has neither channels nor a size.
        input_space: pre_transform: queries are raw images and the victim normalises them, which the attacker need
            not know; post_transform: generated samples go into the victim as already normalised data.

    Raises:
        InputError: The budget or the number of classes is out of its range, or soft access comes without a number of
            classes: a probability vector tells it.
    """

    victim: str
    query_budget: int
    num_classes: int | Literal["unknown"]
    channels: int = 3
    image_size: int = 32
    access: Access = "soft"
    remainder: Literal["stop", "fill"] = "stop"
    input_space: InputSpace = "pre_transform"
    medium: Medium = "images"

    def __post_init__(self) -> None:
        if self.query_budget < 1:
            raise InputError(f"query_budget is {self.query_budget:,}; give a positive number of queries")
        if self.num_classes == "unknown" and self.access == "soft":
            raise InputError("num_classes is unknown, but soft access shows it; give the number, or set access to hard")
        if isinstance(self.num_classes, int) and self.num_classes < 2:
            raise InputError(f"num_classes is {self.num_classes}; a classifier has at least 2")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a query."""
        return self.channels, self.image_size, self.image_size

    def affordable(self, count: int, queries_each: int, left: int, world_size: int) -> int:
        """Samples of a batch that can be bought, equally many for each process; see ``remainder``.

        Args:
            count: Samples in the batch, over all processes.
            queries_each: Queries that a sample costs.
            left: Queries left in the budget.
            world_size: Number of processes.
        """
        if self.remainder == "stop" or queries_each == 0:
            return count
        most = left // queries_each
        return min(count, most - most % world_size)

    def open_victim(self, ledger: QueryLedger, world_size: int) -> tuple[VictimOracle, Card]:
        """The victim behind its oracle, and its card.

        Raises:
            InputError: It is missing, damaged, or not what the attacker assumes.
        """
        network, card = load_victim(self.victim)
        self.check_victim(card)
        queries = victim_queries(self.victim, card, self.input_space)
        return VictimOracle(network, card.num_classes, queries, self.access, ledger, world_size), card

    def check_victim(self, card: Card) -> None:
        """Compares what the attacker assumes with the victim's card.

        Raises:
            InputError: They differ.
        """
        if card.medium != self.medium:
            raise InputError(
                f"medium is {self.medium}, but the victim {self.victim!r} answers {card.medium}; set medium to "
                f"{card.medium}, and data to the same"
            )
        for name in ("num_classes", "channels", "image_size") if self.medium == "images" else ("num_classes",):
            assumed, true = getattr(self, name), getattr(card, name)
            if assumed not in ("unknown", true):
                raise InputError(
                    f"{name} is {assumed}, but the victim {self.victim!r} has {true}; set {name} to {true}"
                )
