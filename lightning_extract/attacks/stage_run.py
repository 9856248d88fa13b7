"""The stages of a DFMS run: their places, what they buy and their optimizers."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lightning_extract.attacks.bought_set import BoughtSet
from lightning_extract.attacks.stages import STAGES, AlternatingStage, CloneStage, Settings, StageName
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.data.draws import mix_seed
from lightning_extract.data.mixture import Mixture
from lightning_extract.data.replay import ReplayDtype
from lightning_extract.data.seeds import run_seed
from lightning_extract.errors import InputError

NETWORKS = {"clones": "clone_optimizer", "generator": "generator_optimizer", "discriminator": "discriminator_optimizer"}


class Stage(NamedTuple):
    """A stage's place in a run.

    Attributes:
        name: Which.
        first: Number of its first iteration.
        iterations: How many it has, one or more.
    """

    name: StageName
    first: int
    iterations: int


class StageRun:
    """The stages one after another; what an iteration does hangs on its number alone.

    Args:
        settings: Of each stage that this run may have, in order.
        optimizers: The attack's own optimizers by network, for stages that name none.

    Attributes:
        stages: The stages that have iterations; known after :meth:`plan`, as the others.
        total: Iterations of all of them.
        proxy_images: How many there are.
        sets: What each clone stage buys.
    """

    def __init__(self, settings: dict[StageName, Settings], optimizers: dict[str, OptimizerCallable]) -> None:
        self.settings, self._optimizers = settings, optimizers
        self.stages: list[Stage] = []
        self.total = 0
        self.proxy_images = 0
        self.sets: dict[StageName, BoughtSet] = {}
        self._places: dict[tuple[StageName, str], int] = {}

    def plan(
        self,
        proxy_images: int,
        threat_model: ThreatModel,
        batch_size: int,
        dtype: ReplayDtype,
        inherited: tuple[StageName, int] | None = None,
    ) -> None:
        """Lays out all iterations of a run.

        Args:
            proxy_images: How many there are.
            threat_model: Budget and access.
            batch_size: Images of a purchase, and of an alternating iteration.
            dtype: How bought images are kept.
            inherited: A stage of another run, whose images to validate by are used since this run buys none, and their
                number.

        Raises:
            InputError: The free memory does not hold what a clone stage buys.
        """
        assert isinstance(threat_model.num_classes, int)
        self.proxy_images, self.total = proxy_images, 0
        for known in (self.stages, self.sets, self._places):
            known.clear()
        new_set = partial(
            BoughtSet,
            batch_size=batch_size,
            image_shape=threat_model.image_shape,
            answer_shape=(threat_model.num_classes,) if threat_model.access == "soft" else (),
            dtype=dtype,
        )
        if inherited is not None:
            nothing = Mixture(proxy=0, generated=0, proxy_batch=0, generated_batch=0)
            self.sets[inherited[0]] = new_set(nothing, inherited[1], seed=0, inherited=True)
        for name, settings in self.settings.items():
            if isinstance(settings, CloneStage) and settings.epochs:
                seed = mix_seed(run_seed(), -10 - STAGES.index(name))
                self.sets[name] = new_set(settings.mixture(proxy_images), settings.validation_size, seed=seed)
        rounding = math.ceil if threat_model.remainder == "fill" else math.floor
        affordable = rounding((threat_model.query_budget - self.initial_queries) / batch_size)
        for name, settings in self.settings.items():
            if isinstance(settings, CloneStage):
                bought = self.sets.get(name)
                iterations = len(bought.purchases) + settings.epochs * bought.mixture.batches if bought else 0
            elif isinstance(settings, AlternatingStage):
                iterations = affordable if settings.iterations == "budget" else min(settings.iterations, affordable)
            else:
                iterations = settings.iterations
            if iterations > 0:
                self.stages.append(Stage(name, self.total, iterations))
                self.total += iterations

    @property
    def last_batches(self) -> dict[str, int]:
        """Images of the last batch of each clone stage's epochs."""
        return {f"the last training batch of {n}": s.mixture.last_batch for n, s in self.sets.items() if s.purchases}

    @property
    def initial_queries(self) -> int:
        """What the clone stages buy."""
        return sum(bought.queries for bought in self.sets.values())

    def at(self, iteration: int) -> tuple[Stage, int]:
        """The stage of an iteration, and the iteration's number within it."""
        stage = next(stage for stage in reversed(self.stages) if stage.first <= iteration)
        return stage, iteration - stage.first

    def rate(self, stage: Stage, network: str, iterations_done: int) -> float:
        """What a network's learning rate is multiplied by: the clones' follow their schedule over the training."""
        settings = self.settings[stage.name]
        if network != "clones" or not isinstance(settings, CloneStage | AlternatingStage):
            return 1.0
        purchases = self.purchases(stage.name)
        done, iterations = iterations_done - stage.first - purchases, stage.iterations - purchases
        return settings.schedule.rate(min(1.0, max(0, done) / iterations))

    def make_optimizers(
        self, networks: Mapping[str, nn.Module], iterations_done: Callable[[], int]
    ) -> tuple[list[Optimizer], list[LRScheduler]]:
        """An optimizer and a schedule for every network that a stage trains, anew for each stage."""
        optimizers: list[Optimizer] = []
        schedules: list[LRScheduler] = []
        for stage in self.stages:
            settings = self.settings[stage.name]
            for network, name in NETWORKS.items():
                if not settings.trains(network):
                    continue
                own = f"{stage.name}_{network}"
                make = getattr(settings, name, None) or self._optimizers.get(own) or self._optimizers[network]
                self._places[stage.name, network] = len(optimizers)
                try:
                    optimizers.append(make(networks[network].parameters()))
                except (TypeError, ValueError) as error:
                    raise InputError(
                        f"the optimizer of {network} in stage {stage.name} cannot be made: {error}"
                    ) from error
                rate = lambda _, stage=stage, network=network: self.rate(stage, network, iterations_done())  # noqa: E731
                schedules.append(LambdaLR(optimizers[-1], rate))
        return optimizers, schedules

    def purchases(self, stage: StageName) -> int:
        """Iterations at the begin of a stage that buy and train nothing."""
        return len(self.sets[stage].purchases) if stage in self.sets else 0

    def places(self, stage: StageName) -> list[int]:
        """Where the optimizers of a stage stand among all."""
        return [place for (name, _), place in self._places.items() if name == stage]

    def trained_at(self, iteration: int) -> list[int]:
        """Where the optimizers that step in an iteration stand among all."""
        stage, step = self.at(iteration)
        return [] if step < self.purchases(stage.name) else self.places(stage.name)

    def optimizer_place(self, stage: StageName, network: str) -> int:
        """Where a network's optimizer for a stage stands among all."""
        return self._places[stage, network]

    def forget_moments(self, stage: StageName, optimizers: list[Any]) -> None:
        """Drops what the optimizers of an ended stage remember, which checkpoints would carry on."""
        for place in self.places(stage):
            optimizers[place].state.clear()

    def inherit(self, folder: Path) -> None:
        """Copies the images to validate by that another run has bought.

        Raises:
            InputError: They are no longer in that run's folder.
        """
        for name, bought in self.sets.items():
            if not bought.purchases:
                bought.inherit(folder / name)

    def save(self, folder: Path) -> None:
        """Writes what the clone stages have bought since the last call."""
        for name, bought in self.sets.items():
            bought.save(folder / name)

    def state(self) -> dict[str, Any]:
        """How much each has bought, for a checkpoint."""
        return {name: bought.state() for name, bought in self.sets.items()}

    def load(self, folder: Path, state: dict[str, Any], iterations_done: int) -> None:
        """Restores what later iterations read."""
        for name, bought in self.sets.items():
            ends = [stage.first + stage.iterations for stage in self.stages if stage.name == name]
            bought.load(folder / name, state[name], for_training=any(iterations_done < end for end in ends))

    def validation_at(self, stage: StageName) -> tuple[StageName, BoughtSet] | None:
        """The complete images to validate by, with the stage in which they were bought.

        A clone stage has its own or none; the others have the newest.
        """
        names = [stage] if stage in self.sets else [n for n in self.sets if STAGES.index(n) < STAGES.index(stage)]
        bought = self.sets[names[-1]] if names else None
        return (names[-1], bought) if bought and 0 < bought.validation.size == len(bought.validation) else None
