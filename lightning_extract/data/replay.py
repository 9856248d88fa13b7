"""Experience replay: bought answers that train the clones again without a new query."""

import random
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor

from lightning_extract.data.segments import drop_segments, read_segments, write_segment
from lightning_extract.errors import InputError

ReplayDtype = Literal["float32", "bfloat16", "float16", "uint8"]


class ReplayBuffer:
    """A ring of samples and the victim's answers; the newest overwrite the oldest.

    In a distributed run every process holds the whole ring, so that one draw of indices means the same samples
    everywhere. On disk the ring is kept as segments: a checkpoint writes only what came since the last one.

    Reference:
        Lin, 1992; Kariyappa et al., MAZE, CVPR 2021; Rosenthal et al., DisGUIDE, AAAI 2023, section 3.2.

    Args:
        size: Number of samples kept. Give no more than the query budget.
        image_shape: Channels, height and width of a sample.
        answer_shape: ``(K,)`` for probabilities, ``()`` for labels.
        dtype: How pixels in [-1, 1] are stored; ``uint8`` rounds them to 256 levels.
        device: Where the ring lies.

    Raises:
        InputError: The memory that is free on the device does not hold the ring.
    """

    def __init__(
        self,
        size: int,
        image_shape: tuple[int, int, int],
        answer_shape: tuple[int, ...],
        dtype: ReplayDtype = "float32",
        device: torch.device | str = "cpu",
    ) -> None:
        self.size = size
        self.added = 0
        self._saved = 0
        self.device = torch.device(device)
        self._image_shape, self._answer_shape, self._dtype = image_shape, answer_shape, dtype
        self._refuse_if_too_large()
        answer_dtype = torch.float32 if answer_shape else torch.int64
        self._images = torch.empty(size, *image_shape, dtype=getattr(torch, dtype), device=self.device)
        self._answers = torch.empty(size, *answer_shape, dtype=answer_dtype, device=self.device)

    def __len__(self) -> int:
        return min(self.added, self.size)

    def add(self, images: Tensor, answers: Tensor) -> None:
        """Stores a batch, in place of the oldest samples once the ring is full.

        Shape:
            ``(B, C, H, W)`` pixels in [-1, 1]; answers ``(B, K)`` or ``(B,)``.
        """
        slots = torch.arange(self.added, self.added + len(images), device=self.device) % self.size
        # Blocking copies: one from an accelerator that does not block may be read here before it has arrived.
        self._images[slots] = self._pack(images).to(self.device)
        self._answers[slots] = answers.to(self.device)
        self.added += len(images)

    def draw(self, count: int, rng: random.Random) -> list[int]:
        """Positions of ``count`` distinct samples, uniformly drawn; the cost does not grow with the ring."""
        return rng.sample(range(len(self)), count)

    def read(self, positions: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Samples as float32 pixels in [-1, 1] and their answers, on the given device."""
        index = torch.tensor(positions).to(self.device, non_blocking=True)
        images, answers = self._images[index].to(device, non_blocking=True), self._answers[index]
        return self._unpack(images), answers.to(device, non_blocking=True)

    def save(self, folder: Path) -> None:
        """Writes what came since the last call as one segment and drops segments that the ring has overwritten.

        A call without new samples does nothing: one checkpoint may be written to several files.
        """
        if self.added == self._saved:
            return
        oldest = max(0, self.added - self.size)
        start = max(self._saved, oldest)
        slots = torch.arange(start, self.added, device=self.device) % self.size
        write_segment(folder, start, {"images": self._images[slots].cpu(), "answers": self._answers[slots].cpu()})
        # Of two consecutive checkpoints the older must stay loadable until the newer is on disk.
        drop_segments(folder, before=max(0, self._saved - self.size))
        self._saved = self.added

    def load(self, folder: Path, added: int) -> None:
        """Restores the ring as it was after ``added`` samples; later segments are deleted.

        Raises:
            InputError: A segment is missing, damaged, or does not fit this ring.
        """
        for segment in read_segments(folder, max(0, added - self.size), added):
            images, answers = segment.rows["images"], segment.rows["answers"]
            if not self._fits(images, answers):
                raise InputError(f"segment {segment.path} holds other samples than this run; start a new run folder")
            slots = torch.arange(segment.start, segment.start + len(images), device=self.device) % self.size
            self._images[slots], self._answers[slots] = images.to(self.device), answers.to(self.device)
        self.added = self._saved = added

    def _pack(self, images: Tensor) -> Tensor:
        if self._dtype == "uint8":
            return ((images.float() + 1) * 127.5).round().to(torch.uint8)  # half precision would round twice
        return images.to(self._images.dtype)

    def _unpack(self, images: Tensor) -> Tensor:
        return images.float() / 127.5 - 1 if self._dtype == "uint8" else images.float()

    def _fits(self, images: Tensor, answers: Tensor) -> bool:
        pairs = (images, self._images), (answers, self._answers)
        return all(saved.shape[1:] == ring.shape[1:] and saved.dtype == ring.dtype for saved, ring in pairs)

    def _refuse_if_too_large(self) -> None:
        pixels = torch.Size(self._image_shape).numel()
        answer = torch.Size(self._answer_shape).numel() * (4 if self._answer_shape else 8)
        needed = self.size * (pixels * torch.empty(0, dtype=getattr(torch, self._dtype)).element_size() + answer)
        on_cuda = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if on_cuda else psutil.virtual_memory().available
        if needed > free:
            raise InputError(
                f"a replay of {self.size:,} samples in {self._dtype} needs {needed / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free on {self.device}; "
                "lower replay.size, or choose replay.dtype uint8 or another replay.device"
            )
