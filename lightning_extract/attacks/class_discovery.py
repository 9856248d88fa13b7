"""What the attacker knows of the victim's classes: all of them, or those found in the victim's labels so far."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_extract.errors import InputError
from lightning_extract.networks.head import classification_head


class KnownClasses:
    """The usual case: output k of a clone stands for the victim's class k, for all of them."""

    unknown = False
    found: int | None = None
    history: list[tuple[int, int]] | None = None

    def observe(self, answers: Tensor, queries: int) -> range:
        """Looks through the labels of a global batch; returns the outputs that new classes take."""
        return range(0)

    def state_dict(self) -> dict[str, Any]:
        """What was found so far, in plain types."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores it."""

    def visible(self, logits: Tensor) -> Tensor:
        """The outputs of clones that stand for known classes: ``(..., K)`` to ``(..., known)``."""
        return logits

    def outputs_of(self, answers: Tensor) -> Tensor:
        """The clones' outputs for the victim's labels: ``(B,)`` to ``(B,)``."""
        return answers

    def to_victim_classes(self, probabilities: Tensor, num_classes: int) -> Tensor:
        """Probabilities ``(B, known)`` in the victim's order ``(B, num_classes)``; classes not found get zero."""
        return probabilities


class ClassDiscovery(KnownClasses):
    """Which of the victim's labels the attacker has seen, and which output of the clones stands for each.

    The clones' heads have room for ``capacity`` classes, of which only the outputs of found classes take part in
    losses and answers. A head that grows row by row computes the same, but would be another parameter after each
    discovery, which neither processes nor compiled networks can follow.

    Reference:
        Beetham et al., Dual Students, ICLR 2023, names the setting; how its students grow is not published.

    Args:
        capacity: Most classes that can be found.

    Attributes:
        labels: The victim's labels in the order of their discovery; the position is the clones' output.
        history: Queries spent up to the end of the batch and classes found, each time there were new ones.
    """

    unknown = True

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.labels: list[int] = []
        self.history: list[tuple[int, int]] = []
        self._known: Tensor | None = None

    @property
    def found(self) -> int:  # type: ignore[override]
        """Number of classes found so far."""
        return len(self.labels)

    def observe(self, answers: Tensor, queries: int) -> range:
        """Looks through the labels of a global batch; returns the outputs that new classes take.

        Args:
            answers: The victim's labels ``(B,)``, of all processes.
            queries: What was spent up to this batch.

        Raises:
            InputError: There are more classes than the clones have room for.
        """
        first = len(self.labels)
        self.labels += sorted(set(answers.tolist()) - set(self.labels))
        if len(self.labels) > self.capacity:
            raise InputError(
                f"the victim answered with {len(self.labels)} classes by query {queries:,}, but the clones have room "
                f"for clone_training.class_capacity {self.capacity}; raise it and start in a new run folder"
            )
        if len(self.labels) > first:
            self._known = None
            self.history.append((queries, len(self.labels)))
        return range(first, len(self.labels))

    def visible(self, logits: Tensor) -> Tensor:
        return logits[..., : self.found]

    def outputs_of(self, answers: Tensor) -> Tensor:
        if self._known is None or self._known.device != answers.device:  # kept there, as a copy would stall it
            self._known = torch.tensor(self.labels, device=answers.device)
        return (answers[:, None] == self._known).int().argmax(dim=1)

    def to_victim_classes(self, probabilities: Tensor, num_classes: int) -> Tensor:
        labels = self.labels[: probabilities.shape[1]]  # older clones know fewer
        known = torch.tensor(labels, device=probabilities.device, dtype=torch.int64)
        return probabilities.new_zeros(len(probabilities), num_classes).index_copy(1, known, probabilities)

    def state_dict(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.labels, self.history, self._known = list(state["labels"]), list(state["history"]), None


@torch.no_grad()
def initialise_outputs(network: nn.Module, outputs: range, seed: int, optimizer: Optimizer) -> None:
    """Gives outputs of a classifier's head fresh weights and forgets their momentum; the others keep both.

    Args:
        network: A clone.
        outputs: Rows of its last linear layer.
        seed: Of the fresh weights, torch's default distribution for a linear layer.
        optimizer: The one that trains the network.
    """
    head = classification_head(network)
    rows = torch.tensor(list(outputs), device=head.weight.device)
    generator, bound = torch.Generator().manual_seed(seed), head.in_features**-0.5
    for parameter in head.parameters():
        fresh = torch.empty(len(rows), *parameter.shape[1:]).uniform_(-bound, bound, generator=generator)
        parameter[rows] = fresh.to(parameter)
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value[rows] = 0


@torch.no_grad()
def copy_outputs(source: nn.Module, target: nn.Module, outputs: range) -> None:
    """Gives outputs of a classifier's head the weights that they have in another one of the same network."""
    rows = torch.tensor(list(outputs), dtype=torch.int64)
    heads = classification_head(source), classification_head(target)
    for value, copy in zip(*(head.parameters() for head in heads), strict=True):
        copy[rows.to(copy.device)] = value[rows.to(value.device)]
