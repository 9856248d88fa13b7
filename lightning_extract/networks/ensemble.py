"""Several clones as one network."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lightning_extract.errors import InputError


class CloneEnsemble(nn.Module):
    """Gives each image to every member; the members share an architecture and differ by initialisation.

    Args:
        members: The clones, at least one.

    Shape:
        ``(B, C, H, W)`` to ``(S, B, K)`` logits, S members.

    Raises:
        InputError: There is no member.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not self.members:
            raise InputError("the clone ensemble has 0 members; give it at least 1.")

    def __len__(self) -> int:
        return len(self.members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members])
