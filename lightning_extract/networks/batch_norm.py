"""BatchNorm over the global batch of a distributed run."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_extract.errors import InputError
from lightning_extract.functional.distributed import all_reduce_sum, process_count


class AllReduceBatchNorm(_BatchNorm):
    """BatchNorm1d and BatchNorm2d whose batch is that of all processes.

    torch's SyncBatchNorm refuses CPU tensors; this is its form for CPU processes. Outside training, and with
    one process, it is BatchNorm. Processes may hold unequal shares of the batch.

    Shape:
        ``(B, C, ...)`` to the same.

    Raises:
        ValueError: The global batch has a single value per channel, as in BatchNorm.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or process_count() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [0, *range(2, values.dim())]
        per_channel = [1, -1] + [1] * (values.dim() - 2)

        local_count = values.new_tensor([values.numel() // values.shape[1]])
        totals = all_reduce_sum(torch.cat([values.sum(axes), local_count]))
        count = totals[-1].detach()
        if count < 2:
            raise ValueError("BatchNorm needs more than 1 value per channel in training; enlarge the batch.")
        mean = totals[:-1] / count
        centred = values - mean.view(per_channel)
        # Squares are summed in a second step, since mean(x^2) - mean(x)^2 cancels.
        variance = all_reduce_sum(centred.square().sum(axes)) / count
        self._update_running_statistics(mean.detach(), (variance * count / (count - 1)).detach())

        output = centred * torch.rsqrt(variance + self.eps).view(per_channel)
        if self.affine:
            output = output * self.weight.view(per_channel) + self.bias.view(per_channel)
        return output.to(input.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected an input of at least 2 dimensions, got {input.dim()}")


def synchronise_batch_norm(module: nn.Module, device_type: str) -> nn.Module:
    """Makes every BatchNorm1d and BatchNorm2d use the global batch; its parameters and buffers are kept.

    Args:
        module: Changed in place, unless it is a BatchNorm itself.
        device_type: ``"cuda"`` takes torch's SyncBatchNorm, anything else ``AllReduceBatchNorm``.

    Returns:
        The module, or what replaces it.
    """
    if device_type == "cuda":
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return synchronised
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return _all_reduce_form(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise_batch_norm(child, device_type))
    return module


def _all_reduce_form(module: nn.BatchNorm1d | nn.BatchNorm2d) -> AllReduceBatchNorm:
    replacement = AllReduceBatchNorm(
        module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
    )
    replacement.weight, replacement.bias = module.weight, module.bias
    replacement.running_mean, replacement.running_var = module.running_mean, module.running_var
    replacement.num_batches_tracked = module.num_batches_tracked
    return replacement.train(module.training)


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Sets how much of its running statistics every BatchNorm replaces by those of a batch.

    Args:
        network: Has BatchNorm.
        momentum: Share of the new, as in PyTorch; TensorFlow's is one minus this.

    Raises:
        InputError: The momentum is not above 0 and up to 1, or the network has no BatchNorm.
    """
    if not 0 < momentum <= 1:
        raise InputError(f"the batch norm's momentum is {momentum}; give a share above 0 and up to 1.")
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        raise InputError(
            f"a batch norm momentum of {momentum} was asked for, but the network has no batch norm; set it to null."
        )
    for layer in layers:
        layer.momentum = momentum
