"""The data of an attack that takes its queries from a pool of sentences: the stream of seeds, the pool, a test set."""

from torch.utils.data import DataLoader

from lightning_extract.data.draws import Iteration
from lightning_extract.data.iterations import check_epoch, iteration_loader
from lightning_extract.data.seeds import run_seed
from lightning_extract.data.sentence_pool import SentencePool
from lightning_extract.data.sentence_reading import (
    NOISE_LENGTHS,
    check_sentence_request,
    describe_missing_sentences,
    read_sentences,
)
from lightning_extract.data.text_evaluation import TextEvaluationData


class SentenceStream(TextEvaluationData):
    """Yields the number and the seed of each iteration; the attack takes its sentences from :attr:`pool`.

    Args:
        dataset: The texts that the clones are evaluated on: mr, imdb, ag_news, trec, a folder with train.jsonl and
            test.jsonl (fields text and label), or the beginning of <dataset>_train.jsonl and <dataset>_test.jsonl.
        pool: Where sentences come from: wikitext2, uniform_words (random words), a .txt file (a sentence a line), a
            .jsonl file (field text), a .csv file (column text) or a folder of such files; .gz as well.
        root: Folder of the data sets.
        pool_root: Folder that holds wikitext-2; root when not given.
        pool_limit: Sentences in the pool at most, chosen by the run's seed; all when not given. uniform_words needs it.
        noise_words: Where uniform_words takes its vocabulary from: another pool, or a file of word vectors.
        noise_lengths: Fewest and most words of a sentence of uniform_words.
        iterations_per_epoch: Iterations between two evaluations; 150 is the official DisGUIDE code's.
        eval_batch_size: Sentences an evaluation batch, over all processes.
    """

    def __init__(
        self,
        dataset: str,
        pool: str,
        root: str = "data",
        pool_root: str | None = None,
        pool_limit: int | None = None,
        noise_words: str | None = None,
        noise_lengths: tuple[int, int] = NOISE_LENGTHS,
        iterations_per_epoch: int = 150,
        eval_batch_size: int = 512,
    ) -> None:
        super().__init__(dataset, root, eval_batch_size)
        check_epoch(iterations_per_epoch)
        check_sentence_request(pool, pool_limit, noise_words, noise_lengths)
        self.pool_name = pool
        self.pool_root = root if pool_root is None else pool_root
        self.pool_limit = pool_limit
        self.noise_words = noise_words
        self.noise_lengths = noise_lengths
        self.iterations_per_epoch = iterations_per_epoch
        self._pool: SentencePool | None = None

    @property
    def pool(self) -> SentencePool:
        """The pool, there after ``setup("fit")``."""
        if self._pool is None:
            raise RuntimeError('setup("fit") must run before the pool is used')
        return self._pool

    def describe_missing(self, fitting: bool = True) -> list[str]:
        """What has to be put where before data and pool can be read, one sentence a finding. Touches no network."""
        missing = describe_missing_sentences(self.pool_name, self.pool_root, self.noise_words) if fitting else None
        return super().describe_missing(fitting) + ([] if missing is None else [missing])

    def setup(self, stage: str) -> None:
        """Reads the test sentences, and for fitting the pool, once."""
        super().setup(stage)
        if stage == "fit" and self._pool is None:
            self._pool = read_sentences(
                self.pool_name, self.pool_root, self.pool_limit, run_seed(), self.noise_words, self.noise_lengths
            )

    def train_dataloader(self) -> DataLoader[Iteration]:
        """Loader of the iterations of one epoch."""
        return iteration_loader(self.iterations_per_epoch)
