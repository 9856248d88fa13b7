"""The seed of the run."""

import os


def run_seed() -> int:
    """What ``seed_everything`` recorded for this run and its worker processes; 0 without it."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
