"""What users of rounds on a pool get wrong: each is one clear line, and no query."""

import json
from pathlib import Path

import pytest
import yaml

from tests.command_line import complaint
from tests.image_folders import write_image_folder
from tests.miniature import CONF
from tests.test_bad_input import nothing_was_bought
from tests.text_miniature import write_config, write_files
from tests.victims.text_folder import save_small_text_victim

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

THREAT = "--model.threat_model."
Capture = pytest.CaptureFixture[str]
POOL_CONFIG = CONF / "active_thief.yaml"


@pytest.fixture
def text_config() -> Path:
    """The config of a run on sentences, beside its files."""
    write_files()
    write_config()
    return Path("text.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.batch_size", "0"], "batch_size is 0; give at least 1"),
        (
            [THREAT + "num_classes", "unknown", THREAT + "access", "hard"],
            "num_classes is unknown, but ActiveThief's strategies compare all classes; give the number, or use Surr",
        ),
        (["--data.pool_limit", "null"], "pool 'uniform_noise' is endless, which leaves nothing to choose among; set"),
        (
            ["--data.pool_limit", "230"],
            "the budget buys 156 samples to train on, but the pool of 230 has 153 of them; give a larger pool, lower",
        ),
        (["--data.pool_limit", "110"], "the budget buys 41 samples to validate by, but the pool of 110 has 37 of them"),
        (["--data", "GeneratorStream"], "ActiveThief with medium images selects from a pool; set data.class_path to P"),
        (["--trainer.check_val_every_n_epoch", "2"], "check_val_every_n_epoch is 2, which misses the ends of rounds"),
        (
            ["--model.selection.survivors", "50"],
            "selection.survivors is 50, which is the query budget when not given, but 50 samples are left to choose",
        ),
        (
            ["--model.selection.survivors", "17"],
            "but 50 samples are left to choose among or measured, of which a round",
        ),
        (
            ["--model.selection.strategies", "[uncertainty,kcenter]", "--model.selection.survivors", "128"],
            "but 128 samples are left to choose among or measured, of which a round buys 17; set it between these",
        ),
        (
            ["--model.selection.strategies", "[adversarial]", "--model.selection.deepfool.candidates", "17"],
            "selection.deepfool.candidates is 17, but a round buys 17, so that nothing is chosen by a distance; raise",
        ),
        (["--model.selection.strategies", "[kcenter,kcenter]"], "['kcenter', 'kcenter']; give each once"),
        (["--model.selection.strategies", "[entropy]"], "expected one of 'random', 'uncertainty', 'kcenter', 'adversa"),
        (["--model.rounds.count", "1000"], "does not pay the 1000 rounds of rounds.count: it buys 41 samples to valid"),
        (["--model.dropout", "0.1"], "dropout is 0.1, but LeNet5 has no dropout layer; set it to null, or choose a"),
        (["--model.dropout", "1.0"], "dropout is 1.0, but it must be at least 0 and below 1"),
        (["--model.clone_training.network", "text_cnn"], "network text_cnn reads text, but threat_model.medium is im"),
        (
            ["--model.clone_training.heldout_every", "150"],
            "clone_training.heldout_every is 150, but ActiveThief has none: samples to validate by are bought",
        ),
        (["--model.clone_training.steps", "2"], "clone_training.steps is 2, but ActiveThief has none: an iteration is"),
        (["--model.clone_training.start_from", "[run9]"], "ActiveThief has none: every round starts from the same ra"),
        ([THREAT + "input_space", "post_transform"], "a pool holds raw samples, not normalised data; set threat_mod"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_for_rounds_on_a_pool(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in complaint(capsys, "fit", "--config", POOL_CONFIG, "--run_dir", "run", *arguments)
    assert nothing_was_bought()


def test_an_image_of_a_pool_that_is_cut_off(capsys: Capture) -> None:
    folder = write_image_folder(Path("birds"), per_class=100, size=32, channels=1)
    path = folder / "train" / "cat" / "030.png"
    path.write_bytes(path.read_bytes()[:60])
    arguments = ["--data.pool", str(folder), "--data.pool_limit", "null"]
    message = complaint(capsys, "fit", "--config", POOL_CONFIG, "--run_dir", "run", *arguments)
    assert f"{path} cannot be read as an image (" in message
    assert nothing_was_bought()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model.selection.strategies", "[adversarial,kcenter]"],
            "selection.strategies has adversarial, but DeepFool moves pixels, which sentences have not; for text use",
        ),
        (
            ["--model.clone_training.network", "cnn_2_1"],
            "the clones' network cnn_2_1 reads images, but threat_model.medium is text; change",
        ),
        (["--model.text.sentence_length", "4"], "text.sentence_length is 4; give at least 5"),
        (
            ["--model.text.vectors", "vectors.txt", "--model.text.embedding_dim", "300"],
            "text.embedding_dim is 300, but vectors.txt has vectors of 12 numbers; set it to 12",
        ),
        (["--model.text.vectors", "pool.txt"], "pool.txt holds no word vectors in word2vec's or GloVe's format"),
        (["--model.text.vectors", "nowhere.txt"], "word vectors nowhere.txt are missing; put them there"),
        (["--data.pool", "nowhere.txt"], "nowhere.txt does not exist; put a file of sentences there"),
        (
            ["--data.pool", "small.txt"],
            "the budget buys 64 samples to train on, but the pool of 90 has 60 of them; give a larger pool",
        ),
        (["--data.pool", "gap.txt"], "gap.txt, line 2 is empty; remove it"),
        (["--data.pool", "latin.txt"], "latin.txt, line 1 is not UTF-8 at byte 3 of the file; save the file as UTF-8"),
        (
            [THREAT + "medium", "images", THREAT + "channels", "1", "--model.clone_training.network", "cnn_2_1"],
            "medium is images, but the victim 'victim' answers text; set medium to text, and data to the same",
        ),
        (
            [THREAT + "victim", "lenet5_mnist5k"],
            "medium is text, but the victim 'lenet5_mnist5k' answers images; set medium to images, and data to the",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_for_rounds_on_sentences(
    arguments: list[str], message: str, text_config: Path, capsys: Capture
) -> None:
    Path("small.txt").write_text("a film\n" * 90)
    Path("gap.txt").write_text("a film\n\nso so\n")
    Path("latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    assert message in complaint(capsys, "fit", "--config", text_config, "--run_dir", "run", *arguments)
    assert nothing_was_bought()


def test_data_of_the_other_medium(text_config: Path, capsys: Capture) -> None:
    write_image_folder(Path("birds"), size=32, channels=1)
    config = yaml.safe_load(text_config.read_text())
    config["model"]["init_args"]["threat_model"]["num_classes"] = 2
    save_small_text_victim(Path("victim"))
    config["data"] = {"class_path": "PoolStream", "init_args": {"dataset": "birds", "pool": "mnist5k"}}
    Path("other.yaml").write_text(yaml.safe_dump(config))
    message = complaint(capsys, "fit", "--config", "other.yaml", "--run_dir", "run")
    assert message == "the victim answers text, but PoolStream has images; use data like the victim's"
    assert nothing_was_bought()


def test_sentences_for_an_image_victim(text_config: Path, capsys: Capture) -> None:
    for split in ("train", "test"):
        rows = [json.dumps({"text": f"film {label}", "label": label}) for label in range(10)]
        Path(f"films_{split}.jsonl").write_text("\n".join(rows))
    config = yaml.safe_load(POOL_CONFIG.read_text()) | {"data": yaml.safe_load(text_config.read_text())["data"]}
    Path("other.yaml").write_text(yaml.safe_dump(config))
    message = complaint(capsys, "fit", "--config", "other.yaml", "--run_dir", "run")
    assert message == "the victim answers images, but SentenceStream has text; use data like the victim's"
    assert nothing_was_bought()
