"""Runs of one experiment, which differ in the seed alone."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from lightning_extract.errors import InputError
from lightning_extract.reports.collect import Run, flatten

# What may differ between seeds: the seed, where files lie, and what the run is computed or shown on. Anything
# else is another experiment. The victim is compared by the hash of its weights: its folder may lie elsewhere.
# fmt: off
MAY_DIFFER = (
    "seed_everything", "run_dir", "ckpt_path", "checkpoint_every", "process_timeout",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.plugins",
    "trainer.logger", "trainer.log_every_n_steps", "trainer.default_root_dir", "trainer.enable_checkpointing",
    "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.profiler", "trainer.benchmark", "trainer.deterministic",
    "model.init_args.threat_model.victim", "model.init_args.replay.device",
    "model.init_args.clone_training.start_from",  # each seed may go on from its own run, but all or none of them
    "model.init_args.stages.earlier.run", "model.init_args.selection.deepfool.batch_size",
    "gradient_quality",
    "data.init_args.root", "data.init_args.pool_root", "data.init_args.download", "data.init_args.eval_batch_size",
    "data.init_args.pool_cache", "data.init_args.shapes.cache",
)
# fmt: on
ABSENT = "absent"


def group_runs(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Groups runs by experiment, sorted by name and seed, and refuses a group that is not one experiment.

    Raises:
        InputError: Configs or victims of a group differ, or a seed occurs twice.
    """
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.experiment, run.seed, run.folder)):
        groups.setdefault(run.experiment, []).append(run)
    for group in groups.values():
        for run in group[1:]:
            _refuse_difference(group[0], run)
        for first, second in pairwise(group):
            if first.seed == second.seed:
                raise InputError(
                    f'experiment "{first.experiment}" has seed {first.seed} in {first.folder} and in '
                    f"{second.folder}; a seed counts once, so leave one of them out"
                )
    return groups


def _refuse_difference(first: Run, second: Run) -> None:
    one, other = _identity(first), _identity(second)
    for key in sorted(one.keys() | other.keys()):
        here, there = one.get(key, ABSENT), other.get(key, ABSENT)
        if here != there:
            raise InputError(
                f'experiment "{first.experiment}" mixes experiments: {key} is {here} in {first.folder} and '
                f"{there} in {second.folder}; report them apart or name their configs differently"
            )


def _identity(run: Run) -> dict[str, Any]:
    identity = dict(flatten(run.config)) | {
        "victim.weights_sha256": run.summary["victim"]["weights_sha256"],
        "the clones' start": "clones of other runs" if run.summary.get("start_from") else "random weights",
    }
    return {key: value for key, value in identity.items() if not any(_lies_in(key, branch) for branch in MAY_DIFFER)}


def _lies_in(key: str, branch: str) -> bool:
    return key == branch or key.startswith(f"{branch}.")
