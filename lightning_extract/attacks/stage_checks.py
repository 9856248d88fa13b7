"""Checks of an attack in stages, made before the first query."""

from lightning_extract.attacks.checks import refuse_unused
from lightning_extract.attacks.settings import CloneTraining
from lightning_extract.attacks.stage_run import StageRun
from lightning_extract.attacks.stages import CloneStage
from lightning_extract.attacks.threat_model import ThreatModel
from lightning_extract.errors import InputError


def check_clone_settings(threat_model: ThreatModel, clone_training: CloneTraining) -> None:
    """Refuses settings of other attacks that stages would ignore.

    Raises:
        InputError: One of them is set.
    """
    if threat_model.num_classes == "unknown":
        raise InputError(
            "num_classes is unknown, but DFMS's generator covers the classes that it knows; give the number, or use "
            "DualStudents or DisGUIDE"
        )
    if threat_model.input_space != "pre_transform":
        raise InputError(
            "DFMS mixes generated with proxy images, not with normalised data; set threat_model.input_space to "
            "pre_transform"
        )
    refuse_unused(
        "DFMS",
        clone_training,
        ("steps", 1, "an alternating iteration trains the clone once"),
        ("heldout_every", 0, "clone stages buy images to select by, see their validation_size"),
        ("start_from", (), "stages of another run are taken over by stages.earlier"),
    )


def check_stages(stages: StageRun, world_size: int) -> None:
    """Looks whether every stage has proxy images where it needs them, and batches that processes can share.

    Args:
        stages: The stages, planned.
        world_size: Number of processes.

    Raises:
        InputError: One has not.
    """
    if not stages.stages:
        raise InputError("every stage has 0 iterations or epochs, which leaves nothing to do; give some to one")
    for stage in stages.stages:
        settings = stages.settings[stage.name]
        wants = settings.proxy_ratio if isinstance(settings, CloneStage) else settings.trains("discriminator")
        if wants and not stages.proxy_images:
            cure = "proxy_ratio" if isinstance(settings, CloneStage) else "iterations or adversarial_weight"
            raise InputError(
                f"stage {stage.name} needs proxy images, and the data have none, or endless noise; set data.class_path "
                f"to PoolStream with a pool of images, or the stage's {cure} to 0"
            )
    for name, bought in stages.sets.items():
        whole = bought.mixture.proxy_batch + bought.mixture.generated_batch
        sizes = {"a training batch": whole, "the validation images": bought.validation.size}
        sizes |= {"proxy images": bought.mixture.proxy, "generated images": bought.mixture.generated}
        sizes |= {"the last training batch": bought.mixture.last_batch} if bought.purchases else {}
        for what, size in sizes.items():
            if size % world_size:
                raise InputError(
                    f"{name}: {what} ({size:,}) cannot be split over {world_size} processes; change the stage's "
                    "set_size, ratios, batch_size or validation_size, or the number of devices"
                )
