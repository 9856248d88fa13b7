"""Every config file: it is read by the real parser, says all that decides numbers, and fits its victim and data."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_extract.data.datasets import DATASETS
from lightning_extract.data.text_sets import TEXT_DATASETS
from lightning_extract.victims.loading import load_victim, shipped_victims
from tests.command_line import CONFIGS
from tests.config_files import (
    ALL,
    ATTACKS,
    PAPER,
    attack_of,
    each,
    each_attack,
    each_shown,
    header,
    keys,
    leaves,
    make_parts,
    medium_of,
    parse,
    read,
    settings,
)
from tests.miniature import CONF

# The clones of the papers; this project's own experiments have smaller ones, for one core.
FULL_SIZE = {"resnet18_8x", "resnet34_8x", "wrn_22_2", "alexnet_half"}
# ActiveThief's clones are small; this project's own experiments train them shorter.
FULL_LENGTH = 1000

# What may be left to its default, since it changes speed, places or nothing.
DECIDES_NO_NUMBER = re.compile(
    r".*\.(channels_last|compile|root|pool_root|download|channels|overwrite|eval_batch_size|cache|pool_cache|"
    r"deepfool\.batch_size)"
)
# What may be left out where the default is this value: then the experiment is as if the setting did not exist.
NEUTRAL = {
    "clone_training.temperature": 1.0,  # no softening
    "clone_training.start_from": (),  # clones start from random weights
    "generator_training.affine": False,  # the generator of the other papers
    "replay.stored": "all",  # no batch is left out
    "schedule.shape": "steps",  # milestones and factor say all
    "schedule.warmup": 0.0,  # rates start in full
    "earlier.run": "",  # no stage is taken over from another run
    "init_args.replay_dtype": "float32",  # pixels are kept as they are
    "init_args.pool_classes": None,  # no image is left out
    "init_args.pool_limit": None,
    "init_args.accuracy_goals": [],  # the queries to none are reported
    "init_args.dropout": None,  # the network's own
    "init_args.batch_norm_momentum": None,
    "init_args.patience": None,  # a victim's last weights, and no images kept apart to choose others by
    "init_args.validation_share": 0.0,
    "threat_model.medium": "images",  # as in all data-free attacks
}
OF_REPLAY = re.compile(r".*\.replay\.(size|stored|dtype|device)")
OF_STEPS = re.compile(r".*\.schedule\.(milestones|factor)")
OF_SHAPES = re.compile(r"data\.init_args\.shapes\..*")
OF_IMAGES = re.compile(r".*\.threat_model\.(channels|image_size)")
OF_TEXTS = re.compile(r"model\.init_args\.text\..*")
OF_WORD_NOISE = re.compile(r"data\.init_args\.noise_(words|lengths)")
OF_ADVERSARIAL = re.compile(r".*\.selection\.deepfool\..*")
OF_CHAINS = re.compile(r".*\.selection\.survivors")
OF_EARLIER_STAGES = re.compile(r".*\.earlier\.through")
STAGE_OPTIMIZER = re.compile(r".*\.stages\.\w+\.\w+_optimizer")


def shape_of_schedule(key: str, model: dict[str, Any]) -> str:
    """The shape of the schedule that a setting belongs to: the attack's, or that of a stage."""
    stage = re.search(r"\.stages\.(\w+)\.", key)
    owner = model.get("stages", {}).get(stage[1], {}) if stage else model
    return str(owner.get("schedule", {}).get("shape", "steps"))


def has_no_effect(key: str, value: Any, model: dict[str, Any], pool: str = "") -> bool:
    """Whether a setting with this value leaves the numbers of a parsed model as they are."""
    medium = model.get("threat_model", {}).get("medium", "images")
    strategies = model.get("selection", {}).get("strategies", ())
    off = {
        OF_REPLAY: model.get("replay", {}).get("batches") == 0,
        OF_STEPS: shape_of_schedule(key, model) != "steps",
        OF_SHAPES: pool != "synthetic_shapes",
        OF_IMAGES: medium == "text",
        OF_TEXTS: medium == "images",
        OF_WORD_NOISE: pool != "uniform_words",
        OF_ADVERSARIAL: "adversarial" not in strategies,
        OF_CHAINS: len(strategies) == 1,
        OF_EARLIER_STAGES: not model.get("stages", {}).get("earlier", {}).get("run"),
        STAGE_OPTIMIZER: value is None,  # the attack's own optimizer
        re.compile(r".*\.class_capacity"): model.get("threat_model", {}).get("num_classes") != "unknown",
    }
    name = ".".join(key.split(".")[-2:])
    return (
        DECIDES_NO_NUMBER.fullmatch(key) is not None
        or any(pattern.fullmatch(key) and without for pattern, without in off.items())
        or (name in NEUTRAL and value == NEUTRAL[name])
    )


