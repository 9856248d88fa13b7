"""What users get wrong: each is one clear line, a non-zero exit code, and no query."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import yaml
from safetensors.torch import load_file
from torch import Tensor

from lightning_extract.attacks import DisGUIDE
from lightning_extract.cli import main
from lightning_extract.networks import build_classifier
from lightning_extract.oracle import VictimOracle
from lightning_extract.victims.loading import SHIPPED, load_victim
from lightning_extract.victims.saving import save_victim
from tests.command_line import CONFIGS, complaint, only_message, start_script
from tests.image_folders import write_image_folder
from tests.miniature import CONF

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

CONFIG = CONF / "disguide.yaml"
FIT = ("fit", "--config", CONFIG, "--run_dir", "run")
THREAT = "--model.threat_model."
Capture = pytest.CaptureFixture[str]


def nothing_was_bought() -> bool:
    """No account, no table and no record, which a corrected start would be compared with."""
    return not any(Path("run").glob("*"))


def config_file(change: Callable[[Any], object]) -> Path:
    """The miniature config with a change."""
    config = yaml.safe_load(CONFIG.read_text())
    change(config)
    path = Path("changed.yaml")
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model.clone_training.network", "resnet99"],
            "the classifier 'resnet99' is unknown; choose one of",
        ),
        ([THREAT + "num_classes", "7"], "num_classes is 7, but the victim 'lenet5_mnist5k' has 10; set num_classes to"),
        ([THREAT + "channels", "3"], "channels is 3, but the victim 'lenet5_mnist5k' has 1; set channels to 1"),
        ([THREAT + "query_budget", "63"], "the budget of 63 queries does not pay one iteration of 64; raise query_bu"),
        ([THREAT + "query_budget", "-5"], "query_budget is -5; give a positive number of queries"),
        ([THREAT + "query_budget", "0"], "query_budget is 0; give a positive number of queries"),
        ([THREAT + "query_budget", "2e7"], "expected a whole number, got 20000000.0 (write 20000000, without point"),
        ([THREAT + "query_budget", "999.5"], "threat_model.query_budget: expected a whole number, got 999.5"),
        ([THREAT + "access", "logits"], "threat_model.access: expected one of 'soft', 'hard', got logits"),
        ([THREAT + "victim", "lenet5"], "victim 'lenet5' is neither shipped (lenet5_mnist5k) nor a folder with victim"),
        (["--model.batch_size", "0"], "batch_size is 0"),
        (["--model.replay.size", "10"], "replay.size 10 is below batch_size 64; raise it or set replay.batches to 0"),
        (["--model.schedule.milestones", "[40]"], "schedule.milestones are (40.0,); give shares of the attack"),
        (["--model.accuracy_goals", "[90]"], "accuracy_goals are [90.0]; give shares above 0 and up to 1"),
        (["--model.generator_training.steps", "0"], "generator_training.steps is 0; give at least 1"),
        (["--model.clone_optimizer.init_args.lr", "-1"], "an optimizer of the config cannot be made: Invalid learning"),
        (["--data.dataset", "mnist6k"], "'mnist6k' is neither a known data set (mnist5k, mnist,"),
        (["--seed_everything", "-1"], "seed_everything: expected a whole number >=0"),
        (["--seed_everything", "one"], "seed_everything: expected a whole number, got 'one'"),
        (["--checkpoint_every", "0"], "checkpoint_every: expected a whole number >0, got 0"),
        (["--collapse.patience", "20"], "collapse.patience is 20.0; give a share above 0 and up to 1"),
        (["--trainer.precision", "64-true"], "precision 64-true is not supported; use 32-true, bf16-mixed or 16-mixed"),
        (["--trainer.precision", "bf16-true"], "precision bf16-true is not supported; use 32-true, bf16-mixed"),
        (["--trainer.accelerator", "abacus"], "Lightning refuses the trainer's settings: You selected an invalid acc"),
        (["--trainer.devices", "0"], "value is not a valid input"),
        (["--trainer.devices", "1.5"], "Lightning refuses the trainer's settings: `devices` selected with"),
        (["--trainer.logger", "foo"], "the name foo or expected a list as [1,2] or expected true or false, got foo"),
        (["--process_timeout", "0"], "process_timeout: expected a number >0, got 0"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run is True, but an attack ends with its query_budget"),
        (["--trainer.max_steps", "9"], "trainer.max_steps is 9, but an attack ends with its query_budget"),
        (["--trainer.limit_val_batches", "1"], "trainer.limit_val_batches is 1"),
        (["--trainer.epochs", "3"], "unrecognized arguments: --trainer.epochs 3"),
        (["--modle", "DisGUIDE"], "unrecognized arguments: --modle DisGUIDE"),
        ([THREAT + "budget", "3"], "model: DisGUIDE: unrecognized arguments: --threat_model.budget=3"),
        (["--config", "nowhere.yaml"], "config file nowhere.yaml does not exist; give the path of a .yaml file"),
        (["--ckpt_path", "nowhere.ckpt"], "checkpoint nowhere.ckpt does not exist; give the path of a .ckpt file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in complaint(capsys, *FIT, *arguments)
    assert nothing_was_bought()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(modle=3), "Subcommand 'fit' does not accept option 'modle'"),
        (
            lambda config: config["model"]["init_args"]["threat_model"].update(budget=3),
            "model: DisGUIDE: Group 'threat_model' does not accept option 'budget'",
        ),
        (lambda config: config["model"]["init_args"].update(lr=3), "model: DisGUIDE: Option 'lr' is not accepted"),
        (lambda config: config["trainer"].update(epochs=3), "does not accept option 'trainer.epochs'"),
        (
            lambda config: config["data"]["init_args"].update(batch_size=3),
            "data: GeneratorStream: Option 'batch_size' is not accepted",
        ),
        (
            lambda config: config["model"].update(class_path="DisGIUDE"),
            "model: no class is known by the name DisGIUDE; see lightning-extract COMMAND --help",
        ),
        (lambda config: config["data"].update(class_path="Stream"), "data: no class is known by the name Stream"),
        (
            lambda config: config["model"]["init_args"].update(
                clone_optimizer={"class_path": "torch.optim.SDG", "init_args": {"lr": 0.1}}
            ),
            "model: DisGUIDE: clone_optimizer: module 'torch.optim' has no attribute 'SDG'",
        ),
        (
            lambda config: config["model"]["init_args"]["threat_model"].pop("victim"),
            "model: DisGUIDE: the following arguments are required: threat_model.victim",
        ),
        (
            lambda config: config["model"]["init_args"]["threat_model"].update(query_budget=2e7),
            "threat_model.query_budget: expected a whole number, got 20000000.0 (write 20000000, without point",
        ),
    ],
)
def test_a_wrong_config(change: Callable[[Any], object], message: str, capsys: Capture) -> None:
    assert message in complaint(capsys, "fit", "--config", config_file(change), "--run_dir", "run")
    assert nothing_was_bought()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [1,\ntrainer: }", "config file broken.yaml is no valid YAML (line 2): "),
        ("", "config file broken.yaml holds no settings"),
        ("DisGUIDE", "config file broken.yaml holds no settings"),
        ("\x00", "config file broken.yaml is no text"),
    ],
)
def test_a_file_that_is_no_config(text: str, message: str, capsys: Capture) -> None:
    Path("broken.yaml").write_text(text)
    for option in (["--config", "broken.yaml"], ["--config=broken.yaml"], ["-c", "broken.yaml"]):
        assert message in complaint(capsys, "fit", *option)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fti"], "'fti' is no command; give one of fit, validate, test, predict, report, status, import-victim"),
        (["fit"], "the following arguments are required: fit.data, fit.model"),
        (["fit", "--config"], "expected one argument"),
        (["report"], "the following arguments are required: runs, out"),
        (["report", "runs", "--out", "out"], "runs is no folder; give run folders or a folder that holds them"),
        (["import-victim"], "the following arguments are required: weights, network, dataset, out, mean, std, num"),
        (["test", "--config", CONFIG], "runs/disguide/seed_0/checkpoints/last.ckpt does not exist; run fit first"),
        (["predict", "--config", CONFIG, "--run_dir", "x"], "x/checkpoints/last.ckpt does not exist; run fit first"),
    ],
)
def test_a_wrong_command(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in complaint(capsys, *arguments)


# Transferability: refused before a checkpoint is looked for.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--transfer.attacks", "[fgsm, cw]"], "expected one of 'fgsm', 'bim', 'pgd'"),
        (["--transfer.attacks", "fgsm"], "transfer.attacks: expected a list as [1,2]"),
        (["--transfer.norm", "1"], "transfer.norm: expected one of 'inf', 2, got 1"),
        (["--transfer.epsilons", "[0.1, 0]"], "transfer.epsilons are [0.1, 0.0]; give sizes above 0, in pixels in [0,"),
        (["--transfer.epsilons", "[8]"], "transfer.epsilons are [8.0]; in norm inf give at most 1, since pixels"),
        (["--transfer.targeted", "7"], "transfer.targeted: expected true or false, got 7"),
        (["--transfer.steps", "0"], "transfer.steps is 0; give a whole number from 1"),
        (["--transfer.step_size", "2"], "transfer.step_size is 2.0; give a share of epsilon above 0 and up to 1"),
        (["--transfer.restarts", "0"], "transfer.restarts is 0; give a whole number from 1"),
        (["--transfer.samples", "-1"], "transfer.samples is -1; give a whole number from 0"),
        (["--transfer.atacks", "[pgd]"], "unrecognized arguments: --transfer.atacks [pgd]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_evasion_attack(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in complaint(capsys, "test", *FIT[1:], "--transfer.attacks", "[fgsm]", *arguments)
    assert nothing_was_bought()


def test_evasion_attacks_without_their_library(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for name in [name for name in sys.modules if name == "art" or name.startswith("art.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "art", None)  # what Python makes of a package that is not there
    message = complaint(capsys, "test", *FIT[1:], "--transfer.attacks", "[fgsm]")
    assert message.startswith("transfer.attacks need the Adversarial Robustness Toolbox, which is not installed; run ")


def test_evasion_attacks_without_a_clone(capsys: Capture) -> None:
    config = CONFIGS / "victim_lenet5_mnist5k.yaml"
    message = complaint(capsys, "test", "--config", config, "--transfer.attacks", "[fgsm]")
    assert message == "transfer.attacks need a clone, but this config trains a victim; remove them"


def test_evasion_attacks_are_no_part_of_a_run(capsys: Capture) -> None:
    assert "unrecognized arguments: --transfer.attacks" in complaint(capsys, *FIT, "--transfer.attacks", "[fgsm]")


# Victims.


def shipped_copy(**card: object) -> Path:
    """The shipped victim in a folder of its own, with changes to its card."""
    folder = Path("victim")
    folder.mkdir()
    source = SHIPPED / "lenet5_mnist5k"
    (folder / "victim.safetensors").write_bytes((source / "victim.safetensors").read_bytes())
    (folder / "card.json").write_text(json.dumps(json.loads((source / "card.json").read_text()) | card))
    return folder


def truncate_weights(folder: Path) -> None:
    path = folder / "victim.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "victim.safetensors").unlink(), "nor a folder with victim.safetensors: train one"),
        (truncate_weights, "victim/victim.safetensors has sha256 "),
        (lambda folder: (folder / "card.json").write_text("{"), "victim/card.json is not valid JSON"),
        (lambda folder: (folder / "card.json").write_text("{}"), "victim/card.json is no victim card of this release"),
    ],
)
def test_a_damaged_victim(damage: Callable[[Path], object], message: str, capsys: Capture) -> None:
    damage(shipped_copy())
    assert message in complaint(capsys, *FIT, THREAT + "victim", "victim")
    assert nothing_was_bought()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"weights_sha256": "0" * 64}, "its card says 000000000000...: the file was changed or damaged"),
        ({"network": "lenet7"}, "the classifier 'lenet7' is unknown"),
        ({"network": "lenet5_half"}, "does not hold a lenet5_half with 10 classes"),
        ({"std": [0.0]}, "std [0.0] positive"),
    ],
)
def test_a_wrong_card(card: dict[str, object], message: str, capsys: Capture) -> None:
    shipped_copy(**card)
    assert message in complaint(capsys, *FIT, THREAT + "victim", "victim")
    assert nothing_was_bought()


def test_weights_that_are_not_finite(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    network, card = load_victim("lenet5_mnist5k")
    next(network.parameters()).view(-1)[3] = float("nan")
    described = {name: value for name, value in vars(card).items() if name not in ("weights_sha256", "format_version")}
    with monkeypatch.context() as patch:
        patch.setattr("lightning_extract.victims.saving.check_finite", lambda *_: None)
        save_victim("victim", network, **described)
    assert "is not finite; the training diverged" in complaint(capsys, *FIT, THREAT + "victim", "victim")
    assert nothing_was_bought()


def test_all_that_is_missing_is_named_at_once(capsys: Capture) -> None:
    message = complaint(capsys, *FIT, THREAT + "victim", "victims/lenet5_mnist", "--data.dataset", "mnist")
    first, victim, data = message.splitlines()
    assert first == "cannot start, something is missing:"
    assert "--config configs/victim_lenet5_mnist.yaml" in victim
    assert "data set mnist is not complete in data/" in data
    assert nothing_was_bought()


def test_data_with_other_classes_than_the_victims(capsys: Capture) -> None:
    write_image_folder(Path("birds"), size=32, channels=1)
    message = complaint(capsys, *FIT, "--data.dataset", "birds", "--data.channels", "1")
    assert "num_classes is 10, but the evaluation data set has 2; use data like the victim's" in message
    assert nothing_was_bought()


# Queries and answers.


def bright(self: DisGUIDE, count: int) -> Tensor:
    return torch.full((count, *self.threat_model.image_shape), 1.5)


def test_pixels_out_of_range_are_never_bought(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(DisGUIDE, "make_queries", bright)
    message = complaint(capsys, *FIT)
    assert "pixels sent to the victim must be finite and lie in [-1, 1], found from 1.5 to 1.5" in message
    assert not Path("run/summary.json").exists()


def test_pixels_that_are_nan(capsys: Capture) -> None:
    message = complaint(capsys, *FIT, "--model.generator_optimizer.init_args.lr", "1e30")
    assert "found from nan to nan" in message
    assert "lower the generator's learning rate" in message


def test_answers_that_are_nan(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def diverging(self: VictimOracle, samples: Tensor) -> Tensor:
        return torch.full((len(samples), self.num_classes), float("nan"))

    monkeypatch.setattr(VictimOracle, "_forward", diverging)
    message = complaint(capsys, *FIT)
    assert 'the victim\'s answers must be finite, found values from nan to nan (phase "probe")' in message
    assert nothing_was_bought()


def test_a_strategy_that_cannot_alternate_networks(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # what Lightning writes there is taken back
        monkeypatch.delenv(name)
    message = complaint(capsys, *FIT, "--trainer.strategy", "ddp")
    dist.destroy_process_group()
    assert (
        'strategy "ddp" cannot alternate networks; set trainer.strategy to ddp_find_unused_parameters_true' in message
    )
    assert nothing_was_bought()


# Run folders and checkpoints.


@pytest.fixture
def started(capsys: Capture) -> Path:
    """The folder of a run that has begun."""
    main([str(argument) for argument in (*FIT, "--trainer.max_epochs", "1")])
    return Path("run")


def test_a_run_folder_of_another_run(started: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in started.rglob("*") if path.is_file()}
    message = complaint(capsys, *FIT, "--model.batch_size", "32")
    assert message == (
        "run folder run holds a different run: model.init_args.batch_size is 64 there and 32 now; "
        "choose another --run_dir or remove that folder"
    )
    assert {path: path.read_bytes() for path in started.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_a_checkpoint_that_is_cut_off(command: str, started: Path, capsys: Capture) -> None:
    last = started / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:2000])
    message = complaint(capsys, command, *FIT[1:])
    assert message.startswith("checkpoint run/checkpoints/last.ckpt cannot be read (")
    assert message.endswith("which can be read, or another")


def test_a_checkpoint_of_other_networks(started: Path, capsys: Capture) -> None:
    message = complaint(capsys, "test", *FIT[1:], "--model.clone_training.network", "cnn_2_1")
    assert "checkpoint run/checkpoints/last.ckpt holds other networks than this config: " in message
    assert "give the config.yaml of the checkpoint's own run folder" in message


@pytest.mark.parametrize("content", [{"weights": 1}, [1, 2], {"state_dict": {}}])
def test_a_checkpoint_of_something_else(content: object, capsys: Capture) -> None:
    torch.save(content, "other.ckpt")
    message = complaint(capsys, *FIT, "--ckpt_path", "other.ckpt")
    assert message == "other.ckpt is no checkpoint of a run; give a file from a run folder's checkpoints/"
    assert nothing_was_bought()


def test_an_optimizer_that_no_victim_can_learn_with(capsys: Capture) -> None:
    config = CONFIGS / "victim_lenet5_mnist5k.yaml"
    message = complaint(capsys, "fit", "--config", config, "--model.optimizer.init_args.lr", "-1")
    assert message == "the optimizer or scheduler of the config cannot be made: Invalid learning rate: -1.0"


def test_a_run_folder_that_is_a_file(capsys: Capture) -> None:
    Path("run").write_text("")
    assert "run folder run cannot be made" in complaint(capsys, *FIT)


# The same through the console script.


def stderr_of(*arguments: str | Path) -> str:
    process = start_script(*arguments)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors[-3000:]
    return errors


def test_the_script_says_it_in_one_line() -> None:
    errors = stderr_of("fit", "--config", config_file(lambda config: config["model"].update(class_path="DisGIUDE")))
    start, end = "lightning-extract: error: model: no class is known by the name DisGIUDE", "COMMAND --help"
    assert errors == f"{start}; see lightning-extract {end}\n"


def test_of_two_processes_one_says_it() -> None:
    arguments = ("--trainer.devices", "2", "--model.batch_size", "63")
    assert only_message(stderr_of(*FIT, *arguments)) == (
        "batch_size 63 does not divide over 2 processes; choose a multiple or another number of devices"
    )
    assert nothing_was_bought()


def test_a_foreign_file_of_weights(capsys: Capture) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, "foreign.pt")
    arguments = ["--weights", "foreign.pt", "--network", "lenet5", "--dataset", "mnist5k", "--out", "victim",
                 "--mean", "[0.1]", "--std", "[0.3]", "--num_classes", "10", "--channels", "1"]  # fmt: skip
    assert "foreign.pt does not hold a lenet5 with 10 classes" in complaint(capsys, "import-victim", *arguments)
    torch.save(load_file(SHIPPED / "lenet5_mnist5k/victim.safetensors"), "foreign.pt")
    main(["import-victim", *arguments])
    network, card = load_victim("victim")
    assert type(network) is type(build_classifier("lenet5", 10, 1, 32))
    assert card.test_accuracy is not None
