"""Kill a run at any moment and give the same command again: nothing shows it.

``pytest -m slow -s tests/kills`` prints what was done; ``KILLS_SEED`` repeats it, but for a kill from outside only
nearly.
"""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kills.life import start_server
from tests.kills.survival import Survivor
from tests.miniature import CONF
from tests.text_miniature import write_config, write_files

SEED = int(os.environ.get("KILLS_SEED", random.SystemRandom().randrange(10**6)))
KILLS = 4
HARD = ("--model.threat_model.access", "hard")
KEEP = ("--keep_answers", "true")
CASES: dict[str, tuple[str, ...]] = {
    "DFME": (f"{CONF}/dfme.yaml",),
    "MAZE": (f"{CONF}/maze.yaml", *KEEP),
    "DFMS soft": (f"{CONF}/dfms.yaml", *KEEP),
    "DFMS hard": (f"{CONF}/dfms.yaml", *HARD),
    "Dual Students soft": (f"{CONF}/dual_students.yaml",),
    "Dual Students hard": (f"{CONF}/dual_students.yaml", *HARD, *KEEP),
    "DisGUIDE soft": (f"{CONF}/disguide.yaml",),
    "DisGUIDE hard": (f"{CONF}/disguide.yaml", *HARD, *KEEP),
    "ActiveThief soft": (f"{CONF}/active_thief.yaml", *KEEP),
    "ActiveThief hard": (f"{CONF}/active_thief.yaml", *HARD),
    "ActiveThief text hard": ("text.yaml", *KEEP),
    "ActiveThief text soft": ("text.yaml", "--model.threat_model.access", "soft"),
    "SurrogateDistillation soft": (f"{CONF}/surrogate_distillation.yaml",),
    "SurrogateDistillation hard": (f"{CONF}/surrogate_distillation.yaml", *HARD, *KEEP),
}
TABLE: list[str] = []


@pytest.fixture(scope="module")
def server() -> Any:
    """Forks the lives of this module's runs."""
    return start_server()


@pytest.fixture(scope="module")
def table() -> Iterator[None]:
    """Prints the figures when all cases have run."""
    yield
    head = "| attack | KILL/TERM/USR1 | moments: the last event before each | kills | resumes | asked twice | equal |"
    print(f"\nseed {SEED}\n{head}\n|---|---|---|---|---|---|---|", *TABLE, sep="\n")


def survive(name: str, server: Any, kill: Callable[[Survivor, Survivor], None]) -> None:
    """An uninterrupted run, a run that is killed, and their comparison."""
    print(f"{name}: KILLS_SEED={SEED}")
    rng = random.Random(f"{SEED} {name}")
    config, *options = CASES[name]
    arguments = ["fit", "--config", config, "--run_dir", "run", *options]
    whole, killed = (Survivor(Path(folder).absolute(), arguments, server, rng) for folder in ("whole", "killed"))
    for run in (whole, killed):
        run.folder.mkdir()
        if config == "text.yaml":
            with pytest.MonkeyPatch.context() as there:
                there.chdir(run.folder)
                write_files()
                write_config()
    whole.run_to_its_end()
    kill(killed, whole)
    killed.run_to_its_end()
    equal = "no"
    try:
        killed.assert_equals(whole)
        equal = "yes"
    finally:
        TABLE.append(killed.row(name, equal))
        print(TABLE[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_run_that_is_killed_again_and_again(name: str, server: Any, table: None) -> None:
    survive(name, server, lambda killed, whole: killed.kill(whole, KILLS))


@pytest.mark.slow
# Answers kept and asked again; with replay, with stages, with rounds.
@pytest.mark.parametrize("name", ["MAZE", "DFMS hard", "ActiveThief hard"])
def test_a_run_that_is_killed_at_each_operation(name: str, server: Any, table: None) -> None:
    survive(name, server, Survivor.kill_at_each_operation)


def test_two_kills(server: Any) -> None:
    survive("DisGUIDE hard", server, lambda killed, whole: killed.kill(whole, 2, (signal.SIGKILL,)))