def is_full_size(path: Path) -> bool:
    """Whether a config's clones are those of its paper, and trained as long."""
    if attack_of(path) == "ActiveThief":
        return bool(settings(path)["early_stopping"]["epochs"] == FULL_LENGTH)
    return settings(path)["clone_training"]["network"] in FULL_SIZE


def test_none_is_overlooked() -> None:
    assert len(ALL) > 60
    assert set(PAPER) == set(filter(is_full_size, ATTACKS))


@each
def test_it_is_read_by_the_real_parser(path: Path) -> None:
    assert parse(path)["model"]["class_path"].rsplit(".", 1)[-1] == read(path)["model"]["class_path"]


@each
def test_its_parts_can_be_made(path: Path) -> None:
    parts = make_parts(path)
    assert type(parts.model).__name__ == attack_of(path)
    assert type(parts.data).__name__ == read(path)["data"]["class_path"]


@each
def test_a_header_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert len(header(path)) > 40


@each_shown
def test_all_that_decides_numbers_is_stated(path: Path) -> None:
    stated = keys({name: read(path)[name] for name in ("model", "data")})
    model = parse(path)["model"]["init_args"]
    known = leaves({name: parse(path)[name] for name in ("model", "data")})
    pool = read(path)["data"]["init_args"].get("pool", "")
    silent = {key for key, value in known if key not in stated and not has_no_effect(key, value, model, pool)}
    if "threat_model:" in path.read_text():
        assert {key for key in silent if "_optimizer." not in key} == set()
    else:
        optional = {f"model.init_args.{name}" for name in ("lr_interval", "label_smoothing", "vectors_limit")}
        assert {key for key in silent if "optimizer." not in key and "scheduler." not in key} <= optional


def test_settings_without_effect_are_those_of_the_list() -> None:
    steps, cosine = {"schedule": {"shape": "steps"}}, {"schedule": {"shape": "cosine"}}
    assert has_no_effect("model.init_args.schedule.milestones", (0.5,), cosine)
    assert not has_no_effect("model.init_args.schedule.milestones", (0.5,), steps)
    assert not has_no_effect("model.init_args.schedule.shape", "cosine", cosine)
    assert has_no_effect("model.init_args.replay.size", 5, {"replay": {"batches": 0}})
    assert not has_no_effect("model.init_args.replay.size", 5, {"replay": {"batches": 1}})
    assert not has_no_effect("model.init_args.replay.stored", "last", {"replay": {"batches": 1}})
    assert not has_no_effect("model.init_args.clone_training.temperature", 3.0, {})
    assert not has_no_effect(
        "model.init_args.clone_training.class_capacity", 9, {"threat_model": {"num_classes": "unknown"}}
    )
    assert not has_no_effect("data.init_args.pool_limit", 50, {})
    assert has_no_effect("data.init_args.shapes.count", 9, {}, pool="cifar10")
    assert not has_no_effect("data.init_args.shapes.count", 9, {}, pool="synthetic_shapes")
    images, text = {"threat_model": {"medium": "images"}}, {"threat_model": {"medium": "text"}}
    for setting, effective, without in (
        ("threat_model.image_size", images, text),
        ("text.vocabulary", text, images),
        ("selection.deepfool.steps", {"selection": {"strategies": ("adversarial", "kcenter")}}, text),
        (
            "selection.survivors",
            {"selection": {"strategies": ("random", "kcenter")}},
            {"selection": {"strategies": ("kcenter",)}},
        ),
    ):
        assert has_no_effect(f"model.init_args.{setting}", 9, without)
        assert not has_no_effect(f"model.init_args.{setting}", 9, effective)
    assert not has_no_effect("model.init_args.threat_model.medium", "text", text)
    assert has_no_effect("data.init_args.noise_lengths", (1, 2), text, pool="wikitext2")
    assert not has_no_effect("data.init_args.noise_lengths", (1, 2), text, pool="uniform_words")
    assert not has_no_effect("model.init_args.accuracy_goals", [0.8], {})
    stages = {"stages": {"alternating": {"schedule": {"shape": "cosine"}}, "earlier": {"run": "runs/other"}}}
    assert has_no_effect("model.init_args.stages.alternating.schedule.factor", 0.3, stages)
    assert not has_no_effect("model.init_args.stages.clone_init.schedule.factor", 0.3, stages)
    assert not has_no_effect("model.init_args.stages.earlier.through", "gan", stages)


