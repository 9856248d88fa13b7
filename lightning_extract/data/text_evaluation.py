"""The test set of an experiment with texts, for every kind of data module."""

from functools import cached_property

from lightning_extract.data.evaluation_batches import EvaluationBatches
from lightning_extract.data.text_set import TextSet
from lightning_extract.data.text_sets import describe_missing_texts, load_texts, text_num_classes


class TextEvaluationData(EvaluationBatches):
    """The test sentences, for validation, testing and prediction; subclasses add what trains.

    Args:
        dataset: mr, imdb, ag_news, trec, a folder with train.jsonl and test.jsonl (fields text and label), or the
            beginning of <dataset>_train.jsonl and <dataset>_test.jsonl; .csv and .gz as well.
        root: Folder that holds the named data sets, each unpacked in a folder of its name.
        eval_batch_size: Sentences an evaluation batch, over all processes; changes no result.
    """

    medium = "text"

    def __init__(self, dataset: str, root: str = "data", eval_batch_size: int = 512) -> None:
        super().__init__(dataset, root, eval_batch_size)
        self._test_set: TextSet | None = None

    @cached_property
    def num_classes(self) -> int:
        """Number of classes; for files of the user's from the training file."""
        return text_num_classes(self.dataset)

    @property
    def test_set(self) -> TextSet:
        """The test sentences, there after :meth:`setup`."""
        if self._test_set is None:
            raise RuntimeError("setup() must run before the test set is used")
        return self._test_set

    def describe_missing(self, fitting: bool = True) -> list[str]:
        """What has to be put where before this data can be read, one sentence a finding. Touches no network."""
        missing = describe_missing_texts(self.dataset, self.root)
        return [] if missing is None else [missing]

    def setup(self, stage: str) -> None:
        """Reads the test sentences, once."""
        if self._test_set is None:
            self._test_set = load_texts(self.dataset, "test", self.root)
