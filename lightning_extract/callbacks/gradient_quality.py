"""How close an attack's generator gradient is to the one that it would have in a white box."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.data.draws import IterationDraws, mix_seed
from lightning_extract.errors import InputError
from lightning_extract.functional.precision import full_float32

# Far from the numbers of iterations, so that no diagnosis sees what an iteration draws.
_SEED_OFFSET = 2**62


class GradientQuality(Callback):
    """Logs the cosine between an attack's generator gradient and the true gradient of the victim's distance.

    The true gradient is that of minus the distance of clones and victim (their mean), back-propagated through both.
    The attack's is the gradient of its own generator loss on the same images: estimated by DFME and MAZE, of the
    students' or clones' disagreement by Dual Students and DisGUIDE. ``gradient_cosine`` compares them before tanh, as
    the mean over samples; ``gradient_cosine_weights`` compares what reaches the generator's weights. Nothing is
    charged and nothing of the run changes: the answers come through the free door, as many as a generator step asks.
    Both are computed in full float32, also in runs of mixed precision.

    Reference:
        Beetham et al., Dual Students, ICLR 2023, compares the gradients of DFME and Dual Students with the true ones.

    Args:
        every: Evaluations from one diagnosis to the next, the first one is diagnosed; 0 switches them off.
        samples: Samples of a diagnosis, on every process the same; 256 is the papers' batch.
    """

    def __init__(self, every: int = 0, samples: int = 256) -> None:
        if every < 0 or samples < 2:
            raise InputError(
                f"gradient_quality.every is {every} and samples {samples}; give 0 (off) or more, and at least 2 samples"
            )
        self.every, self.samples = every, samples
        self.evaluations = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses attacks without a generator, and those whose clones do not know the victim's classes."""
        if not self.every or not isinstance(pl_module, DataFreeAttack):
            return
        if pl_module.generator_training is None:
            raise InputError(
                "gradient_quality needs a generator that follows a distance alone, which "
                f"{type(pl_module).__name__} has not; set its every to 0"
            )
        if pl_module.classes.unknown:
            raise InputError(
                "gradient_quality compares with known classes only; give num_classes or set gradient_quality.every to 0"
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds both cosines to the row of this evaluation."""
        if not self.every or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert isinstance(pl_module, DataFreeAttack)
        if self.evaluations % self.every == 0:
            pl_module.log_dict(self.diagnose(pl_module))
        self.evaluations += 1

    def state_dict(self) -> dict[str, Any]:
        """How many evaluations there were, for a checkpoint."""
        return {"evaluations": self.evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self.evaluations = state_dict["evaluations"]

    def diagnose(self, attack: DataFreeAttack) -> dict[str, Tensor]:
        """The cosines of an attack as it stands."""
        seed = mix_seed(_SEED_OFFSET, attack.iterations_done)
        exact = full_float32(attack.device.type)
        with _untouched(attack), torch.inference_mode(False), torch.enable_grad(), attack.oracle.uncharged(), exact:
            attack.draws = IterationDraws(seed, rank=0, world_size=1, device=attack.device)
            attack.generator.train()
            attack.clones.train(attack.clones_train_in_generator_phase)
            images = attack.generator.pre_activation(attack.latents(self.samples))
            own = self._gradient(attack.generator_loss(images), images)
            true = self._gradient(self._true_loss(attack, images), images)
            own_weights, true_weights = (self._to_weights(attack.generator, images, g) for g in (own, true))
        return {
            "gradient_cosine": _cosine(own.flatten(1), true.flatten(1)).mean(),
            "gradient_cosine_weights": _cosine(own_weights, true_weights),
        }

    @staticmethod
    def _true_loss(attack: DataFreeAttack, images: Tensor) -> Tensor:
        queries = images.tanh()
        answers = attack.oracle.white_box(queries)
        return -attack.distance(attack.clone_logits(queries), answers).mean()

    @staticmethod
    def _gradient(loss: Tensor, images: Tensor) -> Tensor:
        return torch.autograd.grad(loss, images, retain_graph=True)[0].float()

    @staticmethod
    def _to_weights(generator: nn.Module, images: Tensor, gradient: Tensor) -> Tensor:
        gradients = torch.autograd.grad(
            images, list(generator.parameters()), gradient.to(images.dtype), retain_graph=True
        )
        return torch.cat([part.flatten() for part in gradients]).float()


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine along the last dimension, 0 for a gradient that vanishes: ``(..., D)`` twice to ``(...)``.

    Gradients of saturated networks are smaller than the epsilon of ``torch.nn.functional.cosine_similarity``.
    """
    one, other = (vector.double() / vector.double().norm(dim=-1, keepdim=True) for vector in (one, other))
    return (one * other).sum(dim=-1).nan_to_num().float()


@contextmanager
def _untouched(attack: DataFreeAttack) -> Iterator[None]:
    """Puts back what a diagnosis moves: batch statistics, modes, draws, random states and a batch kept for later."""
    buffers = {name: value.clone() for name, value in attack.named_buffers()}
    modes = {module: module.training for module in attack.modules()}
    kept = {name: getattr(attack, name) for name in ("draws", "generator_batch") if hasattr(attack, name)}
    try:
        with torch.random.fork_rng(devices=[attack.device] if attack.device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, value in attack.named_buffers():
                value.copy_(buffers[name])
        for module, training in modes.items():
            module.training = training
        for name, value in kept.items():
            setattr(attack, name, value)
