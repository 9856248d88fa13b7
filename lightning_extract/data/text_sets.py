"""Text data sets by name, or from files."""

from pathlib import Path

from lightning_extract.data.text_archives import TEXT_ARCHIVES
from lightning_extract.data.text_set import TextSet
from lightning_extract.data.text_splits import Split, describe_missing_split, read_split, split_classes
from lightning_extract.errors import InputError

TEXT_DATASETS = {name: len(archive.classes) for name, archive in TEXT_ARCHIVES.items()}


def load_texts(dataset: str, split: Split, root: str | Path = "data") -> TextSet:
    """Reads one split of a data set into memory.

    Args:
        dataset: A name of :data:`TEXT_DATASETS`, a folder with train.jsonl and test.jsonl (fields text and label), or
            the beginning of <dataset>_train.jsonl and <dataset>_test.jsonl; .csv and .gz as well.
        split: Which part. MR has no published test part: here it is the tenth whose texts have the smallest hashes.
        root: Folder that holds the named data sets, each unpacked in a folder of its name.

    Raises:
        InputError: The data set is unknown, missing or damaged.
    """
    missing = describe_missing_texts(dataset, root)
    if missing is not None:
        raise InputError(missing)
    if dataset in TEXT_ARCHIVES:
        return TEXT_ARCHIVES[dataset].read(dataset, Path(root), split)
    return read_split(dataset, split)


def describe_missing_texts(dataset: str, root: str | Path = "data") -> str | None:
    """One sentence on what has to be put where before :func:`load_texts` works, or None. Touches no network."""
    if dataset in TEXT_ARCHIVES:
        return TEXT_ARCHIVES[dataset].describe_missing(dataset, Path(root))
    missing = describe_missing_split(dataset)
    if missing is None or Path(dataset).is_dir() or Path(dataset).parent != Path("."):
        return missing
    return f"{dataset!r} is no known text data set ({', '.join(TEXT_DATASETS)}), and {missing}"


def text_num_classes(dataset: str) -> int:
    """Number of classes; of a named data set without reading it.

    Raises:
        InputError: The data set is unknown, missing or damaged.
    """
    return TEXT_DATASETS[dataset] if dataset in TEXT_DATASETS else len(split_classes(dataset))
