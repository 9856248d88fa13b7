"""Labelled texts for the training of a victim."""

from torch.utils.data import DataLoader

from lightning_extract.data.evaluation_batches import LabelledBatch
from lightning_extract.data.image_batches import EpochShuffle, batch_loader
from lightning_extract.data.seeds import run_seed
from lightning_extract.data.text_evaluation import TextEvaluationData
from lightning_extract.data.text_set import TextSet
from lightning_extract.data.text_sets import load_texts
from lightning_extract.data.validation_split import check_validation_share, validation_split
from lightning_extract.errors import InputError


class TextData(TextEvaluationData):
    """The training and test sentences of a data set; a share of the former can be kept apart for validation.

    The order of the training sentences hangs on the run's seed and the epoch only, so a resumed run sees the same.

    Args:
        dataset: mr, imdb, ag_news, trec, a folder with train.jsonl and test.jsonl (fields text and label), or the
            beginning of <dataset>_train.jsonl and <dataset>_test.jsonl; .csv and .gz as well.
        root: Folder that holds the named data sets, each unpacked in a folder of its name.
        batch_size: Sentences a training batch, over all processes; 50 is Kim's (2014) and ActiveThief's, section 5.3.
        eval_batch_size: Sentences an evaluation batch, over all processes; changes no result.
        validation_share: Share of the training sentences, drawn by the run's seed, that validates instead of the test
            set and is not trained on; ActiveThief takes 0.2.
    """

    def __init__(
        self,
        dataset: str,
        root: str = "data",
        batch_size: int = 50,
        eval_batch_size: int = 512,
        validation_share: float = 0.0,
    ) -> None:
        super().__init__(dataset, root, eval_batch_size)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, it must be at least 1")
        check_validation_share(validation_share)
        self.batch_size = batch_size
        self.validation_share = validation_share
        self._train_set: TextSet | None = None
        self._validation_set: TextSet | None = None

    @property
    def train_set(self) -> TextSet:
        """The sentences to train on, there after ``setup("fit")``."""
        if self._train_set is None:
            raise RuntimeError('setup("fit") must run before the training set is used')
        return self._train_set

    @property
    def validation_set(self) -> TextSet:
        """The training sentences kept apart, there after ``setup("fit")`` where there is a validation share."""
        if self._validation_set is None:
            raise RuntimeError("setup() must run, with a validation_share, before the validation set is used")
        return self._validation_set

    def setup(self, stage: str) -> None:
        """Reads the test sentences, and for fitting the training sentences, once."""
        super().setup(stage)
        selects = stage == "validate" and self.validation_share > 0
        if (stage == "fit" or selects) and self._train_set is None:
            whole = load_texts(self.dataset, "train", self.root)
            if self.validation_share:
                train, kept_apart = validation_split(len(whole), self.validation_share, run_seed())
                self._validation_set = whole.subset(kept_apart)
                whole = whole.subset(train)
            self._train_set = whole

    def train_dataloader(self) -> DataLoader[LabelledBatch]:
        """Shuffled batches of the training set; with several processes each yields its share of the global batch."""
        rank, world_size = self.process_rank()
        order = EpochShuffle(len(self.train_set), self.batch_size, run_seed(), rank, world_size)
        return batch_loader(self.train_set, order)

    def val_dataloader(self) -> DataLoader[LabelledBatch]:
        """Batches of the training sentences kept apart; without any, of the test set, and nothing is chosen by it."""
        return self.evaluation_batches(self.validation_set) if self.validation_share else super().val_dataloader()
