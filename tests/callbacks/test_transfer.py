import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from lightning_extract.attacks import DisGUIDE
from lightning_extract.callbacks.transfer import TransferReport
from lightning_extract.callbacks.transfer_file import TransferFile
from lightning_extract.cli import main
from lightning_extract.errors import InputError
from lightning_extract.victims.loading import load_victim
from tests.command_line import run_script
from tests.miniature import CONF
from tests.stand_ins import small_disguide, stand_in_trainer

RECORD = Path("run/transfer.json")


def entry(name: str = "fgsm", epsilon: float = 0.1, **others: Any) -> dict[str, Any]:
    settings = {"norm": "inf", "targeted": False, "steps": 1, "step_size": 1.0, "restarts": 1}
    return {"name": name, "epsilon": epsilon, "rate": 0.5} | settings | others


class Recorder:
    """A measurement that remembers what it was given, in which state the clones were, and asks them."""

    def __init__(self, attack: DisGUIDE, samples: int = 0, seed: int = 0) -> None:
        self.attack, self.samples, self.seed = attack, samples, seed
        self.found = [entry()]

    def run(self, **given: Any) -> list[dict[str, Any]]:
        self.given = given
        clones = self.attack.clones
        self.frozen = not clones.training and not any(weight.requires_grad for weight in clones.parameters())
        with torch.inference_mode(False), torch.enable_grad():
            images = given["images"].clone().requires_grad_()
            given["clone"](images)[:, 0].sum().backward()
            self.moved_by = images.grad
        return self.found


def victim_of(images: Tensor) -> Tensor:
    """The victim's class is written in the first pixel, in tenths."""
    return torch.nn.functional.one_hot((10 * images[:, 0, 0, 0]).round().long(), 10).float()


def images_of(classes: list[int]) -> Tensor:
    return (torch.tensor(classes).view(-1, 1, 1, 1) / 10).expand(-1, 1, 32, 32).clone()


def opened_attack() -> DisGUIDE:
    attack = small_disguide()
    attack.oracle = SimpleNamespace(to_input_space=lambda images: images, reference=victim_of)  # type: ignore[assignment]
    attack.victim_card = SimpleNamespace(weights_sha256="abc", num_classes=10)  # type: ignore[assignment]
    return attack


def run(recorder: Recorder, batches: list[tuple[Tensor, Tensor]], **trainer_values: Any) -> None:
    values = {"default_root_dir": "run", "progress_bar_callback": None} | trainer_values
    trainer, report = stand_in_trainer(**values), TransferReport(recorder)
    with torch.inference_mode():
        report.setup(trainer, recorder.attack, "test")
        report.on_test_start(trainer, recorder.attack)
        for index, batch in enumerate(batches):
            report.on_test_batch_end(trainer, recorder.attack, None, batch, index)
        report.on_test_end(trainer, recorder.attack)


BATCHES = [
    (images_of([1, 2, 3]), torch.tensor([1, 0, 3])),
    (images_of([4, 5, 6]), torch.tensor([0, 5, 6])),
    (images_of([7, 8]), torch.tensor([7, 8])),
]


@pytest.mark.parametrize(("samples", "kept"), [(0, [1, 3, 5, 6, 7, 8]), (3, [5, 6, 8]), (100, [1, 3, 5, 6, 7, 8])])
def test_images_that_the_victim_gets_right(samples: int, kept: list[int]) -> None:
    recorder = Recorder(opened_attack(), samples)
    run(recorder, BATCHES)
    assert recorder.given["labels"].tolist() == kept
    torch.testing.assert_close(recorder.given["images"], images_of(kept))
    assert recorder.given["num_classes"] == 10
    assert (recorder.given["rank"], recorder.given["world_size"]) == (0, 1)
    torch.testing.assert_close(recorder.given["victim"](images_of([4])), victim_of(images_of([4])))


def test_images_are_drawn_by_the_seed_and_not_the_first_ones() -> None:
    chosen = set()
    for seed in range(20):
        recorder = Recorder(opened_attack(), samples=2, seed=seed)
        run(recorder, BATCHES)
        chosen.add(tuple(recorder.given["labels"].tolist()))
    assert len(chosen) > 5
    assert {label for pair in chosen for label in pair} == {1, 3, 5, 6, 7, 8}


def test_the_clones_are_frozen_while_it_lasts() -> None:
    attack = opened_attack()
    attack.clones.train()
    frozen_before = next(attack.clones.parameters()).requires_grad_(False)
    recorder = Recorder(attack)
    run(recorder, BATCHES)
    assert recorder.frozen
    assert recorder.moved_by is not None
    assert recorder.moved_by.abs().sum() > 0
    assert all(weight.grad is None for weight in attack.clones.parameters())
    assert attack.clones.training
    assert [weight for weight in attack.clones.parameters() if not weight.requires_grad] == [frozen_before]


def test_a_victim_that_gets_nothing_right() -> None:
    with pytest.raises(InputError, match="classifies no test image correctly"):
        run(Recorder(opened_attack()), [(images_of([1, 2]), torch.tensor([0, 0]))])
    assert not RECORD.exists()


