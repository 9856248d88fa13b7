"""A run that is killed again and again at random moments, and what must be true of it."""

import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.kills.life import EVENTS, PRINTED, RUN, batches_asked, live
from tests.state import assert_same_state, final_state

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
SIGTERM_IN_FIT = 143
# What a life that was killed did beside the run: seconds, evaluations that came again, answers from the store.
OF_THE_LIVES = ("reference", "from_store")
OF_THE_CLOCK = ("wall_time_seconds", "queries_per_second")
SLOW_START, SHORT_WAIT = 1.0, 0.1  # seconds


@dataclass
class Death:
    """How a life ended: the signal, seconds since its start, and the last thing that it did before."""

    blow: signal.Signals
    seconds: float
    phase: str


@dataclass
class Survivor:
    """A run in a folder of its own, which is killed and started again.

    Args:
        folder: Where it works; ``run`` in there is the run folder.
        arguments: The command line.
        server: Where processes are forked from.
        rng: Draws signals and moments.
    """

    folder: Path
    arguments: list[str]
    server: Any
    rng: random.Random
    deaths: list[Death] = field(default_factory=list)
    starts: int = 0
    asked_twice: int = 0
    _seen: set[str] = field(default_factory=set)
    _lost: set[str] = field(default_factory=set)

    def run_to_its_end(self) -> None:
        """A life that nobody ends."""
        code, _, _ = self._live(signal.SIGKILL)
        assert code == 0, (self.folder / PRINTED).read_text()[-3000:]

    def kill(self, whole: "Survivor", times: int, signals: tuple[signal.Signals, ...] = SIGNALS) -> None:
        """Starts it and kills it until that has succeeded so often, at moments of a whole run's life.

        One half of the kills comes from outside some time after a random event, or before the first; the other half
        comes at the event itself. Where the run has finished before, the next life begins with a finished run.
        """
        events = len(whole._events())
        lives = 0
        while len(self.deaths) < times:
            lives += 1
            assert lives <= 4 * times, f"only {len(self.deaths)} of {times} signals hit"
            blow, outside = self.rng.choice(signals), self.rng.random() < 0.5
            left = max(12, int(events * (1 - self._progress(whole))))
            event = 0 if outside and self.rng.random() < 0.2 else self.rng.randint(1, left)
            code, seconds, phase = self._live(blow, event, outside)
            if code == 0:
                continue
            allowed = {-blow, SIGTERM_IN_FIT} if blow == signal.SIGTERM else {-blow}
            printed = (self.folder / PRINTED).read_text() if (self.folder / PRINTED).exists() else ""
            assert code in allowed, f"exit code {code} after {blow.name}\n{printed[-3000:]}"
            assert "Traceback" not in printed, printed[-3000:]
            assert printed.count("stopped; the same command") == (code == SIGTERM_IN_FIT)
            self.deaths.append(Death(blow, seconds, phase))
            self._check_what_is_left()

    def kill_at_each_operation(self, whole: "Survivor") -> None:
        """Kills each life at the first operation at which none was killed before, until there is no other."""
        operations = set(whole._events())
        struck: list[str] = []
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            code, seconds, phase = self._live(signal.SIGKILL, struck)
            struck.append(phase)
            self.deaths.append(Death(signal.SIGKILL, seconds, phase))
            self._check_what_is_left()
        assert code == 0, f"exit code {code}\n{(self.folder / PRINTED).read_text()[-3000:]}"
        self.deaths.pop()
        # What makes the folder and its first files is done once.
        assert len(operations.intersection(struck)) > 0.85 * len(operations), operations.difference(struck)

    def _live(
        self, blow: signal.Signals, event: int | list[str] | None = None, outside: bool = False
    ) -> tuple[int, float, str]:
        """One life; its exit code, its seconds until the signal, and its last event before that."""
        self.starts += 1
        for path in (EVENTS, PRINTED):
            (self.folder / path).unlink(missing_ok=True)
        seed, inside = self.rng.randrange(2**31), None if outside else event
        wait = self.rng.uniform(0, SHORT_WAIT if event else SLOW_START)
        process = self.server.Process(target=live, args=(self.folder, self.arguments, seed, inside, int(blow)))
        begin = time.monotonic()
        process.start()
        if outside and isinstance(event, int):
            while process.is_alive() and len(self._events()) < event:
                time.sleep(0.002)
            process.join(wait)
            before, seconds = self._events(), time.monotonic() - begin
            if process.is_alive():
                os.kill(process.pid, blow)
            process.join(120)
        else:
            process.join(120)
            before, seconds = self._events(), time.monotonic() - begin
            before = before[:event] if isinstance(event, int) else before
        assert process.exitcode is not None, "it lives on"
        self._account_for(process.pid)
        return int(process.exitcode), seconds, (before or ["start"])[-1]

    def _events(self) -> list[str]:
        path = self.folder / EVENTS
        return path.read_text().splitlines() if path.exists() else []

    def _progress(self, whole: "Survivor") -> float:
        """Share of the evaluations that stand in the table."""
        tables = [run.folder / RUN / "metrics.csv" for run in (self, whole)]
        mine, all_rows = (len(table.read_text().splitlines()) if table.exists() else 0 for table in tables)
        return mine / all_rows

    def _account_for(self, pid: int) -> None:
        """Counts what this life asked again: at most what an earlier one had asked when its answer was not yet kept."""
        batches = list(batches_asked(pid, self.folder))
        digests = [digest for batch in batches for digest in batch]
        again = self._seen.intersection(digests)
        if "--keep_answers" in self.arguments:
            assert len(set(digests)) == len(digests), "one life asked twice"
            assert again <= self._lost, f"{len(again - self._lost)} samples were asked again, whose answers were kept"
        self.asked_twice += len(again)
        self._seen.update(digests)
        self._lost -= again
        of_the_store = [event for event in self._events() if event.startswith(("ask ", "fsynced rank_"))]
        if batches and of_the_store[-1].startswith("ask "):
            self._lost.update(batches[-1])

    def _check_what_is_left(self) -> None:
        """Whatever the moment: whole files under their names, and an account within the budget."""
        run = self.folder / RUN
        if (path := run / "checkpoints" / "last.ckpt").exists():
            ledger = torch.load(path, weights_only=True)["attack"]["ledger"]
            assert sum(ledger["by_phase"].values()) <= ledger["budget"]
        if (path := run / "summary.json").exists():
            queries = json.loads(path.read_text())["queries"]
            assert queries["spent"] <= queries["budget"]
        for path in run.rglob("*.safetensors"):
            load_file(path)

    def assert_equals(self, whole: "Survivor") -> None:
        """Compares all that the two runs have left."""
        mine, its = self.folder / RUN, whole.folder / RUN
        names = [sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()) for run in (mine, its)]
        assert names[0] == names[1]
        assert_same_state(final_state(mine), final_state(its))
        assert _numbers(mine) == _numbers(its)
        for name in names[0]:
            if not name.endswith(".ckpt") and name != "summary.json":
                assert (mine / name).read_bytes() == (its / name).read_bytes(), name

    def row(self, name: str, equal: str) -> str:
        """A line of the table of figures."""
        moments = "; ".join(f"{death.seconds:.1f} s {death.phase}" for death in self.deaths)
        counts = [sum(death.blow == blow for death in self.deaths) for blow in SIGNALS]
        figures = [
            name,
            "/".join(map(str, counts)),
            moments,
            len(self.deaths),
            self.starts - 1,
            self.asked_twice,
            equal,
        ]
        return f"| {' | '.join(map(str, figures))} |"


def _numbers(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    for name in OF_THE_CLOCK:
        del summary[name]
    for name in OF_THE_LIVES:
        del summary["queries"][name]
    return summary
