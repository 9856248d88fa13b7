"""Progress bars, for terminals and for log files."""

import sys
from typing import Any

from tqdm import tqdm

# A terminal is redrawn ten times a second; a log file gets one line in half a minute.
SECONDS_BETWEEN_UPDATES, SECONDS_BETWEEN_UPDATES_IN_LOGS = 0.1, 30.0


def open_bar(
    total: int,
    title: str,
    unit: str,
    show: bool = True,
    initial: int = 0,
    postfix: str = "",
    leave: bool = True,
    delay: float = 0.0,
) -> "tqdm[Any]":
    """A bar on stderr.

    Args:
        total: What is to be done.
        title: What stands in front.
        unit: What is counted, as it stands behind a number: " queries".
        show: Whether it is drawn; only one process does.
        initial: What is done already.
        postfix: What stands behind.
        leave: Whether it stays on the screen when it is closed.
        delay: Seconds before it is drawn, so that short work shows none.
    """
    interval = SECONDS_BETWEEN_UPDATES if sys.stderr.isatty() else SECONDS_BETWEEN_UPDATES_IN_LOGS
    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        disable=not show,
        initial=initial,
        postfix=postfix,
        leave=leave,
        delay=delay,
        dynamic_ncols=True,
        mininterval=interval,
        maxinterval=max(10.0, interval),  # tqdm's own 10 s would redraw log files more often
    )
