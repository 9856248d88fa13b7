"""Checks that experiment, data set, processes and budget fit together, made before the first query."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lightning_extract.attacks.settings import CloneTraining, ReplaySettings
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.data.class_names import shared_class_names
from lightning_extract.data.pool_stream import PoolStream
from lightning_extract.errors import InputError
from lightning_extract.victims.card import Card


def check_data(trainer: Trainer, card: Card) -> None:
    """Compares the evaluation data with the victim.

    Raises:
        InputError: They differ.
    """
    data = getattr(trainer, "datamodule", None)
    medium = getattr(data, "medium", card.medium)
    if medium != card.medium:
        raise InputError(
            f"the victim answers {card.medium}, but {type(data).__name__} has {medium}; use data like the victim's"
        )
    for name in ("num_classes", "channels", "image_size"):
        true, found = getattr(card, name, None), getattr(data, name, None)
        if None not in (true, found) and true != found:
            raise InputError(f"{name} is {true}, but the evaluation data set has {found}; use data like the victim's")


def check_processes(trainer: Trainer) -> None:
    """Refuses strategies and precisions under which an attack would fail, or silently go wrong.

    Raises:
        InputError: The trainer has one of them.
    """
    # Without it the first backward passes of alternating networks fail, or are silently not synchronised.
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
        raise InputError(
            'strategy "ddp" cannot alternate networks; set trainer.strategy to ddp_find_unused_parameters_true'
        )
    if str(trainer.precision) not in ("32-true", "bf16-mixed", "16-mixed"):
        raise InputError(f"precision {trainer.precision} is not supported; use 32-true, bf16-mixed or 16-mixed")


def check_budget(
    threat_model: ThreatModel, initial: int, queries_per_iteration: int, world_size: int, clones: nn.Module
) -> None:
    """Looks whether the budget pays what is bought once and an iteration, and what its remainder is good for.

    Raises:
        InputError: It does not.
    """
    budget = threat_model.query_budget - initial
    if budget < 0 or (budget == 0 < queries_per_iteration):
        raise InputError(
            f"the budget of {threat_model.query_budget:,} queries does not pay the {initial:,} that are bought once"
            f"{' and an iteration' if queries_per_iteration else ''}; raise query_budget or buy fewer images"
        )
    before = f" beside the {initial:,} that are bought once" if initial else ""
    if queries_per_iteration > budget and threat_model.remainder == "stop":
        raise InputError(
            f"the budget of {threat_model.query_budget:,} queries does not pay one iteration of "
            f"{queries_per_iteration:,}{before}; raise query_budget, lower batch_size or set remainder to fill"
        )
    last = budget % queries_per_iteration if queries_per_iteration and threat_model.remainder == "fill" else 0
    check_single_images(clones, {"the last batch of the budget": last})
    leftover = last % world_size
    if leftover:
        raise InputError(
            f"the last {leftover} queries of {budget:,} cannot be split over {world_size} "
            "processes; change query_budget or set remainder to stop"
        )


def check_single_images(clones: nn.Module, batches: Mapping[str, int]) -> None:
    """Refuses batches of one image where clones normalise by the batch without a map to average over, as AlexNet does.

    Args:
        clones: The clones.
        batches: Images of batches that they are trained on, over all processes, by what a message calls them.

    Raises:
        InputError: There is such a batch.
    """
    normalises = any(isinstance(module, nn.BatchNorm1d) for module in clones.modules())
    for name, images in batches.items():
        if normalises and images == 1:
            raise InputError(
                f"{name} holds 1 image, by which the clones' batch normalisation cannot be computed; change "
                "query_budget or the batch, or set remainder to stop"
            )


def refuse_unused(attack: str, clone_training: CloneTraining, *unused: tuple[str, Any, str]) -> None:
    """Refuses settings of other attacks, which this one would ignore.

    Args:
        attack: Its name.
        clone_training: The settings.
        unused: The name of each, the value that it must have, and what there is instead.

    Raises:
        InputError: One of them is set.
    """
    for name, wanted, instead in unused:
        value = getattr(clone_training, name)
        if value != wanted:
            shown = list(wanted) if isinstance(wanted, tuple) else wanted
            raise InputError(f"clone_training.{name} is {value}, but {attack} has none: {instead}; set it to {shown}")


def check_zeroth_order(attack: str, threat_model: ThreatModel, clone_training: CloneTraining) -> None:
    """Refuses what an attack by differences of answers cannot use.

    Raises:
        InputError: Access is hard, or the losses of clones and generator differ.
    """
    if threat_model.access == "hard":
        raise InputError(
            f"{attack} estimates gradients from probabilities, which access hard does not give: a label's differences "
            "are zero; set access to soft, or use DualStudents or DisGUIDE, which need labels only"
        )
    if clone_training.temperature != 1:
        raise InputError(
            f"clone_training.temperature is {clone_training.temperature}, but {attack}'s generator maximises the "
            "distance without one; set it to 1"
        )


def check_batches(batch_size: int, replay: ReplaySettings) -> None:
    """Looks at the size of a batch.

    Raises:
        InputError: It is not positive, or the replay cannot hold one.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1")
    if replay.batches and replay.size < batch_size:
        raise InputError(
            f"replay.size {replay.size:,} is below batch_size {batch_size:,}; raise it or set replay.batches to 0"
        )


def check_stream(trainer: Trainer, has_generator: bool, batch_size: int) -> None:
    """Looks whether the data fit the attack, and processes can share a batch equally.

    Raises:
        InputError: The attack would not use a pool, or they cannot.
    """
    world_size = trainer.world_size
    if has_generator and isinstance(getattr(trainer, "datamodule", None), PoolStream):
        raise InputError(
            "the attack generates its queries and would not use the pool; set data.class_path to GeneratorStream"
        )
    if batch_size % world_size:
        raise InputError(
            f"batch_size {batch_size} does not divide over {world_size} processes; "
            "choose a multiple or another number of devices"
        )


def warn_of_shared_classes(data: object) -> None:
    """Warns when a pool of proxy images shares classes with the victim's data: they should be unrelated."""
    shared = shared_class_names(data.pool.classes, data.test_set.classes) if isinstance(data, PoolStream) else []
    if shared:
        rank_zero_warn(
            f"the proxy images share {len(shared)} classes with the victim's data ({', '.join(shared[:5])}); "
            "leave them out with data.pool_classes, or report that they are in"
        )
