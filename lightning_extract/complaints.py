"""What the program says to people: errors and warnings of one line, from one process."""

import errno
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from lightning_extract.errors import InputError
from lightning_extract.oracle import QueryBudgetExceeded

# The first process needs about a second to end; Lightning looks after the others every five.
SECONDS_FOR_THE_FIRST_PROCESS = 12.0
LAUNCHER = os.getppid()

NO_CONCERN = (
    ".*does not have many workers.*",  # the images lie in memory
    ".*is smaller than the logging interval.*",
    ".*`srun` command is available on your system.*",  # one process needs no srun, on a login node least of all
    ".*callbacks used to create the checkpoint need to be provided.*",  # evaluation needs none of them
    ".*Couldn't infer the batch indices.*",  # the predictions are written in order
    ".*exists and is not empty.*",  # the folder of a run that is continued
    ".*isinstance.treespec, LeafSpec.*",
    ".*It is recommended to use `self.log.*",  # what is logged is computed over all processes
    ".*torch.distributed.nn.functional.all_gather is deprecated.*",  # by a private successor
)

# What a disk says, and what helps; everything else that goes wrong with a file is a mistake of ours.
FULL = "free some space and give the same command again: a run continues from its last checkpoint"
CLOSED = "permit it to this user, or choose another place"
LIMITED = "raise the limit of a file's size (ulimit -f) and give the same command again"
BROKEN = "look after the disk and give the same command again: a run continues from its last checkpoint"
OF_THE_DISK = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: CLOSED,
    errno.EACCES: CLOSED,
    errno.EFBIG: LIMITED,
    errno.EIO: BROKEN,
    errno.ESTALE: BROKEN,
}


class ProcessEnded(Exception):
    """Another process of the run has ended, or does not answer."""


TO_THE_USER = InputError, ProcessEnded, QueryBudgetExceeded, MisconfigurationException


def quieten() -> None:
    """Drops Lightning's hints that do not fit here, and shows warnings as one line above the progress bar."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Why Lightning kills processes that wait for one that has failed to start.
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    for message in NO_CONCERN:
        warnings.filterwarnings("ignore", message=message)
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *details: object, **more: object) -> None:
    tqdm.write(f"lightning-extract: warning: {str(message).strip()}", file=sys.stderr)


def end_with(error: Exception) -> NoReturn:
    """Ends the process: with the message behind the error when it is one to the user, else with the error itself."""
    if getattr(rank_zero_only, "rank", 0) and _first_process_ends():
        sys.exit(2)
    if find_complaint(error) is None:
        raise error
    sys.exit(say(error))


def say(error: Exception) -> int:
    """Prints the message behind an error when it is one to the user, else the error itself; the exit code."""
    complaint = find_complaint(error)
    if complaint is None:
        traceback.print_exception(error)
        return 1
    lines = str(complaint) if isinstance(complaint, InputError) else " ".join(str(complaint).split())
    if isinstance(complaint, OSError):
        lines = f"{complaint.filename}: {complaint.strerror}; {OF_THE_DISK[complaint.errno or 0]}"
    print(f"lightning-extract: error: {lines}", file=sys.stderr)
    return 1 if isinstance(complaint, ProcessEnded) else 2


def how_to_go_on(run_dir: Path) -> str:
    """What the same command does after a run has ended early."""
    if any((run_dir / "checkpoints").glob("*.ckpt")):
        return "the same command continues from the last checkpoint"
    return "the same command starts again, there is no checkpoint yet"


def say_stopped(run_dir: Path) -> None:
    """Says that a run was stopped, as by SIGTERM."""
    print(f"\nstopped; {how_to_go_on(run_dir)}", file=sys.stderr)


def find_complaint(error: BaseException | None) -> BaseException | None:
    """The message to the user behind an exception: jsonargparse and Lightning wrap what a constructor raises."""
    while error is not None and not isinstance(error, TO_THE_USER):
        if isinstance(error, OSError) and error.errno in OF_THE_DISK and error.filename is not None:
            return error
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def naming_the_file(folder: Path) -> Iterator[None]:
    """Names the file in a complaint of the disk, which knows it only when a file is opened and not when it is written.

    Args:
        folder: Where the files are written, each as ``*.partial`` before it takes its name.
    """
    try:
        yield
    except OSError as error:
        if error.errno in OF_THE_DISK and error.filename is None:
            partial = sorted(folder.rglob("*.partial"), key=lambda path: path.stat().st_mtime)
            error.filename = str(partial[-1] if partial else folder)
        raise


def _first_process_ends() -> bool:
    """Whether the process that launched this one ends soon: then it has the same complaint, or caused this one."""
    deadline = time.monotonic() + SECONDS_FOR_THE_FIRST_PROCESS
    while time.monotonic() < deadline:
        if os.getppid() != LAUNCHER:
            return True
        time.sleep(0.1)
    return False
