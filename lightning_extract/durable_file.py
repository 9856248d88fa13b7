"""Files that are there whole or not at all, whatever ends the process or fills the disk."""

import os
from itertools import takewhile
from pathlib import Path


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Puts a file in the place of another at once: written beside it, on disk, then renamed.

    Args:
        path: The file; its folder is made when it is not there.
        content: All of it.

    Raises:
        OSError: The disk does not take it; it names the file, and what stood at ``path`` is as before.
    """
    partial = path.with_name(f"{path.name}.partial")
    new_folders = list(takewhile(lambda folder: not folder.exists(), path.parents))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        for changed in (path, *new_folders):
            _sync_folder(changed.parent)  # else a power cut could take the new name away
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
