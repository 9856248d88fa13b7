"""The headers of the papers' configs say the truth: paper, number, budget, memory and what differs."""

import math
import re
from pathlib import Path

import pytest

from tests.command_line import CONFIGS
from tests.config_files import (
    PAPER,
    attack_of,
    each_of_paper,
    header,
    leaves,
    make_parts,
    parse,
    read,
    settings,
    the_parser,
)

TRUONG = r"Truong et al\., Data-Free Model Extraction, CVPR 2021\."
PAPERS = {
    "ActiveThief": r"Pal et al\., A framework for .* \(ActiveThief\), AAAI 2020\.",
    "DisGUIDE": r"Rosenthal et al\., DisGUIDE: .*, AAAI 2023\.",
    "DFME": TRUONG,
    "DFMS": r"Sanyal, Addepalli, Babu: .* \(DFMS\), CVPR 2022\.",
    "DualStudents": r"Beetham et al\., Dual Student Networks for Data-Free Model Stealing, ICLR 2023\.",
    "MAZE": r"Kariyappa et al\., MAZE: .*, CVPR 2021\.",
    "SurrogateDistillation": rf"{TRUONG}|Orekondy et al\., Knockoff Nets: .*, CVPR 2019\.|"
    r"Correia-Silva et al\., Copycat CNN: .*, IJCNN\s2018\.",
}
COUNTS = {
    "ActiveThief": 8,
    "DisGUIDE": 17,
    "DFME": 5,
    "DFMS": 17,
    "DualStudents": 9,
    "MAZE": 4,
    "SurrogateDistillation": 12,
}
# All of the other attacks' numbers that are published and at hand.
PUBLISHED = {
    "activethief_mnist": "95.40 %",
    "activethief_fashion_mnist": "73.51 %",
    "activethief_c10": "61.52 %",
    "activethief_gtsrb": "70.79 %",
    "activethief_mr": "77.12 %",
    "activethief_imdb": "77.67 %",
    "activethief_ag_news": "75.87 %",
    "activethief_trec": "56.80 %",
    "dfms_c10": "91.24 %",
    "dfms_c10_hard": "84.51 %",
    "dfms_c10_hard_resnet18": "85.92 %",
    "dfms_c100_hard": "43.56 %",
    "dfme_c10": "88.1 %",
    "dfme_svhn": "95.2 %",
    "dual_students_c10": "91.34 %",
    "dual_students_c10_pre_activation": "91.34 %",
    "maze_c10": "89.85 %",
}
BYTES = {"float32": 4, "uint8": 1}


# What the rounds of ActiveThief buy and keep is tested in test_rounds_configs.py.
each_without_rounds = pytest.mark.parametrize(
    "path", [path for path in PAPER if attack_of(path) != "ActiveThief"], ids=lambda path: path.stem
)
# What the clone stages of DFMS buy is no multiple of an iteration, and is tested below.
each_without_stages = pytest.mark.parametrize(
    "path", [path for path in PAPER if attack_of(path) not in ("ActiveThief", "DFMS")], ids=lambda path: path.stem
)
each_with_stages = pytest.mark.parametrize(
    "path", [path for path in PAPER if attack_of(path) == "DFMS"], ids=lambda path: path.stem
)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def purchase(path: Path) -> tuple[int, int]:
    """What an iteration buys for the generator and for the clones, by the papers' formulas."""
    model, batch = settings(path), settings(path)["batch_size"]
    answers = model["differences"]["directions"] + 1 if "differences" in model else 0
    reused = 1 if attack_of(path) == "MAZE" else 0  # the clone's first batch is the generator's
    generator = batch * answers * model.get("generator_training", {}).get("steps", 0)
    return generator, batch * (model["clone_training"]["steps"] - reused)


def entries(path: Path) -> list[str]:
    """The lines of a header that name what it reproduces."""
    block = re.search(r"^# Reproduces:\n((?:#   .+\n)+)", path.read_text(), re.MULTILINE)
    assert block is not None
    return [line.removeprefix("#").strip() for line in block[1].splitlines()]


def options(path: Path) -> dict[str, str]:
    """The options that a header names, but for those of another file and of every file."""
    named = re.findall(r"--([\w.]+)\s([^\s,;]+)", header(path))
    return {name: value for name, value in named if name not in ("config", "seed_everything")}


def test_there_is_one_for_every_experiment() -> None:
    assert {attack: sum(attack_of(path) == attack for path in PAPER) for attack in PAPERS} == COUNTS
    assert sum(COUNTS.values()) == len(PAPER)


