"""DFMS-HL and DFMS-SL: a generator with proxy images as its prior, trained in stages with the clone."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from lightning_extract.attacks.averaged_clones import AveragedClones
from lightning_extract.attacks.checks import warn_of_shared_classes
from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.settings import NO_REPLAY, CloneTraining, Schedule
from lightning_extract.attacks.stage_checks import check_clone_settings
from lightning_extract.attacks.stage_run import StageRun
from lightning_extract.attacks.stage_snapshots import describe_missing_snapshot
from lightning_extract.attacks.stage_transitions import StageTransitions
from lightning_extract.attacks.stages import STAGES, GeneratorStage, StageName, Stages
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.attacks.work import Work
from lightning_extract.data.augmentation import random_crop_and_flip
from lightning_extract.data.autoaugment import auto_augment
from lightning_extract.data.draws import Iteration, IterationDraws, seed_networks
from lightning_extract.data.pool_stream import PoolStream
from lightning_extract.data.pools import Pool
from lightning_extract.data.replay import ReplayDtype
from lightning_extract.functional.losses import adversarial_loss, discriminator_loss, mean_prediction_entropy_loss
from lightning_extract.networks import DCGANDiscriminator, DCGANGenerator

DCGAN_ADAM = partial(Adam, lr=2e-4, betas=(0.5, 0.999), fused=True)
BLACK, MID_GREY = -1.0, 0.0  # what crops are padded with: proxy images of a network that draws, images of a clone stage


class DFMS(DataFreeAttack):
    """Extraction with a generator whose prior are unrelated public (proxy) images, or synthetic ones.

    Five stages: a network learns to draw proxy images; a clone is initialised on proxy and generated images; the
    generator learns to cover the clone's classes; the clone is initialised anew; clone and generator take turns. The
    generator follows the clone alone, so that hard (DFMS-HL) and soft access (DFMS-SL) differ in the clone's loss only.

    Reference:
        Sanyal, Addepalli, Babu: Towards Data-Free Model Stealing in a Hard Label Setting, CVPR 2022.

    Queries per iteration:
        ``batch_size`` in the alternating stage: 64. Before, each clone stage buys its training and validation images,
        45,000 + 20,000 with the 40-class proxy; the other stages are free.

    Deviations:
        Every batch of proxy images is full; the official code's last batch of a pass is smaller. It labels 5,000 black
        images a clone stage, asks the victim for statistics and before the alternating stage, and forgets some
        answers: none of it is done here. Each clone stage hands on the weights that did best on its validation images.
        The warm-up rises steadily; the official code's starts at the full rate, then at zero. The soft clone's loss is
        not published: kl and l1 are offered, kl is ours.
    """

    heldout_model = "averaged"
    pool: Pool | None = None
    stage: StageName = "gan"
    learning_since = None

    def __init__(
        self,
        threat_model: ThreatModel,
        clone_training: CloneTraining = CloneTraining(count=1, soft_loss="kl", heldout_every=0),
        stages: Stages = Stages(),
        averages: tuple[float, ...] = (0.5, 0.9, 0.99, 0.999, 0.9995, 0.9998),
        latent_dim: int = 100,
        width: int = 64,
        replay_dtype: ReplayDtype = "float32",
        batch_size: int = 64,
        clone_optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True),
        alternating_clone_optimizer: OptimizerCallable = lambda p: SGD(
            p, lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
        ),
        generator_optimizer: OptimizerCallable | None = None,
        discriminator_optimizer: OptimizerCallable | None = None,
        accuracy_goals: Sequence[float] = (),
    ) -> None:
        """Sets up clone, generator and discriminator.

        Args:
            threat_model: What the attacker may do and knows.
            clone_training: One clone; kl or l1 for soft access. Its heldout_every must be 0: the clone stages buy
                validation images.
            stages: What happens in each stage, and for how long.
            averages: Momenta of the clones' moving averages, chosen from besides the clones (official code).
            latent_dim: Length of a latent vector; 100 in the official code.
            width: Channels of the generator's last and the discriminator's first hidden map; 64 in the official code.
            replay_dtype: How bought images of the clone stages are kept; uint8 rounds generated ones to 256 levels.
            batch_size: Images in all other batches than the clone stages', over all processes; 64 in the official code.
            clone_optimizer: Of the clones in their own stages: SGD, 0.1, momentum 0.9, decay 5e-4 (official code).
            alternating_clone_optimizer: Of the clones in the alternating stage: the same with 0.01.
            generator_optimizer: Begun anew in each stage; Adam with 2e-4 and betas 0.5 and 0.999 (paper) by default.
            discriminator_optimizer: The same.
            accuracy_goals: Accuracies for which the number of queries at the first reach is reported.
        """
        check_clone_settings(threat_model, clone_training)
        self.alternates = stages.alternating.iterations != 0
        super().__init__(
            threat_model, clone_training, NO_REPLAY, Schedule(), batch_size, clone_optimizer, accuracy_goals
        )
        self.latent_dim, self.replay_dtype = latent_dim, replay_dtype
        shape = threat_model.image_shape[:2]
        self.generator = DCGANGenerator(latent_dim, width, *shape).to(memory_format=torch.channels_last)
        new_discriminator = partial(DCGANDiscriminator, width, *shape)
        self.discriminator = new_discriminator().to(memory_format=torch.channels_last)
        self.averages = AveragedClones(self.clones, averages)
        self.generator_loss_mean = MeanMetric(nan_strategy="disable")
        self.discriminator_loss_mean = MeanMetric(nan_strategy="disable")
        self.stages = StageRun(
            stages.own(),
            {
                "clones": clone_optimizer,
                "alternating_clones": alternating_clone_optimizer,
                "generator": generator_optimizer or DCGAN_ADAM,
                "discriminator": discriminator_optimizer or DCGAN_ADAM,
            },
        )
        self.transitions = StageTransitions(
            self, self.stages, self.averages, stages.earlier, self.discriminator, new_discriminator
        )

    # The algorithm.

    def training_step(self, iteration: Iteration, batch_idx: int) -> None:
        """One iteration of the stage that it belongs to."""
        self.draws = IterationDraws(iteration.seed, self.global_rank, self.trainer.world_size, self.device)
        seed_networks(iteration.seed + self.global_rank, self.device)
        stage, step = self.stages.at(iteration.number)
        self.stage = stage.name
        if step == 0:
            self.transitions.begin(stage.name)
        if stage.name in ("gan", "diversity"):
            self.generator_iteration()
        elif stage.name in ("clone_init", "clone_reinit"):
            self.clone_iteration(stage.name, step)
        else:
            self.alternating_iteration()
        self.iterations_done = iteration.number + 1
        self.stage_ended = stage.name if step == stage.iterations - 1 else ""
        if self.stage_ended:
            self.transitions.end(stage.name)
        for place in self.stages.trained_at(iteration.number):
            self.schedulers[place].step()

    def clone_iteration(self, stage: StageName, step: int) -> None:
        """Buys a batch of the stage's images or, when all are bought, trains the clone on some of them."""
        bought = self.stages.sets[stage]
        if step < len(bought.purchases):
            source, start, count = bought.purchases[step]
            images = self.proxy_images(start, count) if source == "proxy" else self.make_queries(count)
            answers = self.oracle.query(images, f"{stage}_validation" if source == "validation" else stage)
            self.observe(answers)
            bought.add(source, *self.gather(images, answers))
            return
        epoch, batch = divmod(step - len(bought.purchases), bought.mixture.batches)
        images, answers = bought.training.read(self.draws.share(bought.positions(epoch, batch)), self.device)
        self.clone_step(random_crop_and_flip(images, self.draws, fill=MID_GREY), answers)

    def generator_iteration(self) -> None:
        """Discriminator and generator; the clone, which the generator follows in the later stage, is frozen."""
        generated = self.generate_with_graph(self.batch_size)
        self.discriminator_step(generated)
        self.generator_step(generated)

    def alternating_iteration(self) -> None:
        """Clone, generator and discriminator, on the images of one forward pass of the generator."""
        generated = self.generate_with_graph(self.affordable(self.batch_size))
        queries = auto_augment(generated.detach(), self.draws)
        answers = self.oracle.query(queries, "alternating")
        self.observe(answers)
        self.clone_step(queries, answers)
        self.generator_step(generated)
        self.discriminator_step(generated)

    def clone_step(self, images: Tensor, answers: Tensor) -> None:
        """One step of the clone towards the victim's answers."""
        self.clones.train()
        self.learning_since = self.ledger.spent if self.learning_since is None else self.learning_since
        self.imitate(images, answers, self.optimizer_of("clones"))
        self.averages.update_parameters(self.clones)

    def generator_step(self, generated: Tensor) -> None:
        """One step of the generator towards images that look like proxy images and that the clone finds diverse."""
        self.clones.eval()
        stage, optimizer = self.stages.settings[self.stage], self.optimizer_of("generator")
        assert isinstance(stage, GeneratorStage)
        with self.toggled_optimizer(optimizer):
            loss = torch.zeros((), device=self.device)
            if stage.adversarial_weight:
                loss = stage.adversarial_weight * adversarial_loss(self.discriminator.logits(generated))
            if stage.diversity_weight:
                loss = loss + stage.diversity_weight * mean_prediction_entropy_loss(self.clone_logits(generated))
            self.update(optimizer, loss)
        self.generator_loss_mean.update(loss.detach())

    def discriminator_step(self, generated: Tensor) -> None:
        """One step of the discriminator, where the stage has one: proxy images are real, generated ones are not."""
        if not self.stages.settings[self.stage].trains("discriminator"):
            return
        count = len(generated) * self.trainer.world_size
        proxy = self.proxy_images(self.iterations_done * self.batch_size, count)
        proxy = random_crop_and_flip(proxy, self.draws, fill=BLACK).to(self.dtype)
        optimizer = self.optimizer_of("discriminator")
        with self.toggled_optimizer(optimizer):
            logits = self.discriminator.logits(proxy), self.discriminator.logits(generated.detach())
            self.update(optimizer, loss := discriminator_loss(*logits))
        self.discriminator_loss_mean.update(loss.detach())

    def generate_with_graph(self, count: int) -> Tensor:
        """The process's share of ``count`` images by batch statistics, with gradients to the generator."""
        images: Tensor = self.generator.train()(self.latents(count))
        return images

    def make_queries(self, count: int) -> Tensor:
        """Fresh images by running statistics, for the clone stages."""
        return self.generate(count, batch_statistics=False)

    def proxy_images(self, start: int, count: int) -> Tensor:
        """The process's share of the pool's images number ``start`` to ``start + count``, in its random order."""
        assert self.pool is not None
        return self.pool.batch(start, count, self.draws)

    # The account and the clock.

    @property
    def queries_per_iteration(self) -> int:
        return self.batch_size if self.alternates else 0

    @property
    def initial_queries(self) -> int:
        return self.stages.initial_queries

    @property
    def finished(self) -> bool:
        return self.iterations_done >= self.stages.total

    @property
    def work(self) -> Work:
        """Iterations of the stage at hand; queries in the last one."""
        stage, _ = self.stages.at(max(0, self.iterations_done - 1))
        if stage.name == "alternating":
            return super().work._replace(title=stage.name)
        return Work(stage.name, self.iterations_done - stage.first, stage.iterations, " iterations")

    # Set-up and optimizers.

    def describe_missing(self, fitting: bool = True) -> list[str]:
        return super().describe_missing(fitting) + describe_missing_snapshot(self.transitions.earlier) * fitting

    def setup(self, stage: str) -> None:
        if stage == "fit":
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.pool = data.pool if isinstance(data, PoolStream) else None
            self.transitions.plan((self.pool and self.pool.size) or 0, self.replay_dtype)
            warn_of_shared_classes(data)
        super().setup(stage)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.transitions.take_over()

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Those of every stage that this run has; clones' rates follow the stage's schedule."""
        networks = {"clones": self.clones, "generator": self.generator, "discriminator": self.discriminator}
        return self.stages.make_optimizers(networks, lambda: self.iterations_done)

    def optimizer_of(self, network: str) -> LightningOptimizer:
        """The one that trains a network in the stage at hand."""
        return self.optimizer_list[self.stages.optimizer_place(self.stage, network)]

    # Evaluation and checkpoints.

    def evaluated_models(self) -> list[str]:
        """The clones or one of their averages, whichever validates best today, besides."""
        return [*super().evaluated_models(), "averaged"]

    def model_probabilities(self, inputs: Tensor) -> list[Tensor]:
        models, averaged = super().model_probabilities(inputs), self.averages.model(self.clones)
        return [*models, models[0] if averaged is self.clones else self.vote(averaged(inputs.to(self.dtype)))]

    def on_validation_epoch_start(self) -> None:
        self.selection = self.transitions.select(self.stage) if self.trainer.state.fn == "fit" else {}

    def training_row(self) -> dict[str, Tensor]:
        stage = torch.tensor(float(STAGES.index(self.stage) + 1))
        return super().training_row() | self.selection | {"stage": stage}

    def attack_state(self) -> dict[str, Any]:
        return super().attack_state() | self.transitions.state() | {"stage": self.stage}

    def load_attack_state(self, state: dict[str, Any]) -> None:
        super().load_attack_state(state)
        self.stage = state["stage"]
        self.transitions.load_state(state)
