"""Checks of a pool attack, made before the first query."""

from lightning.pytorch import Trainer

from lightning_extract.attacks.checks import refuse_unused
from lightning_extract.attacks.rounds import Selection
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.data.pool_stream import PoolStream
from lightning_extract.data.pools import ImagePool
from lightning_extract.data.sentence_pool import SentencePool
from lightning_extract.data.sentence_stream import SentenceStream
from lightning_extract.data.shape_pool import ShapePool
from lightning_extract.data.thief_pool import ThiefPool
from lightning_extract.errors import InputError
from lightning_extract.victims.card import Medium


def check_settings(
    threat_model: ThreatModel, clone_training: CloneTraining, selection: Selection, batch_size: int
) -> None:
    """Refuses what rounds on a pool cannot use.

    Raises:
        InputError: A setting is one of these.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1")
    if threat_model.num_classes == "unknown":
        raise InputError(
            "num_classes is unknown, but ActiveThief's strategies compare all classes; give the number, or use "
            "SurrogateDistillation"
        )
    if threat_model.input_space != "pre_transform":
        raise InputError("a pool holds raw samples, not normalised data; set threat_model.input_space to pre_transform")
    if threat_model.medium == "text" and "adversarial" in selection.strategies:
        raise InputError(
            "selection.strategies has adversarial, but DeepFool moves pixels, which sentences have not; for text use "
            "random, uncertainty or kcenter"
        )
    refuse_unused(
        "ActiveThief",
        clone_training,
        ("steps", 1, "an iteration is an epoch over all bought answers"),
        ("heldout_every", 0, "samples to validate by are bought, see rounds.validation_share"),
        ("start_from", (), "every round starts from the same random weights"),
    )


def check_purchases(budget: int, validation: int, seed: int, selected: list[int], world_size: int) -> None:
    """Looks whether every purchase has a sample for each process.

    Args:
        budget: The query budget.
        validation: Samples to validate by.
        seed: Samples of the first training.
        selected: Samples of each round.
        world_size: Number of processes.

    Raises:
        InputError: One has not.
    """
    if min(validation, seed, *selected) < world_size:
        raise InputError(
            f"the budget of {budget:,} queries does not pay the {len(selected)} rounds of rounds.count: it buys "
            f"{validation:,} samples to validate by, {seed:,} to start with and {min(selected, default=0):,} a round, "
            f"for {world_size} process{'es' * (world_size > 1)}; raise query_budget or lower rounds.count"
        )


def check_selection(selection: Selection, survivors: int, selected: list[int], unbought: int) -> None:
    """Looks whether every strategy has something to choose, in every round.

    Args:
        selection: The strategies.
        survivors: What each but the last hands on.
        selected: Samples that each round buys.
        unbought: Samples to train on that are left before the last round.

    Raises:
        InputError: One keeps all, or only what is bought.
    """
    most, measured = max(selected, default=0), selection.deepfool.candidates
    if most and "adversarial" in selection.strategies and measured is not None and measured <= most:
        raise InputError(
            f"selection.deepfool.candidates is {measured:,}, but a round buys {most:,}, so that nothing is chosen by a "
            "distance; raise it"
        )
    if not most or len(selection.strategies) == 1:
        return
    among = unbought
    if measured is not None and "adversarial" in selection.strategies[:-1]:
        among = min(unbought, measured)
    if not most < survivors < among:
        raise InputError(
            f"selection.survivors is {survivors:,}, which is the query budget when not given, but {among:,} samples "
            f"are left to choose among or measured, of which a round buys {most:,}; set it between these"
        )


def check_pool(trainer: Trainer, medium: Medium) -> ThiefPool:
    """The thief pool, if the data have a finite one of the right medium.

    Raises:
        InputError: They have not, or evaluations would miss the ends of rounds.
    """
    data = getattr(trainer, "datamodule", None)
    wanted = PoolStream if medium == "images" else SentenceStream
    if not isinstance(data, wanted):
        raise InputError(
            f"ActiveThief with medium {medium} selects from a pool; set data.class_path to {wanted.__name__}"
        )
    if not isinstance(data.pool, ImagePool | SentencePool | ShapePool):
        raise InputError(
            f"pool {data.pool_name!r} is endless, which leaves nothing to choose among; set data.pool_limit, in the "
            "paper 100,000"
        )
    if trainer.check_val_every_n_epoch != 1:
        raise InputError(
            f"trainer.check_val_every_n_epoch is {trainer.check_val_every_n_epoch}, which misses the ends of rounds; "
            "set it to 1, and data.iterations_per_epoch to the epochs between two evaluations"
        )
    return data.pool
