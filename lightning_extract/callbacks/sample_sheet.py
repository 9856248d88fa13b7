"""What an attack's generator makes, as a picture."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from lightning_extract.attacks.data_free import DataFreeAttack

ROWS = COLUMNS = 8
# The same latent vectors in every sheet, so that sheets show the generator's way and not the draw's.
LATENT_SEED = 0

# In pixels of the sheet. Images are enlarged by a whole factor and so keep their own pixels; larger ones are reduced.
DOTS_PER_INCH = 100
TILE = 96
GAP = 8
LABEL = 14
TITLE = 34
LABEL_POINTS, TITLE_POINTS = 8, 10
LONGEST_LABEL, LONGEST_EXPERIMENT = 15, 48  # characters


class SampleSheet(Callback):
    """Writes ``samples/<stage>.png`` when a stage ends and ``samples/end.png`` for an attack without stages.

    A sheet shows 64 generated images, normalised by running statistics, each above the victim's label. The labels
    come through the free door; nothing is charged and nothing of the run changes.

    Args:
        experiment: Name in the sheets' titles.
    """

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws what the generator makes at the end of a stage."""
        assert isinstance(pl_module, DataFreeAttack)
        if pl_module.stage_ended and trainer.is_global_zero:
            self.draw(trainer, pl_module, pl_module.stage_ended)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what the generator makes at the end."""
        assert isinstance(pl_module, DataFreeAttack)
        if not pl_module.work.title and trainer.is_global_zero:
            self.draw(trainer, pl_module, "end")

    def draw(self, trainer: Trainer, attack: DataFreeAttack, name: str) -> None:
        """Writes the sheet of an attack as it stands; a disk that refuses it does not end the run."""
        images = generated(attack, ROWS * COLUMNS)
        labels = attack.oracle.reference(images).argmax(dim=1).tolist()
        names = class_names(trainer, attack.num_classes)
        figure = sheet(images, [names[label] for label in labels], self._title(attack, labels, names))
        path = Path(trainer.default_root_dir) / "samples" / f"{name}.png"
        partial = path.with_name(f"{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not savefig, which follows the user's matplotlibrc.
            FigureCanvasAgg(figure).print_png(partial, metadata={"Software": None})  # type: ignore[no-untyped-call]
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            rank_zero_warn(f"{path} was not written ({error}); the run goes on without it")

    def _title(self, attack: DataFreeAttack, labels: list[int], names: Sequence[str]) -> str:
        most_frequent, count = Counter(labels).most_common(1)[0]
        parts = (
            _shortened(self.experiment, LONGEST_EXPERIMENT),
            attack.stage_ended,
            f"{attack.ledger.spent:,} queries",
            f"{len(set(labels))} of {attack.num_classes} classes",
            f"most often {names[most_frequent]} ({count} of {len(labels)})",
        )
        return "  ·  ".join(filter(None, parts))


def class_names(trainer: Trainer, num_classes: int) -> Sequence[str]:
    """The victim's classes as the test set names them, or their numbers."""
    test_set = getattr(getattr(trainer, "datamodule", None), "test_set", None)
    names = [_shortened(name, LONGEST_LABEL) for name in getattr(test_set, "classes", ())]
    return names if len(names) == num_classes else [str(number) for number in range(num_classes)]


@torch.no_grad()
def generated(attack: DataFreeAttack, count: int) -> Tensor:
    """Images of the generator in the input space, ``(count, C, H, W)``; leaves attack and random states as they are."""
    latents = torch.randn(count, attack.latent_dim, generator=torch.Generator().manual_seed(LATENT_SEED))
    with _evaluated(attack.generator):
        images: Tensor = attack.generator(latents.to(attack.device).to(attack.dtype))
    return images


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards each part is in its own mode again."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def sheet(images: Tensor, labels: Sequence[str], title: str) -> Figure:
    """A figure of images ``(N, C, H, W)`` in [-1, 1] in rows of eight, each above its label, and a title above all."""
    images = adaptive_avg_pool2d(images.float(), min(images.shape[-1], TILE))
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)
    factor = -(-TILE // images.shape[-1])
    tiles = pixels.permute(0, 2, 3, 1).cpu().numpy().repeat(factor, axis=1).repeat(factor, axis=2)
    side = tiles.shape[1]
    rows = -(-len(tiles) // COLUMNS)
    width, height = GAP + COLUMNS * (side + GAP), TITLE + rows * (side + LABEL + GAP)
    canvas: npt.NDArray[np.uint8] = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH, facecolor="white")
    for position, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        row, column = divmod(position, COLUMNS)
        left, top = GAP + column * (side + GAP), TITLE + row * (side + LABEL + GAP)
        canvas[top : top + side, left : left + side] = tile
        place = (left + side / 2) / width, 1 - (top + side + 4) / height
        _write(figure, *place, label, LABEL_POINTS, horizontalalignment="center", verticalalignment="top")
    _write(figure, GAP / width, 1 - TITLE / 2 / height, title, TITLE_POINTS, verticalalignment="center")
    figure.figimage(canvas, origin="upper")
    return figure


def _write(figure: Figure, x: float, y: float, text: str, size: float, **alignment: Any) -> None:
    # Class names are no formulas, whatever dollar signs are in them.
    figure.text(x, y, text, fontsize=size, fontfamily="DejaVu Sans", color="black", parse_math=False, **alignment)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