# The file.


def names_in(record: Path = RECORD) -> list[tuple[str, float, float]]:
    content = json.loads(record.read_text())
    return [(found["name"], found["epsilon"], found["rate"]) for found in content["evasions"]]


def test_the_file_grows_and_replaces() -> None:
    recorder = Recorder(opened_attack())
    recorder.found = [entry("fgsm", 0.1), entry("pgd", 0.1)]
    run(recorder, BATCHES)
    recorder.found = [entry("pgd", 0.1, rate=0.7, seed=3), entry("fgsm", 0.2)]
    run(recorder, BATCHES)
    assert names_in() == [("fgsm", 0.1, 0.5), ("pgd", 0.1, 0.7), ("fgsm", 0.2, 0.5)]
    recorder.found = [entry("pgd", 0.1, restarts=5)]
    run(recorder, BATCHES)
    assert len(names_in()) == 4
    content = json.loads(RECORD.read_text())
    assert content["victim"] == {"name": "lenet5_mnist5k", "weights_sha256": "abc"}
    assert content["clone"]["queries"] == 0
    assert [path.name for path in RECORD.parent.iterdir()] == ["transfer.json"]


@pytest.mark.parametrize("part", ["victim", "clone"])
def test_another_clone_or_victim_starts_anew(part: str) -> None:
    recorder = Recorder(opened_attack())
    run(recorder, BATCHES)
    if part == "clone":
        with torch.no_grad():
            next(recorder.attack.clones.parameters()).view(-1)[0] += 1
    else:
        recorder.attack.victim_card = SimpleNamespace(weights_sha256="xyz", num_classes=10)  # type: ignore[assignment]
    recorder.found = [entry("pgd")]
    with pytest.warns(UserWarning, match="about another clone or victim is dropped"):
        run(recorder, BATCHES)
    assert names_in() == [("pgd", 0.1, 0.5)]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 2}', "\xff"])
def test_a_file_that_is_none_is_refused_before_anything_is_computed(content: str) -> None:
    RECORD.parent.mkdir()
    RECORD.write_text(content)
    with pytest.raises(InputError, match=r"run/transfer\.json is no record of format 1; move it away"):
        run(Recorder(opened_attack()), [])
    assert RECORD.read_text() == content


def test_numbers_that_are_none_are_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        TransferFile(Path("run")).add({"weights_sha256": ""}, {"weights_sha256": ""}, [entry(rate=float("nan"))])
    assert not RECORD.exists()


# The whole, through the command line.


@pytest.fixture
def perfect_run() -> Path:
    """The folder of a short run whose clones are then given the victim's own weights."""
    arguments = ["--trainer.max_epochs", "1", "--model.clone_training.network", "lenet5",
                 "--model.threat_model.input_space", "post_transform"]  # fmt: skip
    main(["fit", "--config", str(CONF / "disguide.yaml"), "--run_dir", "run", *arguments])
    path = Path("run/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    victim, _ = load_victim("lenet5_mnist5k")
    for name, value in victim.state_dict().items():
        for member in range(2):
            assert f"clones.members.{member}.{name}" in checkpoint["state_dict"]
            checkpoint["state_dict"][f"clones.members.{member}.{name}"] = value
    torch.save(checkpoint, path)
    return Path("run")


def test_clones_that_are_the_victim_through_the_command_line(
    perfect_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["test", "--config", "run/config.yaml", "--transfer.attacks", "[fgsm, pgd]",
               "--transfer.epsilons", "[0.1, 0.3]", "--transfer.samples", "150", "--transfer.steps", "3",
               "--transfer.restarts", "2", "--transfer.batch_size", "40"]  # fmt: skip
    main(command)
    printed = capsys.readouterr()
    content = json.loads(RECORD.read_text())
    summary = json.loads(Path("run/summary.json").read_text())
    assert content["victim"]["weights_sha256"] == summary["victim"]["weights_sha256"]
    assert content["clone"]["queries"] == summary["queries"]["spent"]
    found = {(one["name"], one["epsilon"]): one for one in content["evasions"]}
    assert list(found) == [("fgsm", 0.1), ("fgsm", 0.3), ("pgd", 0.1), ("pgd", 0.3)]
    for one in found.values():
        assert (one["samples"], one["rate"]) == (150, one["successes"] / 150)
        assert one["rate"] == one["clone_rate"], "what fools the one fools the other"
        assert one["rate"] > 5 * one["noise_rate"]
    assert found["fgsm", 0.1]["rate"] < found["fgsm", 0.3]["rate"] <= found["pgd", 0.3]["rate"]
    assert found["pgd", 0.3]["rate"] > 0.95
    assert "transferability to lenet5_mnist5k" in printed.out
    assert f"{100 * found['fgsm', 0.1]['rate']:.1f} [" in printed.out
    assert "transfer: 100%" in printed.err
    assert "transfer" not in yaml.safe_load(Path("run/config.yaml").read_text())

    RECORD.unlink()
    run_script(*command, "--trainer.devices", "2")
    assert json.loads(RECORD.read_text()) == content, "two processes find what one finds"
