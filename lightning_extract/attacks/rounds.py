"""Settings of pool attacks: what is bought when, how a round trains and selects, and what clones of texts read."""

from dataclasses import dataclass, field

from lightning_extract.errors import InputError
from lightning_extract.selection import DeepFool, StrategyName


@dataclass(frozen=True)
class Rounds:
    """How the budget is spent.

    Args:
        count: Purchases that a strategy selects, N in the paper: 10, section 4 and Table 4; 0 spends everything at once
            on random samples and trains a single time, the paper's random strategy.
        seed_share: Share of the budget for random samples before the first training; 0.1 is the paper's k0.
        validation_share: Share of the budget for random samples to validate by; 0.2 is the paper's eta.
        validation_pool: Share of the pool that validation samples are drawn from, and no others; 50,000 of 150,000
            images and 10,000 of 99,000 sentences in the paper's Table 2.
    """

    count: int = 10
    seed_share: float = 0.1
    validation_share: float = 0.2
    validation_pool: float = 1 / 3

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"rounds.count is {self.count}; give 0 for a single training, or more")
        for name in ("seed_share", "validation_share", "validation_pool"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"rounds.{name} is {getattr(self, name)}; give a share between 0 and 1")
        if self.seed_share + self.validation_share >= 1:
            raise InputError(
                f"rounds.seed_share {self.seed_share} and rounds.validation_share {self.validation_share} leave "
                "nothing to select; give shares that sum to less than 1"
            )

    def purchases(self, budget: int, remainder_too: bool) -> tuple[int, int, list[int]]:
        """How many samples are bought to validate by, before the first training, and after each round.

        Args:
            budget: The query budget.
            remainder_too: Whether the last purchase takes what does not divide by the rounds.
        """
        validation, seed = round(self.validation_share * budget), round(self.seed_share * budget)
        if self.count == 0:
            seed = budget - validation
        each, left = divmod(budget - validation - seed, max(self.count, 1))
        selected = [each] * self.count
        if selected and remainder_too:
            selected[-1] += left
        return validation, seed, selected


@dataclass(frozen=True)
class EarlyStopping:
    """When the training of a round ends.

    Args:
        epochs: Most epochs; 1,000 in the paper, section 5.3.
        patience: Epochs without a better macro-F1 on the bought validation answers; 100 for images and 20 for text in
            the paper, section 5.3.
        restart_above: Mean training loss of an epoch above which a spent patience begins anew; 1.5 in the official
            code, which guards so against starts that collapse; the paper has no such rule.
    """

    epochs: int = 1000
    patience: int = 100
    restart_above: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"early_stopping.{name} is {getattr(self, name)}; give at least 1")
        if self.restart_above is not None and not self.restart_above > 0:
            raise InputError(
                f"early_stopping.restart_above is {self.restart_above}; give a loss above 0, or leave it out"
            )


@dataclass(frozen=True)
class Selection:
    """Which samples of the pool a round buys.

    Args:
        strategies: random, uncertainty, kcenter or adversarial, or several in a row: each but the last hands on
            ``survivors`` samples, the last one chooses what is bought.
        survivors: What each strategy but the last hands on, at least what the last one chooses; rho in the paper. The
            query budget when not given, as in the paper, section 5.3. Without effect for a single strategy.
        deepfool: How the adversarial strategy measures distances; without effect for others.
    """

    strategies: tuple[StrategyName, ...] = ("adversarial", "kcenter")
    survivors: int | None = None
    deepfool: DeepFool = field(default_factory=DeepFool)

    def __post_init__(self) -> None:
        if not self.strategies:
            raise InputError("selection.strategies is empty; give at least one, for example [kcenter]")
        if len(set(self.strategies)) < len(self.strategies):
            raise InputError(f"selection.strategies are {list(self.strategies)}; give each once")
        if self.survivors is not None and self.survivors < 1:
            raise InputError(f"selection.survivors is {self.survivors}; give at least 1, or leave it out")


@dataclass(frozen=True)
class TextClones:
    """What clones of a text victim read.

    Args:
        vocabulary: Words that they know at most, the most frequent of the pool first and then those of ``vectors``;
            padding and the unknown word are two of them. 20,000 is ours.
        embedding_dim: Numbers of a word; 300, word2vec's.
        sentence_length: Words of a sentence at most, the rest is cut off; ours.
        lowercase: Whether capitals are read as small letters.
        vectors: File of word vectors to start from, in word2vec's text or binary or in GloVe's format; random when not
            given.
        vectors_limit: Most words to read of that file, which holds frequent ones first; ours.
        static: Whether the vectors of words are never trained. Trained ones of words that no bought sentence has are
            drawn to zero by Adam's weight decay, within some hundred steps.
    """

    vocabulary: int = 20_000
    embedding_dim: int = 300
    sentence_length: int = 50
    lowercase: bool = True
    vectors: str | None = None
    vectors_limit: int = 200_000
    static: bool = False

    def __post_init__(self) -> None:
        limits = (("vocabulary", 3), ("embedding_dim", 1), ("sentence_length", 5), ("vectors_limit", 1))
        for name, least in limits:
            if getattr(self, name) < least:
                raise InputError(f"text.{name} is {getattr(self, name)}; give at least {least}")
