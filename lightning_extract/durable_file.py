"""Files that are there whole or not at all, whatever ends the process or fills the disk."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Puts a file in the place of another at once: written beside it, on disk, then renamed.

    Args:
        path: The file; its folder exists.
        content: All of it.

    Raises:
        OSError: The disk does not take it; it names the file, and what stood at ``path`` is as before.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut could take the new name away
        finally:
            os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
