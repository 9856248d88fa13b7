import gzip
import json
from pathlib import Path

import pytest

from lightning_extract.data.text_sets import TEXT_DATASETS, describe_missing_texts, load_texts, text_num_classes
from lightning_extract.data.text_splits import Split
from lightning_extract.errors import InputError


def write(path: str, content: str, encoding: str = "utf-8") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content.encode(encoding))


def write_mr(folder: str, count: int = 100) -> None:
    for name in ("neg", "pos"):
        write(f"{folder}/rt-polarity.{name}", "".join(f"{name} film é {i} .\n" for i in range(count)), "latin-1")


def pairs(dataset: str, split: Split) -> list[tuple[str, str]]:
    texts = load_texts(dataset, split)
    return [(text, texts.classes[label]) for text, label in zip(texts.sentences, texts.labels.tolist(), strict=True)]


def test_known_data_sets() -> None:
    assert TEXT_DATASETS == {"mr": 2, "imdb": 2, "ag_news": 4, "trec": 6}
    assert all(text_num_classes(name) == count for name, count in TEXT_DATASETS.items())


@pytest.mark.parametrize("folder", ["data/mr", "data/mr/rt-polaritydata"])
def test_mr(folder: str) -> None:
    write_mr(folder)
    train, test = pairs("mr", "train"), pairs("mr", "test")
    assert (len(train), len(test)) == (180, 20)
    whole = {(f"{name} film é {i} .", label) for name, label in (("neg", "negative"), ("pos", "positive"))
             for i in range(100)}  # fmt: skip
    assert {*train, *test} == whole


def test_the_split_of_mr_hangs_on_the_texts_only() -> None:
    write_mr("data/mr")
    test = set(pairs("mr", "test"))
    for name in ("neg", "pos"):
        path = Path(f"data/mr/rt-polarity.{name}")
        path.write_bytes(b"\n".join(reversed(path.read_bytes().splitlines())))
    assert set(pairs("mr", "test")) == test


def test_a_sentence_of_mr_that_occurs_twice_is_on_one_side() -> None:
    write("data/mr/rt-polarity.neg", "".join(f"bad {i}\n" * 2 for i in range(50)))
    write("data/mr/rt-polarity.pos", "".join(f"good {i}\n" * 2 for i in range(50)))
    train, test = pairs("mr", "train"), pairs("mr", "test")
    assert not set(train) & set(test)
    assert len(train) + len(test) == 200
    assert len(test) == 20


def test_imdb() -> None:
    for split in ("train", "test"):
        for number, name in enumerate(("neg", "pos")):
            for i in range(3):
                write(f"data/imdb/aclImdb/{split}/{name}/{i}_{number}.txt", f"{split} {name} {i}<br /><br />end é")
    write("data/imdb/aclImdb/train/urls_neg.txt", "http")
    assert pairs("imdb", "test") == [
        (f"test {name} {i}  end é", label) for name, label in (("neg", "negative"), ("pos", "positive"))
        for i in range(3)
    ]  # fmt: skip
    assert len(pairs("imdb", "train")) == 6
    write("data/imdb/aclImdb/train/neg/9_1.txt", "\n")
    with pytest.raises(InputError, match=r"train/neg/9_1.txt is empty"):
        load_texts("imdb", "train")


@pytest.mark.parametrize("header", ["", "Class Index,Title,Description\n"])
def test_ag_news(header: str) -> None:
    rows = '"3","Wall St. Bears","Reuters - dwindling\\band of ""cynics"""\n"1","Title","Text, more"\n'
    for split in ("train", "test"):
        write(f"data/ag_news/{split}.csv", header + rows)
    assert pairs("ag_news", "train") == [
        ('Wall St. Bears Reuters - dwindling\\band of "cynics"', "Business"),
        ("Title Text, more", "World"),
    ]


@pytest.mark.parametrize("row", ['"5","a","b"', '"1","a"', "1,a,b,c"])
def test_damaged_ag_news(row: str) -> None:
    for split in ("train", "test"):
        write(f"data/ag_news/{split}.csv", f'"1","a","b"\n{row}\n')
    with pytest.raises(InputError, match=r"test.csv, line 2 is not a class from 1 to 4, a title and a text"):
        load_texts("ag_news", "test")


def test_trec() -> None:
    write("data/trec/train_5500.label", "DESC:manner How é ?\nNUM:dist How far ?\n", "latin-1")
    write("data/trec/TREC_10.label", "ABBR:exp What is X : Y ?\n", "latin-1")
    assert pairs("trec", "train") == [("How é ?", "DESC"), ("How far ?", "NUM")]
    assert pairs("trec", "test") == [("What is X : Y ?", "ABBR")]
    write("data/trec/TREC_10.label", "ABBR:exp What ?\nWhat is this ?\n")
    with pytest.raises(InputError, match=r"TREC_10.label, line 2 is not a class \(ABBR, .*, its subclass"):
        load_texts("trec", "test")


