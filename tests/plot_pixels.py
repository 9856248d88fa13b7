"""What a plot shows, judged by the colours of its pixels."""

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

GREY = to_rgb("0.45")


def pixels_of(path: Path, colour: str | tuple[float, float, float]) -> int:
    """How many pixels of an image have a colour, to the rounding of 8 bits."""
    return int((np.abs(imread(path)[..., :3] - np.array(to_rgb(colour))).max(axis=-1) < 0.004).sum())
