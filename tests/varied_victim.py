"""A victim that sees many classes in generated noise; the shipped one answers nearly all of it with one."""

from pathlib import Path

import torch

from lightning_extract.networks import DFMEGenerator
from lightning_extract.victims.loading import load_victim
from lightning_extract.victims.saving import save_victim

# A miniature attack with an unknown number of classes: ten iterations of two batches of 8.
ITERATIONS, BATCH, LATENT_DIM, CAPACITY = 10, 8, 16, 12


def save_varied_victim(folder: Path) -> Path:
    """Writes the shipped victim of grey digits with logits that are standardised over images of fresh generators."""
    network, card = load_victim("lenet5_mnist5k")
    torch.manual_seed(1)
    images = []
    for warm_up in range(0, 12, 2):
        generator = DFMEGenerator(latent_dim=16, width=4, channels=1)
        for _ in range(warm_up):
            generator(torch.randn(32, 16))
        images.append(generator.eval()(torch.randn(64, 16)))
    with torch.no_grad():
        logits = network(((torch.cat(images) + 1) / 2 - card.mean[0]) / card.std[0])
        deviation, mean = torch.std_mean(logits, dim=0)
        network.fc2.weight.div_(deviation[:, None])
        network.fc2.bias.sub_(mean).div_(deviation)
    save_victim(
        folder, network, network="lenet5", num_classes=10, channels=1, image_size=32, dataset="mnist5k",
        mean=card.mean, std=card.std, test_accuracy=None, recipe={},
    )  # fmt: skip
    return folder


def unknown_classes(folder: Path) -> list[str]:
    """Arguments that turn an attack in miniature into one that discovers the classes of such a victim."""
    settings = {
        "threat_model.victim": save_varied_victim(folder),
        "threat_model.num_classes": "unknown",
        "threat_model.access": "hard",
        "threat_model.query_budget": 2 * BATCH * ITERATIONS,
        "clone_training.steps": 2,
        "clone_training.heldout_every": 4,
        "clone_training.class_capacity": CAPACITY,
        "batch_size": BATCH,
    }
    return [text for name, value in settings.items() for text in (f"--model.{name}", str(value))]