@each
def test_optimizers_keep_nothing_of_the_class_defaults(path: Path) -> None:
    # jsonargparse keeps what an attack's own default says where a config names the same optimizer.
    model = settings(path)
    named = [name for name in model if name.endswith("optimizer")]
    assert named or path.parent == CONF
    for name in named:
        stated, parsed = model[name]["init_args"], parse(path)["model"]["init_args"][name]
        assert parsed["class_path"] == model[name]["class_path"]
        wanted = {"lr", "momentum", "weight_decay"} if parsed["class_path"] == "torch.optim.SGD" else {"lr"}
        assert stated.keys() >= wanted
        own = inspect.signature(getattr(torch.optim, parsed["class_path"].rsplit(".", 1)[-1])).parameters
        for argument, value in parsed["init_args"].items():
            wanted_value = stated.get(argument, own[argument].default)
            assert value == (tuple(wanted_value) if isinstance(value, tuple) else wanted_value), argument


@pytest.mark.parametrize(("attack", "medium"), sorted({(attack_of(path), medium_of(path)) for path in PAPER}))
def test_paper_configs_of_an_attack_name_the_same_settings(attack: str, medium: str) -> None:
    optional = re.compile(
        rf".*({'|'.join(map(re.escape, NEUTRAL))}|class_capacity)|{OF_STEPS.pattern}|{OF_SHAPES.pattern}"
    )
    files = [path for path in PAPER if (attack_of(path), medium_of(path)) == (attack, medium)]
    named = {path.stem: frozenset(key for key in keys(read(path)) if not optional.fullmatch(key)) for path in files}
    assert len(set(named.values())) == 1, named


def test_small_disguide_configs_name_the_settings_of_the_large() -> None:
    named = {path.stem: frozenset(keys(settings(path))) for path in ATTACKS if attack_of(path) == "DisGUIDE"}
    del named["disguide"]  # the miniature
    assert len(set(named.values())) == 1, named


@each_attack
def test_its_victim_has_a_config_that_writes_it_or_is_shipped(path: Path) -> None:
    config = read(path)
    model = settings(path)["threat_model"]
    shape = {"channels": 3, "image_size": 32} | model
    victim = model["victim"]
    possible = ("num_classes", "channels", "image_size") if medium_of(path) == "images" else ("num_classes",)
    names = [name for name in possible if shape[name] != "unknown"]
    if victim in shipped_victims():
        card = load_victim(victim)[1]
        assert card.dataset == config["data"]["init_args"]["dataset"]
        assert [shape[name] for name in names] == [getattr(card, name) for name in names]
        return
    training = read(CONFIGS / f"victim_{Path(victim).name}.yaml")
    assert training["model"]["init_args"]["victim_dir"] == victim
    assert training["data"]["init_args"]["dataset"] == config["data"]["init_args"]["dataset"]
    assert [shape[name] for name in names] == [training["model"]["init_args"][name] for name in names]


@each_attack
def test_its_data_are_like_its_victim(path: Path) -> None:
    model, data = settings(path)["threat_model"], read(path)["data"]["init_args"]
    if medium_of(path) == "text":
        assert read(path)["data"]["class_path"] == "SentenceStream"
        assert model["num_classes"] == TEXT_DATASETS[data["dataset"]]
        return
    assert model["num_classes"] in ("unknown", DATASETS[data["dataset"]].num_classes)
    assert DATASETS[data["dataset"]].channels == model.get("channels", 3)
    assert data.get("image_size", 32) == model.get("image_size", 32)


@each_attack
def test_runs_that_it_starts_from_are_of_a_config_like_it(path: Path) -> None:
    for run in settings(path)["clone_training"].get("start_from", []):
        experiment = re.fullmatch(r"runs/(\w+)/seed_\d+", run)
        assert experiment is not None
        origin = settings(CONFIGS / f"{experiment[1]}.yaml")
        assert origin["clone_training"]["network"] == settings(path)["clone_training"]["network"]
        for name in ("victim", "input_space", "num_classes"):
            assert origin["threat_model"][name] == settings(path)["threat_model"][name]
