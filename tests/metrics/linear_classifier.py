"""Linear classifiers, whose adversarial images are known in closed form."""

import torch
from torch import Tensor

SHAPE = (1, 4, 4)
PIXELS = 16


class LinearClassifier:
    """Softmax of ``W p + b`` for pixels p in [0, 1]; takes images in [-1, 1], as all classifiers of the package.

    Args:
        classes: Number of classes.
        seed: Of the weights.
    """

    def __init__(self, classes: int, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(classes, PIXELS, generator=draw)
        # Mid-grey lies near the boundaries, so that a small perturbation reaches them.
        self.bias = 0.1 * torch.randn(classes, generator=draw) - self.weights.sum(dim=1) / 2

    def logits(self, images: Tensor) -> Tensor:
        return ((images + 1) / 2).flatten(1) @ self.weights.T + self.bias

    def __call__(self, images: Tensor) -> Tensor:
        return self.logits(images).softmax(dim=1)

    def loss_gradient(self, images: Tensor, classes: Tensor) -> Tensor:
        """Gradient of the cross-entropy with respect to the pixels: sum_k p_k w_k - w_class."""
        return (self(images) @ self.weights - self.weights[classes]).view(-1, *SHAPE)


def grey_images(count: int, seed: int = 0) -> Tensor:
    """Images whose pixels lie in [0.45, 0.55], so that no small perturbation is clipped."""
    pixels = 0.45 + 0.1 * torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return 2 * pixels - 1
