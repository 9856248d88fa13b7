"""Speed of DeepFool in a stream against one sample at a time; run with ``python -m tests.benchmarks.deepfool``.

CPU seconds of alternating rounds, float32, one thread, on ``cnn_3_2`` trained for a moment on made-up classes, so that
samples need different numbers of steps.
"""

import statistics
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_extract.networks import build_classifier
from lightning_extract.selection import DeepFool, deepfool_distances
from tests.selection.naive_deepfool import naive_distances

SAMPLES, BATCH_SIZE, ROUNDS, CLASSES = 128, 32, 5, 10
LEAST_RATIO = 1.5


def made_up_images(count: int, templates: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    classes = torch.randint(CLASSES, (count,), generator=draws)
    noise = torch.rand(count, *templates.shape[1:], generator=draws)
    return 0.4 * templates[classes] + 0.6 * noise, classes


def trained_classifier(templates: Tensor, draws: torch.Generator) -> nn.Module:
    torch.manual_seed(0)
    classifier = build_classifier("cnn_3_2", CLASSES, 3, 32)
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3)
    for _ in range(30):
        images, classes = made_up_images(64, templates, draws)
        optimizer.zero_grad()
        cross_entropy(classifier(images), classes).backward()
        optimizer.step()
    return classifier.eval()


def main() -> int:
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    templates = torch.rand(CLASSES, 3, 32, 32, generator=draws)
    classifier = trained_classifier(templates, draws)
    images, _ = made_up_images(SAMPLES, templates, draws)
    settings = DeepFool(batch_size=BATCH_SIZE)
    ways = {
        f"{BATCH_SIZE} at a time": lambda: deepfool_distances(
            classifier, lambda indices: images[indices], SAMPLES, settings
        ),
        "one at a time": lambda: naive_distances(classifier, images, settings),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Tensor] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            found[name] = way()
            spent[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    for name, times in spent.items():
        print(f"{name}: median {medians[name]:.2f} s of", ", ".join(f"{value:.2f}" for value in times))
    together, alone = medians.values()
    ratio = alone / together
    streamed, single = found.values()
    off = ((streamed - single).abs() / single).quantile(0.9)
    print(f"{SAMPLES} samples: {ratio:.2f} times as fast; relative difference of 90 % of the distances below {off:.1e}")
    return 0 if ratio >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
