"""The black box: everything an attack may know of the victim passes through this door."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError
from lightning_extract.functional.distributed import all_reduce_sum
from lightning_extract.functional.precision import full_float32
from lightning_extract.oracle.answer_store import AnswerStore, digests_of
from lightning_extract.oracle.image_queries import HIGHEST_PIXEL, LOWEST_PIXEL
from lightning_extract.oracle.ledger import QueryLedger
from lightning_extract.oracle.queries import Queries, Samples

Access = Literal["soft", "hard"]


class VictimOracle:
    """Answers queries with the victim's probabilities or labels, charges them and checks both sides.

    It is deliberately no ``nn.Module``: no optimizer, checkpoint, ``.train()``, autocast or process group can
    reach the victim through it.

    Args:
        network: The victim; kept in eval mode, in float32, without gradients.
        num_classes: Number of classes it answers with.
        queries: What a query is: images or sentences, and how the network reads them.
        access: ``soft`` answers with probabilities, ``hard`` with the top-1 label.
        ledger: The account that pays.
        world_size: Number of processes that query in lockstep; each charges for all.
        chunk_size: Largest number of samples in one forward pass of the victim.

    Attributes:
        answered: Samples of the global batch that the victim truly answered for queries; with a store over the whole
            life of a run, also what was bought after the checkpoint that it goes on from.
        from_store: Samples of the global batch that were charged and answered by the store, in this process's life.
        referenced: Samples of this process's share answered for evaluation and diagnostics, never charged.
        label_counts: How often the victim's top-1 label in charged answers of this process was each class, int64
            ``(K,)`` on the victim's device.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        queries: Queries[Any],
        access: Access,
        ledger: QueryLedger,
        world_size: int = 1,
        chunk_size: int = 1024,
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self.num_classes = num_classes
        self.queries = queries
        self.access = access
        self.ledger = ledger
        self.world_size = world_size
        self.chunk_size = chunk_size
        self.answered = 0
        self.from_store = 0
        self.referenced = 0
        self.label_counts = torch.zeros(num_classes, dtype=torch.int64)
        self._free = False
        self._store: AnswerStore | None = None
        self._checked_phases: set[str] = set()
        self._pending_checks: dict[str, Tensor] = {}

    def to(self, device: torch.device) -> "VictimOracle":
        """Moves the victim and what it reads queries with to a device."""
        self._network.to(device)
        self.queries.to(device)
        self.label_counts = self.label_counts.to(device)
        return self

    def keep_answers(self, store: AnswerStore) -> None:
        """From here on each sample is asked once: its answer is stored, and comes from there when it is bought again.

        The account charges both. Of a batch that is stored in part only the rest passes the victim, whose answers may
        then differ from those of the whole batch in the last digits of float32. Processes do not see what the others
        buy, until a run goes on.
        """
        self._store = store
        self.answered = max(self.answered, store.asked)

    def query(self, samples: Samples, phase: str, total: int | None = None) -> Tensor:
        """Buys the victim's answers; charged before they are computed.

        On an accelerator the pixels and answers of a phase are checked at once for its first batch only; later
        ones are checked by ``verify_pending``.

        Args:
            samples: This process's share of the batch: pixels in [-1, 1], or raw sentences.
            phase: Where the account books them.
            total: Samples of all processes; as many from each when not given.

        Shape:
            ``(B, C, H, W)`` or B sentences to ``(B, K)`` float32 probabilities, or ``(B,)`` int64 labels for hard
            access.

        Raises:
            InputError: Wrong shape, type or pixel range (nothing is charged), or an answer that is not finite.
            QueryBudgetExceeded: The budget does not pay for them; nothing is charged.
        """
        self.queries.check(samples)
        first = phase not in self._checked_phases
        in_range = self.queries.in_range(samples)
        if in_range is not None and isinstance(samples, Tensor):
            self._verify("pixels", in_range, samples, phase, at_once=first)
        total = len(samples) * self.world_size if total is None else total
        if self._free:
            self.referenced += len(samples)
        else:
            self.ledger.charge(total, phase)
        asked = total
        if self._store is None or self._free:
            answers, labels = self._ask(samples, phase, at_once=first)
        else:
            answers, asked = self._complete(self._store, samples, phase)
            labels = answers if self.access == "hard" else answers.argmax(dim=1)
        self._checked_phases.add(phase)
        if not self._free:
            self.answered += asked
            self.from_store += total - asked
            # Unlike a bincount it does not wait for an accelerator.
            self.label_counts.scatter_add_(0, labels, torch.ones_like(labels))
        return answers

    def _ask(self, samples: Samples, phase: str, at_once: bool) -> tuple[Tensor, Tensor]:
        """The victim's answers as the attacker sees them, and its labels."""
        logits = self._forward(samples)
        self._verify("answers", logits.isfinite().all(), logits, phase, at_once)
        labels = logits.argmax(dim=1)
        return (logits.softmax(dim=1) if self.access == "soft" else labels), labels

    def _complete(self, store: AnswerStore, samples: Samples, phase: str) -> tuple[Tensor, int]:
        """Answers from the store after the victim has given it those that it lacks; samples asked by all processes."""
        digests = digests_of(samples)
        missing = store.missing(digests)
        if missing:
            whole = len(missing) == len(samples)
            new = samples if whole else _pick(samples, missing)
            # A broken answer would be kept for good.
            answers, _ = self._ask(new, phase, at_once=True)
            store.add([digests[position] for position in missing], answers)
        asked = all_reduce_sum(torch.tensor(len(missing), device=self.label_counts.device))
        return store.answers(digests).to(self.label_counts.device), int(asked)

    def all_label_counts(self) -> list[int]:
        """``label_counts`` over all processes, which must call this together."""
        counts: list[int] = all_reduce_sum(self.label_counts).tolist()
        return counts

    def state_dict(self) -> dict[str, Any]:
        """What was answered, in plain types, for a checkpoint; all processes must call this together."""
        counts = self.all_label_counts()
        return {"answered": self.answered, "referenced": self.referenced, "label_counts": counts}

    def load_state_dict(self, state: dict[str, Any], rank: int = 0) -> None:
        """Restores it; the labels of all processes become the first one's."""
        self.answered, self.referenced = state["answered"], state["referenced"]
        counts = torch.tensor(state["label_counts"]) if rank == 0 else torch.zeros(self.num_classes)
        self.label_counts.copy_(counts)

    def reference(self, samples: Samples) -> Tensor:
        """The victim's probabilities for evaluation: never charged, never shown to an attack.

        Shape:
            ``(B, C, H, W)`` in the input space, or B sentences, to ``(B, K)`` float32.
        """
        self.queries.check(samples)
        self.referenced += len(samples)
        return self._forward(samples).softmax(dim=1)

    @contextmanager
    def uncharged(self) -> Iterator[None]:
        """Lets a diagnostic ask as the attack asks, without the account; an attack never opens this door itself."""
        self._free = True
        try:
            yield
        finally:
            self._free = False

    def white_box(self, samples: Tensor) -> Tensor:
        """The victim's probabilities with their gradient to the samples: for diagnostics only, never charged.

        Shape:
            ``(B, C, H, W)`` in the input space to ``(B, K)`` float32.

        Raises:
            InputError: The victim reads words, which have no gradient.
        """
        if not self.queries.differentiable:
            raise InputError("a text victim's answers have no gradient with respect to words; ask an image victim")
        self.queries.check(samples)
        self.referenced += len(samples)
        return self._compute(samples).softmax(dim=1)

    @overload
    def to_input_space(self, samples: Tensor) -> Tensor: ...
    @overload
    def to_input_space(self, samples: Sequence[str]) -> Sequence[str]: ...
    def to_input_space(self, samples: Samples) -> Samples:
        """Turns images in [-1, 1] into what clones see and queries look like in this input space; words stay."""
        turned: Samples = self.queries.to_input_space(samples)
        return turned

    def probe(self) -> None:
        """Asks for one harmless sample through the free door and checks the answer, before any query is spent.

        Raises:
            InputError: The answer has another number of classes or is not finite.
        """
        logits = self._forward(self.queries.probe())
        if tuple(logits.shape) != (1, self.num_classes):
            raise InputError(
                f"the victim answered with shape {tuple(logits.shape)}, expected (1, {self.num_classes}); "
                "set num_classes to the victim's"
            )
        self._verify("answers", logits.isfinite().all(), logits, "probe", at_once=True)

    def verify_pending(self) -> None:
        """Reads the checks that accelerators left on the device; called once an epoch.

        Raises:
            InputError: A query or an answer since the last call was out of bounds.
        """
        for kind, passed in self._pending_checks.items():
            if not bool(passed):
                raise InputError(_complaint(kind, "in some batch since the last evaluation"))
        self._pending_checks.clear()

    @torch.no_grad()
    def _forward(self, samples: Samples) -> Tensor:
        return self._compute(samples)

    def _compute(self, samples: Samples) -> Tensor:
        with full_float32(self.label_counts.device.type):
            inputs = self.queries.encode(samples)
            return torch.cat([self._network(chunk).float() for chunk in torch.split(inputs, self.chunk_size)])

    def _verify(self, kind: str, passed: Tensor, values: Tensor, phase: str, at_once: bool) -> None:
        # Reading a flag stalls an accelerator: after the first batch of a phase they are kept there for an epoch.
        if at_once or values.device.type == "cpu":
            if not bool(passed):
                low, high = values.min().item(), values.max().item()
                raise InputError(_complaint(kind, f'from {low:g} to {high:g} (phase "{phase}")'))
            return
        self._pending_checks[kind] = self._pending_checks.get(kind, torch.ones_like(passed)) & passed


def _pick(samples: Samples, positions: list[int]) -> Samples:
    return samples[positions] if isinstance(samples, Tensor) else [samples[position] for position in positions]


def _complaint(kind: str, found: str) -> str:
    if kind == "pixels":
        return (
            f"pixels sent to the victim must be finite and lie in [{LOWEST_PIXEL:g}, {HIGHEST_PIXEL:g}], "
            f"found {found}; scale the images, or lower the generator's learning rate if they are NaN"
        )
    return f"the victim's answers must be finite, found values {found}; check its weights and normalisation"