@pytest.mark.parametrize("name", TEXT_DATASETS)
def test_missing_archives_are_described(name: str) -> None:
    missing = describe_missing_texts(name, "elsewhere")
    assert missing is not None
    assert missing.startswith(f"data set {name} is not complete in elsewhere/{name}/: put ")
    assert missing.endswith("or give the folder above with --data.init_args.root")
    with pytest.raises(InputError, match=f"data set {name} is not complete"):
        load_texts(name, "test", "elsewhere")


def test_incomplete_archives_name_what_is_missing() -> None:
    write("data/mr/rt-polarity.pos", "good")
    assert "put rt-polarity.neg there" in str(describe_missing_texts("mr"))
    write("data/mr/rt-polarity.neg", "")
    write("data/mr/rt-polarity.pos", "")
    with pytest.raises(InputError, match="data/mr holds no train sentence"):
        load_texts("mr", "train")


ROWS = [("good film", 1, "pos"), ("bad film", 0, "neg"), ("fine", 1, "pos")]


def write_rows(path: str, rows: list[tuple[str, object, str]], names: bool = True) -> None:
    if ".csv" in path:
        content = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label, _ in rows)
    else:
        content = "".join(
            json.dumps({"text": text, "label": label} | ({"label_name": name} if names else {})) + "\n"
            for text, label, name in rows
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(gzip.compress(content.encode()) if path.endswith(".gz") else content.encode())


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".csv.gz"])
@pytest.mark.parametrize("form", ["mine/{}", "mine/set_{}"])
def test_own_files(form: str, ending: str) -> None:
    write_rows(form.format("train") + ending, ROWS)
    write_rows(form.format("test") + ending, ROWS[1:2])
    dataset = form.removesuffix("/{}").removesuffix("_{}")
    assert describe_missing_texts(dataset) is None
    train, test = load_texts(dataset, "train"), load_texts(dataset, "test")
    assert train.sentences == ["good film", "bad film", "fine"]
    assert train.labels.tolist() == [1, 0, 1]
    assert (test.sentences, test.labels.tolist()) == (["bad film"], [0])
    assert train.classes == test.classes == (("0", "1") if "csv" in ending else ("neg", "pos"))
    assert text_num_classes(dataset) == 2


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_labels_may_be_names(ending: str) -> None:
    write_rows(f"set_train{ending}", [("a", "spam", ""), ("b", "ham", "")], names=False)
    write_rows(f"set_test{ending}", [("c", "spam", "")], names=False)
    assert pairs("set", "train") == [("a", "spam"), ("b", "ham")]
    assert load_texts("set", "test").labels.tolist() == [1]
    assert load_texts("set", "train").classes == ("ham", "spam")


def test_integers_without_names() -> None:
    write_rows("set_train.jsonl", ROWS, names=False)
    write_rows("set_test.jsonl", ROWS)
    assert load_texts("set", "test").classes == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 2], "^set_train.jsonl has the labels 0, 2; number the 2 classes from 0 without gaps"),
        ([1, 2], "has the labels 1, 2"),
        ([-1, 0], "has the labels -1, 0"),
        ([0, 0], "all labels of set_train.jsonl are 0; a data set needs at least 2"),
        ([0, "1"], "^set_train.jsonl, line 2: label is '1', an earlier one 0; write all as integers or all as names"),
        ([0, 1.0], r"^set_train.jsonl, line 2: label is 1\.0; write an integer from 0, or a class's name"),
        ([0, True], "label is True; write"),
        ([0, None], "label is None; write"),
        ([0, ""], "label is ''; write"),
    ],
)
def test_labels_that_are_no_classes(labels: list[object], message: str) -> None:
    rows: list[tuple[str, object, str]] = [("a", label, "") for label in labels]
    write_rows("set_train.jsonl", rows, names=False)
    write_rows("set_test.jsonl", ROWS)
    with pytest.raises(InputError, match=message):
        load_texts("set", "test")


def test_test_labels_must_be_known() -> None:
    write_rows("set_train.jsonl", ROWS)
    write_rows("set_test.jsonl", [*ROWS, ("other", 2, "new")])
    with pytest.raises(InputError, match=r"^set_test.jsonl, line 4: label 2 is none of the training file's \(0, 1\)"):
        load_texts("set", "test")


def test_fields_must_be_there() -> None:
    write("set_train.jsonl", '{"text": "a"}\n')
    write_rows("set_test.jsonl", ROWS)
    with pytest.raises(InputError, match=r"^set_train.jsonl, line 1 has no field label \(its fields: text\); add it"):
        load_texts("set", "train")
    write("set_train.jsonl", "\n")
    with pytest.raises(InputError, match=r"set_train.jsonl holds no sentence"):
        load_texts("set", "train")


def test_missing_own_files() -> None:
    assert (
        "'reviews' is no known text data set (mr, imdb, ag_news, trec), and reviews_train.jsonl does not exist"
        in str(describe_missing_texts("reviews"))
    )
    write_rows("mine/train.csv", ROWS)
    assert str(describe_missing_texts("mine")).startswith("mine/test.jsonl does not exist (nor with .jsonl.gz, .csv,")
    write_rows("mine/train.jsonl", ROWS)
    assert "several files for train (mine/train.jsonl, mine/train.csv); keep one" in str(describe_missing_texts("mine"))
    with pytest.raises(InputError, match="keep one"):
        text_num_classes("mine")
