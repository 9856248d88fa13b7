"""The headers of ActiveThief's configs say the truth: purchases, memory, and where the other experiments are."""

import re
from pathlib import Path

import pytest

from lightning_extract.attacks.rounds import Rounds
from tests.command_line import CONFIGS
from tests.config_files import ATTACKS, PAPER, attack_of, header, make_parts, medium_of, read, settings

FILES = [path for path in ATTACKS if attack_of(path) == "ActiveThief" and path.parent == CONFIGS]
SMALL = [path for path in FILES if path not in PAPER]
SWEEPS = CONFIGS.parent / "slurm" / "sweeps"
COPIES = 4  # weights, gradients and the two moments of Adam
BATCH, PATIENCE = {"images": 150, "text": 50}, {"images": 100, "text": 20}  # section 5.3

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_of_paper = pytest.mark.parametrize("path", [path for path in FILES if path in PAPER], ids=lambda path: path.stem)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def purchases(path: Path) -> tuple[int, int, list[int]]:
    """What a config buys."""
    budget = settings(path)["threat_model"]["query_budget"]
    return Rounds(**settings(path)["rounds"]).purchases(budget, remainder_too=False)


@each_of_paper
def test_the_budget_in_the_header_is_that_of_the_config(path: Path) -> None:
    found = re.search(
        r"Budget: ([\d,]+) queries = ([\d,]+) to validate by, ([\d,]+) to start with and (\d+) rounds of ([\d,]+), "
        r"all of it spent\.",
        header(path),
    )
    assert found is not None
    budget, validation, seed, rounds, each = map(number, found.groups())
    assert purchases(path) == (validation, seed, [each] * rounds)
    assert settings(path)["threat_model"]["query_budget"] == validation + seed + rounds * each == budget


@each_file
def test_all_of_a_budget_is_spent_as_the_attack_declares(path: Path) -> None:
    validation, seed, selected = purchases(path)
    assert settings(path)["threat_model"]["query_budget"] == validation + seed + sum(selected)
    attack = make_parts(path).model
    assert (attack.initial_queries, attack.queries_per_iteration) == (validation + seed, selected[0])


@each_of_paper
def test_it_trains_as_the_paper_says(path: Path) -> None:
    model, medium = settings(path), medium_of(path)
    assert (model["batch_size"], model["early_stopping"]["patience"]) == (BATCH[medium], PATIENCE[medium])
    assert model["early_stopping"]["epochs"] == 1000
    assert model["dropout"] == (0.2 if read(path)["data"]["init_args"]["dataset"] == "cifar10" else 0.1)
    assert model["clone_optimizer"]["init_args"].items() >= {"lr": 1e-3, "weight_decay": 1e-3}.items()
    assert model["threat_model"]["access"] == "hard"


@pytest.mark.parametrize("path", [path for path in FILES if medium_of(path) == "images"], ids=lambda path: path.stem)
def test_the_pool_of_images_is_large_enough(path: Path) -> None:
    validation, seed, selected = purchases(path)
    data, share = read(path)["data"]["init_args"], settings(path)["rounds"]["validation_pool"]
    images = data["shapes"]["count"] if data["pool"] == "synthetic_shapes" else data["pool_limit"]
    assert validation <= round(share * images)
    candidates = images - round(share * images) - seed - sum(selected[:-1])
    assert selected[-1] <= candidates
    measured = settings(path)["selection"]["deepfool"]["candidates"]
    assert measured is None or selected[-1] <= settings(path)["selection"]["survivors"] < measured <= candidates
    told = re.search(r"Pool: ([\d,]+) .*a (third|tenth) to\s+validate by", header(path), re.DOTALL)
    assert told is not None
    assert (number(told[1]), {"third": 0.3333, "tenth": 0.1}[told[2]]) == (images, share)


@each_of_paper
def test_the_memory_in_the_header_is_that_of_the_pool_or_of_the_words(path: Path) -> None:
    model, data = settings(path), read(path)["data"]["init_args"]
    if medium_of(path) == "images":
        found = re.search(r"Memory: the pool takes ([\d.]+) GB as bytes", header(path))
        assert found is not None
        size = data["pool_limit"] * model["threat_model"]["channels"] * data["image_size"] ** 2
        assert found[1] == f"{size / 1e9:.2f}"
        return
    found = re.search(
        r"Memory: the ([\d,]+) word vectors that are read take ([\d.]+) GB, the clone's ([\d,]+) with gradients and "
        r"moments ([\d.]+) GB",
        header(path),
    )
    assert found is not None
    vector, read_words = 4 * model["text"]["embedding_dim"], model["text"]["vectors_limit"]
    assert (number(found[1]), found[2]) == (read_words, f"{read_words * vector / 1e9:.2f}")
    words = model["text"]["vocabulary"]
    assert (number(found[3]), found[4]) == (words, f"{COPIES * words * vector / 1e9:.2f}")


@each_of_paper
def test_the_sweeps_in_the_header_are_there(path: Path) -> None:
    found = re.search(r"slurm/sweeps/activethief_table(?:\{([\d,]+)\}|(\d))\.txt", header(path))
    assert found is not None
    tables = (found[1] or found[2]).split(",")
    assert tables == (["3", "4", "5"] if medium_of(path) == "images" else ["6"])
    for table in tables:
        assert f"configs/{path.name} " in (SWEEPS / f"activethief_table{table}.txt").read_text()


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_a_small_one_says_whose_it_is_and_how_it_gets_its_victim(path: Path) -> None:
    assert re.search(r"ours, not the\s+paper's", header(path), re.IGNORECASE)
    victim = Path(settings(path)["threat_model"]["victim"])
    wanted = f"configs/victim_{victim.name}.yaml makes it" if victim.parent.name else f"{victim}, which the package"
    assert wanted in header(path)


@each_file
def test_evaluations_meet_the_ends_of_full_rounds(path: Path) -> None:
    epochs = settings(path)["early_stopping"]["epochs"]
    assert epochs % read(path)["data"]["init_args"]["iterations_per_epoch"] == 0
