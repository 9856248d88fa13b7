"""Small folders of images for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bird", "cat")


def write_image_folder(folder: Path, per_class: int = 6, size: int = 8, channels: int = 3, seed: int = 0) -> Path:
    """Writes train/ and test/ trees whose two classes are dark and bright noise; returns the folder."""
    random = np.random.default_rng(seed)
    for split in ("train", "test"):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for position in range(per_class):
                shape = (size, size, 3) if channels == 3 else (size, size)
                pixels = random.integers(0, 128, shape) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{position:03d}.png")
    return folder