@each_of_paper
def test_it_names_paper_table_and_number(path: Path) -> None:
    assert re.search(PAPERS[attack_of(path)], header(path))
    for entry in entries(path):
        assert re.match(r"(Tables? \d|Figure \d|section \d|main table|text|nothing)", entry), entry
        assert re.search(r": .*\d\.\d+ (%|M|points)|no number in the text", entry), entry


@each_of_paper
def test_it_claims_published_numbers_only(path: Path) -> None:
    claimed = [entry for entry in entries(path) if re.search(r"\d %", entry)]
    if attack_of(path) != "DisGUIDE":
        assert bool(claimed) == (path.stem in PUBLISHED)
        assert all(PUBLISHED[path.stem] in entry for entry in claimed)


@each_without_stages
def test_the_budget_in_the_header_is_that_of_the_config(path: Path) -> None:
    found = re.search(
        r"Budget: ([\d,]+) queries = ([\d,]+) iterations of ([\d,]+)"
        r"(?: \(generator ([\d,]+), clone ([\d,]+)\))?([,; ].*)",
        header(path),
    )
    assert found is not None
    budget, iterations, cost = map(number, found.groups()[:3])
    model = settings(path)["threat_model"]
    generator, clones = purchase(path)
    assert budget == model["query_budget"]
    assert cost == generator + clones
    whole, left = divmod(budget, cost)
    assert iterations == whole
    if generator:
        assert (number(found[4]), number(found[5])) == (generator, clones)
    spent = left == 0 or model["remainder"] == "fill"
    assert ("all of it spent" in found[6]) == spent
    assert left == 0 or (f"a last one of {left:,}" if spent else f"{left:,} queries") in found[6]


@each_without_rounds
def test_an_iteration_costs_what_the_attack_declares(path: Path) -> None:
    assert make_parts(path).model.queries_per_iteration == sum(purchase(path))


@each_of_paper
def test_the_passes_in_the_header_are_those_of_the_config(path: Path) -> None:
    found = re.search(r"then (\d+) passes over ([\d,]+) batches", header(path))
    assert (found is not None) == (attack_of(path) == "SurrogateDistillation")
    if found is not None:
        model = settings(path)
        batches = math.ceil(model["threat_model"]["query_budget"] / model["batch_size"])
        assert int(found[1]) == model["passes"] - 1
        assert number(found[2]) == batches - batches // model["clone_training"]["heldout_every"]


@each_without_stages
def test_the_share_set_aside_is_that_of_the_config(path: Path) -> None:
    found = re.search(r"One (?:bought|clone) batch in ([\d,]+) \(([\d.]+) % of the queries\)", header(path))
    assert found is not None
    model = settings(path)
    every = model["clone_training"]["heldout_every"]
    assert number(found[1]) == every * model["clone_training"]["steps"]
    share = 100 * model["batch_size"] / (every * sum(purchase(path)))
    assert found[2] == f"{share:.{len(found[2].partition('.')[2])}f}"


@each_without_stages
def test_the_memory_in_the_header_is_that_of_the_replay(path: Path) -> None:
    model = settings(path)
    shape = model["threat_model"]
    found = re.search(r"Memory: the replay buffer of (\w+) images takes ([\d.]+) GB", header(path))
    if found is None:
        assert "Memory: no replay buffer" in header(path)
        assert model["replay"]["batches"] == 0
        return
    replay = model.get("replay") or {"size": shape["query_budget"], "dtype": model["replay_dtype"]}
    size = replay["size"] * shape["channels"] * shape["image_size"] ** 2 * BYTES[replay["dtype"]]
    assert found.groups() == (replay["dtype"], f"{size / 1e9:.1f}")
    if replay.get("stored") == "last":  # unbounded in MAZE's official code
        assert replay["size"] == shape["query_budget"] // sum(purchase(path)) * model["batch_size"]


@each_of_paper
def test_the_header_says_when_samples_enter_as_normalised_data(path: Path) -> None:
    told = re.search(r"as (already )?normalised\sdata", header(path)) is not None
    assert told == (settings(path)["threat_model"]["input_space"] == "post_transform")


@pytest.mark.parametrize("path", [path for path in PAPER if attack_of(path) == "MAZE"], ids=lambda path: path.stem)
def test_both_input_spaces_are_the_same_for_the_victims_of_maze(path: Path) -> None:
    victim = settings(CONFIGS / f"victim_{Path(settings(path)['threat_model']['victim']).name}.yaml")
    assert set(victim["mean"] + victim["std"]) == {0.5}


