"""One process at a time works in a run folder."""

import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_extract.errors import InputError

# What a file system says that knows no locks.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds ``run.lock`` in a run folder, which says who does; the system frees it when the process is killed.

    Args:
        folder: The run folder; made when it is not there.

    Raises:
        InputError: Another process holds it, or the folder cannot be made.
    """
    path = folder / "run.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path)
    except OSError as error:
        use = "written" if folder.is_dir() else "made"
        raise InputError(f"run folder {folder} cannot be {use} ({error.strerror}); choose another --run_dir") from error
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on host {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _open_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 1000, 0).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise InputError(
                f"run folder {path.parent} is in use by {holder}; wait, stop it, or choose another --run_dir"
            ) from error
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            warnings.warn(f"{path.parent} lies on a disk without locks; start no other process there", stacklevel=2)
        # Its last holder removes the file: the lock counts only on the one that bears the name.
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)
