"""The black box: everything an attack may know of the victim passes through this door."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError
from lightning_extract.functional.precision import full_float32
from lightning_extract.oracle.ledger import QueryLedger

Access = Literal["soft", "hard"]
InputSpace = Literal["pre_transform", "post_transform"]

# Every generator ends in tanh, in either input space.
LOWEST_PIXEL, HIGHEST_PIXEL = -1.0, 1.0


class VictimOracle:
    """Answers queries with the victim's probabilities or labels, charges them and checks both sides.

    It is deliberately no ``nn.Module``: no optimizer, checkpoint, ``.train()``, autocast or process group can
    reach the victim through it.

    Args:
        network: The victim; kept in eval mode, in float32, without gradients.
        num_classes: Number of classes it answers with.
        image_shape: Channels, height and width of a query.
        mean: Channel means of the victim's own normalisation, for images in [0, 1].
        std: Channel deviations of the same.
        access: ``soft`` answers with probabilities, ``hard`` with the top-1 label.
        ledger: The account that pays.
        input_space: ``pre_transform``: samples are images in [-1, 1] and the victim normalises them itself;
            ``post_transform``: samples are fed to the network as they are, as DFME and Dual Students do.
        world_size: Number of processes that query in lockstep; each charges for all.
        chunk_size: Largest number of samples in one forward pass of the victim.

    Attributes:
        answered: Samples of the global batch that the victim truly answered for queries.
        referenced: Samples of this process's share answered for evaluation and diagnostics, never charged.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        access: Access,
        ledger: QueryLedger,
        input_space: InputSpace = "pre_transform",
        world_size: int = 1,
        chunk_size: int = 1024,
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self._mean = torch.tensor(mean).view(1, -1, 1, 1)
        self._std = torch.tensor(std).view(1, -1, 1, 1)
        self.num_classes = num_classes
        self.image_shape = image_shape
        self.access = access
        self.ledger = ledger
        self.input_space = input_space
        self.world_size = world_size
        self.chunk_size = chunk_size
        self.answered = 0
        self.referenced = 0
        self._free = False
        self._checked_phases: set[str] = set()
        self._pending_checks: dict[str, Tensor] = {}

    def to(self, device: torch.device) -> "VictimOracle":
        """Moves the victim and its normalisation to a device."""
        self._network.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self

    def query(self, samples: Tensor, phase: str) -> Tensor:
        """Buys the victim's answers; charged before they are computed.

        On an accelerator the pixels and answers of a phase are checked at once for its first batch only; later
        ones are checked by ``verify_pending``.

        Args:
            samples: This process's share of the batch, pixels in [-1, 1].
            phase: Where the account books them.

        Shape:
            ``(B, C, H, W)`` to ``(B, K)`` float32 probabilities, or ``(B,)`` int64 labels for hard access.

        Raises:
            InputError: Wrong shape, dtype or pixel range (nothing is charged), or an answer that is not finite.
            QueryBudgetExceeded: The budget does not pay for them; nothing is charged.
        """
        self._check_shape(samples)
        first = phase not in self._checked_phases
        self._verify("pixels", (samples.abs() <= HIGHEST_PIXEL).all(), samples, phase, at_once=first)
        if self._free:
            self.referenced += len(samples)
        else:
            self.ledger.charge(len(samples) * self.world_size, phase)
        logits = self._forward(samples)
        self.answered += 0 if self._free else len(samples) * self.world_size
        self._verify("answers", logits.isfinite().all(), logits, phase, at_once=first)
        self._checked_phases.add(phase)
        return logits.softmax(dim=1) if self.access == "soft" else logits.argmax(dim=1)

    def reference(self, samples: Tensor) -> Tensor:
        """The victim's probabilities for evaluation: never charged, never shown to an attack.

        Shape:
            ``(B, C, H, W)`` in the input space to ``(B, K)`` float32.
        """
        self._check_shape(samples)
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
        """
        self._check_shape(samples)
        self.referenced += len(samples)
        return self._compute(samples).softmax(dim=1)

    def to_input_space(self, images: Tensor) -> Tensor:
        """Turns images in [-1, 1] into what clones see and queries look like in this input space."""
        return images if self.input_space == "pre_transform" else self._normalise(images)

    def probe(self) -> None:
        """Asks for one grey image through the free door and checks the answer, before any query is spent.

        Raises:
            InputError: The answer has another number of classes or is not finite.
        """
        logits = self._forward(torch.zeros(1, *self.image_shape, device=self._mean.device))
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
    def _forward(self, samples: Tensor) -> Tensor:
        return self._compute(samples.detach())

    def _compute(self, samples: Tensor) -> Tensor:
        with full_float32(samples.device.type):
            samples = samples.float()
            inputs = self._normalise(samples) if self.input_space == "pre_transform" else samples
            return torch.cat([self._network(chunk).float() for chunk in torch.split(inputs, self.chunk_size)])

    def _normalise(self, images: Tensor) -> Tensor:
        return ((images + 1) / 2 - self._mean) / self._std

    def _check_shape(self, samples: Tensor) -> None:
        if not samples.is_floating_point():
            raise InputError(f"samples for the victim must be floating point, got {samples.dtype}")
        if samples.ndim != 4 or tuple(samples.shape[1:]) != self.image_shape or len(samples) == 0:
            raise InputError(
                f"samples for the victim must have shape (B, {', '.join(map(str, self.image_shape))}) with B >= 1, "
                f"got {tuple(samples.shape)}"
            )

    def _verify(self, kind: str, passed: Tensor, values: Tensor, phase: str, at_once: bool) -> None:
        # Reading a flag stalls an accelerator: after the first batch of a phase they are kept there for an epoch.
        if at_once or values.device.type == "cpu":
            if not bool(passed):
                low, high = values.min().item(), values.max().item()
                raise InputError(_complaint(kind, f'from {low:g} to {high:g} (phase "{phase}")'))
            return
        self._pending_checks[kind] = self._pending_checks.get(kind, torch.ones_like(passed)) & passed


def _complaint(kind: str, found: str) -> str:
    if kind == "pixels":
        return (
            f"pixels sent to the victim must be finite and lie in [{LOWEST_PIXEL:g}, {HIGHEST_PIXEL:g}], "
            f"found {found}; scale the images, or lower the generator's learning rate if they are NaN"
        )
    return f"the victim's answers must be finite, found values {found}; check its weights and normalisation"
