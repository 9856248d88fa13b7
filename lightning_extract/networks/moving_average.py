"""The moving average of a network's weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """Exponential moving average of a network's weights and batch statistics; the first update copies them.

    The update is torch's. But torch's class reads its counter, which lies beside the weights, at every update, for
    which an accelerator would wait; here it is read once.

    Args:
        network: What is averaged.
        momentum: Share of the old average in the new.
    """

    def __init__(self, network: nn.Module, momentum: float) -> None:
        super().__init__(network, use_buffers=True)
        self.requires_grad_(False)
        self._average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        self._begun: bool | None = False  # None when a checkpoint alone knows
        forget = lambda module, _: setattr(module, "_begun", None)  # noqa: E731
        self.register_load_state_dict_post_hook(forget)  # type: ignore[no-untyped-call]

    @property
    def begun(self) -> bool:
        """Whether there was an update since the last restart."""
        if self._begun is None:
            self._begun = bool(self.n_averaged)
        return self._begun

    def restart(self) -> None:
        """Lets the next update copy again."""
        self.n_averaged.zero_()
        self._begun = False

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Takes a network of today into the average."""
        pairs = [
            *zip(self.module.parameters(), model.parameters(), strict=True),
            *zip(self.module.buffers(), model.buffers(), strict=True),
        ]
        if self.begun:
            for floating in (True, False):  # torch averages tensors of one kind at a time
                kind = [(average, value) for average, value in pairs if average.is_floating_point() == floating]
                if kind:
                    self._average(*map(list, zip(*kind, strict=True)), self.n_averaged)
        else:
            for average, value in pairs:
                average.copy_(value)
        self.n_averaged += 1
        self._begun = True
