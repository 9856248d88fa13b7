"""What happens between the stages of a DFMS run: fresh starts, selection, snapshots and checkpoints."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_extract.attacks.averaged_clones import AveragedClones
from lightning_extract.attacks.checks import check_single_images
from lightning_extract.attacks.data_free import DataFreeAttack
from lightning_extract.attacks.stage_checks import check_stages
from lightning_extract.attacks.stage_run import StageRun
from lightning_extract.attacks.stage_snapshots import (
    fill_networks,
    read_snapshot,
    refuse_other_experiment,
    save_snapshot,
)
from lightning_extract.attacks.stages import STAGES, CloneStage, EarlierStages, StageName
from lightning_extract.data.draws import mix_seed
from lightning_extract.data.replay import ReplayDtype
from lightning_extract.data.seeds import run_seed
from lightning_extract.networks import build_classifier, fresh_weights


class StageTransitions:
    """Begins and ends stages of an attack, and carries over what stands between them.

    Args:
        attack: Whose clones and generator go through the stages.
        stages: The stages of the run.
        averages: The clones' averages.
        earlier: Stages of another run that are taken over.
        discriminator: The network that several stages begin anew.
        build_discriminator: Makes another one.
    """

    def __init__(
        self,
        attack: DataFreeAttack,
        stages: StageRun,
        averages: AveragedClones,
        earlier: EarlierStages,
        discriminator: nn.Module,
        build_discriminator: Callable[[], nn.Module],
    ) -> None:
        self.attack, self.stages, self.averages, self.earlier = attack, stages, averages, earlier
        self.discriminator, self.build_discriminator = discriminator, build_discriminator
        self.kept: dict[str, str] = {}  # how answers are kept, for snapshots

    def plan(self, proxy_images: int, dtype: ReplayDtype) -> None:
        """Lays out the run, before a checkpoint is loaded.

        Raises:
            InputError: A stage lacks proxy images, processes cannot share its batches, or memory is short.
        """
        facts = read_snapshot(self.earlier)[1] if self.earlier.run else {}
        attack = self.attack
        buys = any(isinstance(stage, CloneStage) and stage.epochs for stage in self.stages.settings.values())
        inherited = None if buys else facts.get("validation")
        self.kept = {"access": attack.threat_model.access, "replay_dtype": dtype}
        if inherited:
            refuse_other_experiment(self.earlier, facts, self.kept)
        elif facts and self.earlier.through != "gan":  # which asks for nothing
            refuse_other_experiment(self.earlier, facts, {"access": attack.threat_model.access})
        self.stages.plan(proxy_images, attack.threat_model, attack.batch_size, dtype, inherited)
        if attack.clone_training.channels_last:
            self.averages.to(memory_format=torch.channels_last)
        check_stages(self.stages, attack.trainer.world_size)
        check_single_images(attack.clones, self.stages.last_batches)

    def take_over(self) -> None:
        """Starts from the earlier stages of another run, if there is one and the run itself does not continue.

        Raises:
            InputError: It is of another experiment or other networks, or its validation images are gone.
        """
        if self.earlier.run and self.attack.trainer.ckpt_path is None:
            tensors, facts = read_snapshot(self.earlier, self._experiment)
            fill_networks(self._networks, tensors)
            self.attack.start_from = [{"run": self.earlier.run, "queries": facts["queries"]}]
            self.stages.inherit(Path(self.earlier.run) / "replay")

    def begin(self, stage: StageName) -> None:
        """Starts clones, discriminator and averages of a stage afresh, where it trains them from scratch."""
        seed = mix_seed(run_seed(), -20 - STAGES.index(stage))
        settings, attack = self.stages.settings[stage], self.attack
        if isinstance(settings, CloneStage):
            shape = attack.outputs, *attack.threat_model.image_shape[:2]
            build = partial(build_classifier, attack.clone_training.network, *shape)
            for position, clone in enumerate(attack.clones.members):
                fresh_weights(clone, build, mix_seed(seed, position))
            attack.learning_since = None
        if settings.trains("discriminator"):
            fresh_weights(self.discriminator, self.build_discriminator, seed)
        if settings.trains("clones"):
            self.averages.restart()

    def end(self, stage: StageName) -> None:
        """Hands on the clones that a clone stage found best, and leaves a snapshot for other runs to start from."""
        attack = self.attack
        if stage in self.stages.sets and self.select(stage):
            attack.clones.load_state_dict(self.averages.best)
        self.save_bought()
        if stage in self.stages.sets:
            self.stages.sets[stage].forget_training()
        self.stages.forget_moments(stage, [optimizer.optimizer for optimizer in attack.optimizer_list])
        if attack.global_rank == 0:
            newest = self.stages.validation_at(stage)
            facts = (
                self._experiment
                | self.kept
                | {
                    "queries": attack.ledger.spent + sum(run["queries"] for run in attack.start_from),
                    "validation": newest and (newest[0], newest[1].validation.added),
                }
            )
            save_snapshot(attack.trainer.default_root_dir, stage, self._networks, facts)

    def select(self, stage: StageName) -> dict[str, Tensor]:
        """Chooses among the clones and their averages by the newest validation images, where there are any."""
        newest = self.stages.validation_at(stage)
        if newest is None or not self.stages.settings[stage].trains("clones"):
            return {}
        attack = self.attack
        attack.clones.eval()
        with attack.trainer.precision_plugin.forward_context():  # the same at evaluations and at the end of a stage
            return self.averages.select(
                attack.clones,
                lambda: newest[1].validation_share(attack.global_rank, attack.trainer.world_size, attack.device),
                lambda logits: attack.vote(logits).argmax(dim=1),
                attack.num_classes,
            )

    def save_bought(self) -> None:
        """Writes what was bought since the last call, on the first process."""
        if self.attack.global_rank == 0:
            self.stages.save(self.attack.replay_folder)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must know; bought images lie beside it and are written here."""
        self.save_bought()
        state = {"bought": self.stages.state(), "selection": self.averages.selection_state()}
        return state | {"learning_since": self.attack.learning_since}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores it."""
        self.attack.learning_since = state["learning_since"]
        self.averages.load_selection_state(state["selection"], self.attack.trainer.strategy.root_device)
        if not self.attack.finished:
            self.stages.load(self.attack.replay_folder, state["bought"], self.attack.iterations_done)

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"clones": self.attack.clones, "generator": self.attack.generator}

    @property
    def _experiment(self) -> dict[str, Any]:
        """What a run that starts from a snapshot must share with it."""
        attack = self.attack
        return {"input_space": attack.threat_model.input_space, "victim": attack.victim_card.weights_sha256}
