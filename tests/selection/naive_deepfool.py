"""DeepFool with one sample at a time, written down step by step."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_extract.selection import DeepFool

Logits = Callable[[Tensor], Tensor]


def gradients_of(scores: Logits, image: Tensor) -> tuple[Tensor, Tensor]:
    """Scores ``(K,)`` at an image ``(...)`` and the gradient of each ``(K, ...)``."""
    image = image.clone().requires_grad_()
    values = scores(image[None])[0]
    slopes = [torch.autograd.grad(value, image, retain_graph=True)[0] for value in values]
    return values.detach(), torch.stack(slopes)


def textbook(
    logits: Logits, image: Tensor, steps: int = 50, overshoot: float = 0.02, classes: int | None = None
) -> float:
    with torch.no_grad():
        ranking = logits(image[None])[0].argsort(descending=True).tolist()[:classes]
    label, total = ranking[0], torch.zeros_like(image)
    for _ in range(steps):
        values, slopes = gradients_of(logits, image + (1 + overshoot) * total)
        if int(values.argmax()) != label:
            break
        best, best_step = float("inf"), total
        for rival in ranking[1:]:
            w, f = slopes[rival] - slopes[label], values[rival] - values[label]
            if float(f.abs() / w.norm()) < best:
                best, best_step = float(f.abs() / w.norm()), f.abs() / w.norm() ** 2 * w
        if best == float("inf"):
            return best
        total = total + best_step
    return float((((1 + overshoot) * total) ** 2).sum())


def official(logits: Logits, image: Tensor, steps: int = 20, overshoot: float = 0.01) -> float:
    def scores(images: Tensor) -> Tensor:
        return logits(images).softmax(dim=1)

    with torch.no_grad():
        label = int(scores(image[None])[0].argmax())
    total = torch.zeros_like(image)
    for _ in range(steps):
        values, slopes = gradients_of(scores, (image + (1 + overshoot) * total).clamp(0, 1))
        candidates = []
        for rival in range(len(values)):
            if rival != label:
                w, f = slopes[rival] - slopes[label], values[rival] - values[label]
                candidates.append((float(f.abs() / w.norm()), f.abs() / w.norm() * w))
        total = total + min(candidates, key=lambda pair: pair[0])[1]
    return float((((image + (1 + overshoot) * total).clamp(0, 1) - image) ** 2).sum())


def naive_distances(logits: Logits, images: Tensor, settings: DeepFool) -> Tensor:
    if settings.variant == "official":
        found = [official(logits, image) for image in images]
    else:
        found = [textbook(logits, image, classes=settings.classes) for image in images]
    return torch.tensor(found)