@each_of_paper
def test_it_differs_from_another_as_the_header_says(path: Path) -> None:
    found = re.search(r"Differs from (\w+\.yaml) in (.+?) alone", header(path))
    if found is None:
        return
    own, other = (dict(leaves(read(file))) for file in (path, CONFIGS / found[1]))
    differing = {key for key in own | other if own.get(key) != other.get(key)}
    named = [re.escape(name.removeprefix("the ")) for name in found[2].split(" and ")]
    assert differing
    assert {key for key in differing if not re.search("|".join(named), key) and "accuracy_goals" not in key} == set()
    assert all(any(re.search(name, key) for key in differing) for name in named)


@pytest.mark.parametrize("path", [path for path in PAPER if options(path)], ids=lambda path: path.stem)
def test_options_in_the_header_are_understood(path: Path) -> None:
    arguments = [word for name, value in options(path).items() for word in (f"--{name}", value)]
    changed = dict(leaves(the_parser().parse_args(["fit", "--config", str(path), *arguments]).fit.as_dict()))
    assert len([key for key, value in leaves(parse(path)) if changed[key] != value]) == len(options(path))


PROXY_IMAGES = {("cifar100", "dfms_40"): 20_000, ("cifar100", "dfms_10"): 5_000, ("cifar10", None): 50_000}


def proxy_images(path: Path) -> int:
    """Images of a config's pool."""
    data = read(path)["data"]["init_args"]
    if data["pool"] == "synthetic_shapes":
        return int(data["shapes"]["count"])
    return PROXY_IMAGES[data["pool"], data.get("pool_classes", [None])[0]]


@each_with_stages
def test_the_budget_of_stages_in_the_header_is_that_of_the_config(path: Path) -> None:
    found = re.search(
        r"Budget: ([\d,]+) queries = ([\d,]+) in two clone stages \(each ([\d,]+) to learn from and ([\d,]+) to "
        r"validate by\) and\s+([\d,]+) iterations of 64, (all of it spent|([\d,]+) queries left)",
        header(path),
    )
    assert found is not None
    model = settings(path)
    bought = []
    for name in ("clone_init", "clone_reinit"):
        stage = model["stages"][name]
        learnt = min(proxy_images(path), int(stage["proxy_ratio"] * stage["set_size"]))
        learnt += int(stage["generated_ratio"] * stage["set_size"])
        assert (number(found[3]), number(found[4])) == (learnt, stage["validation_size"])
        bought.append(learnt + stage["validation_size"])
    budget, before = number(found[1]), number(found[2])
    assert (budget, before) == (model["threat_model"]["query_budget"], sum(bought))
    assert model["batch_size"] == 64
    assert divmod(budget - before, 64) == (number(found[5]), number(found[7] or "0"))


@each_with_stages
def test_the_lengths_of_stages_in_the_header_are_those_of_the_config(path: Path) -> None:
    passes = re.search(r"([\d,]+) are 200 passes, ([\d,]+) are 100", header(path))
    warmup = re.search(r"warm-up takes 10 of (\d+) passes", header(path))
    assert passes is not None
    assert warmup is not None
    stages, images = settings(path)["stages"], proxy_images(path)
    lengths = stages["gan"]["iterations"], stages["diversity"]["iterations"]
    assert lengths == (number(passes[1]), number(passes[2])) == (images * 200 // 64, images * 100 // 64)
    alternating = re.search(r"([\d,]+) iterations of 64", header(path))
    assert alternating is not None
    assert int(warmup[1]) == number(alternating[1]) * 64 // images
    assert stages["alternating"]["schedule"]["warmup"] == pytest.approx(10 / int(warmup[1]), abs=1e-4)


@each_with_stages
def test_the_memory_of_stages_in_the_header_is_that_of_a_clone_stage(path: Path) -> None:
    found = re.search(r"Memory: the bought images of a clone stage take ([\d.]+) GB in float32", header(path))
    budget = re.search(r"each ([\d,]+) to learn from and ([\d,]+) to validate by", header(path))
    assert found is not None
    assert budget is not None
    images = number(budget[1]) + number(budget[2])
    assert found[1] == f"{images * 3 * 32 * 32 * BYTES[settings(path)['replay_dtype']] / 1e9:.2f}"
