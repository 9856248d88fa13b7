"""Every config file: it is read by the real parser, says all that decides numbers, and its header says the truth."""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_extract.data.datasets import DATASETS
from lightning_extract.victims.loading import load_victim, shipped_victims
from tests.command_line import CONFIGS, real_parser
from tests.miniature import CONF

ALL = sorted([*CONFIGS.glob("*.yaml"), *CONF.glob("*.yaml")])
DISGUIDE = [path for path in CONFIGS.glob("*.yaml") if "class_path: DisGUIDE" in path.read_text()]
ATTACKS = [path for path in ALL if "threat_model:" in path.read_text()]
PAPER = [path for path in ATTACKS if "AAAI 2023" in path.read_text()]
# What may be left to its default, since it changes speed, places or nothing.
DECIDES_NO_NUMBER = re.compile(r".*\.(channels_last|compile|root|download|channels|overwrite|eval_batch_size)")

each = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
each_attack = pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
each_of_paper = pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)


the_parser = cache(real_parser)


@cache
def parse(path: Path) -> Any:
    """What ``fit --config`` of the file would run."""
    return the_parser().parse_args(["fit", "--config", str(path)]).fit.as_dict()


@cache
def read(path: Path) -> Any:
    """What the file says."""
    return yaml.safe_load(path.read_text())


def keys(tree: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(tree, dict) and tree:
        for key, branch in tree.items():
            yield from keys(branch, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines[: lines.index("seed_everything: 0")])


def test_none_is_overlooked() -> None:
    assert len(ALL) > 25
    assert len(PAPER) >= 17
    assert set(PAPER) == {path for path in DISGUIDE if re.match(r"disguide_c100?(_(?!small)|$)", path.stem)}


@each
def test_it_is_read_by_the_real_parser(path: Path) -> None:
    assert parse(path)["model"]["class_path"].rsplit(".", 1)[-1] == read(path)["model"]["class_path"]


@each
def test_a_header_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert len(header(path)) > 40


@pytest.mark.parametrize("path", [path for path in ALL if path.parent == CONFIGS], ids=lambda path: path.stem)
def test_all_that_decides_numbers_is_stated(path: Path) -> None:
    stated, known = (set(keys({name: tree[name] for name in ("model", "data")})) for tree in (read(path), parse(path)))
    silent = {key for key in known - stated if not DECIDES_NO_NUMBER.fullmatch(key)}
    if "threat_model:" in path.read_text():
        assert {key for key in silent if "_optimizer." not in key} == set()
    else:
        optional = {"model.init_args.lr_interval", "model.init_args.label_smoothing"}
        assert {key for key in silent if "optimizer." not in key and "scheduler." not in key} <= optional


@each
def test_optimizers_keep_nothing_of_the_class_defaults(path: Path) -> None:
    # jsonargparse keeps what an attack's own default says where a config names the same optimizer.
    model = read(path)["model"]["init_args"]
    named = [name for name in model if name.endswith("optimizer")]
    assert named or path.parent == CONF
    for name in named:
        stated, parsed = model[name]["init_args"], parse(path)["model"]["init_args"][name]
        assert parsed["class_path"] == model[name]["class_path"]
        wanted = {"lr", "momentum", "weight_decay"} if parsed["class_path"] == "torch.optim.SGD" else {"lr"}
        assert stated.keys() >= wanted
        own = inspect.signature(getattr(torch.optim, parsed["class_path"].rsplit(".", 1)[-1])).parameters
        for argument, value in parsed["init_args"].items():
            assert value == stated.get(argument, own[argument].default), argument


def test_disguide_files_name_the_same_settings() -> None:
    named = {path.stem: frozenset(keys(read(path)["model"])) for path in DISGUIDE}
    assert len(set(named.values())) == 1, named
    assert len({frozenset(keys(read(path))) for path in PAPER}) == 1


@each_of_paper
def test_a_paper_config_names_paper_table_and_number(path: Path) -> None:
    text = header(path)
    assert re.search(r"Rosenthal et al., DisGUIDE: .*, AAAI 2023\.", text)
    for entry in re.search(r"Reproduces:\n((?:.+\n)+?)Paper:", text)[1].splitlines():  # type: ignore[index]
        assert re.match(r"(Tables? \d|Figure \d|section \d)", entry), entry
        assert re.search(r": .*\d\.\d+ (%|M|points)|no number in the text", entry), entry


@each_of_paper
def test_the_budget_in_the_header_is_that_of_the_config(path: Path) -> None:
    budget, iterations, batch, rest = re.search(  # type: ignore[union-attr]
        r"Budget: ([\d,]+) queries = ([\d,]+) iterations of (\d+)([,;].*)", header(path)
    ).groups()
    model = read(path)["model"]["init_args"]
    stated = int(budget.replace(",", ""))
    assert stated == model["threat_model"]["query_budget"]
    assert int(batch) == model["batch_size"]
    whole, left = divmod(stated, model["batch_size"] * model["clone_training"]["steps"])
    assert whole == int(iterations.replace(",", ""))
    assert "all of it spent" in rest if left == 0 else f"{left} queries" in rest


@each_attack
def test_its_victim_has_a_config_that_writes_it_or_is_shipped(path: Path) -> None:
    config = read(path)
    model = config["model"]["init_args"]["threat_model"]
    shape = {"channels": 3, "image_size": 32} | model
    victim = model["victim"]
    if victim in shipped_victims():
        card = load_victim(victim)[1]
        assert card.dataset == config["data"]["init_args"]["dataset"]
        for name in ("num_classes", "channels", "image_size"):
            assert shape[name] == getattr(card, name)
        return
    training = read(CONFIGS / f"victim_{Path(victim).name}.yaml")
    assert training["model"]["init_args"]["victim_dir"] == victim
    assert training["data"]["init_args"]["dataset"] == config["data"]["init_args"]["dataset"]
    for name in ("num_classes", "channels", "image_size"):
        assert shape[name] == training["model"]["init_args"][name]


@each_attack
def test_its_data_are_like_its_victim(path: Path) -> None:
    config = read(path)
    model, data = config["model"]["init_args"]["threat_model"], config["data"]["init_args"]
    assert DATASETS[data["dataset"]].num_classes == model["num_classes"]
    assert DATASETS[data["dataset"]].channels == model.get("channels", 3)
    assert data.get("image_size", 32) == model.get("image_size", 32)
