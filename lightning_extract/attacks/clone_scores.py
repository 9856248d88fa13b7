"""How good the evaluated models are, over one evaluation."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_extract.metrics import CloneQuality


class CloneScores(nn.Module):
    """The quality of the victim and of each evaluated model over a data set.

    Args:
        models: Names of the evaluated models, the extracted model first.
    """

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__()
        self._victim, self._headline = CloneQuality(), models[0]
        self._models = nn.ModuleDict({name: CloneQuality() for name in models})

    @property
    def qualities(self) -> dict[str, CloneQuality]:
        """The quality of each evaluated model, by name."""
        return {name: quality for name, quality in self._models.items() if isinstance(quality, CloneQuality)}

    def update(self, victim: Tensor, models: Sequence[Tensor], labels: Tensor) -> None:
        """Adds a batch: probabilities ``(B, K)`` of the victim and of every model, labels ``(B,)``."""
        self._victim.update(victim, victim, labels)
        for quality, probabilities in zip(self.qualities.values(), models, strict=True):
            quality.update(probabilities, victim, labels)

    def compute(self) -> tuple[float, dict[str, Tensor]]:
        """The victim's accuracy, and the models' numbers as one row; starts anew."""
        accuracy = float(self._victim.compute()["accuracy"])
        row: dict[str, Tensor] = {}
        for model, quality in self.qualities.items():
            suffix = "" if model == self._headline else f"_{model}"
            row |= {f"{name}{suffix}": value for name, value in quality.compute().items()}
            quality.reset()
        self._victim.reset()
        return accuracy, row
