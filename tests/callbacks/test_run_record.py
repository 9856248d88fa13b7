from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.cli import LightningArgumentParser

from lightning_extract.callbacks.run_record import RunRecord
from lightning_extract.errors import InputError
from tests.stand_ins import noise_attack, stand_in_trainer


def record(stage: str = "fit", first_process: bool = True, **values: Any) -> None:
    """Starts a run with a small configuration."""
    parser = LightningArgumentParser()
    parser.add_argument("--seed_everything", type=int, default=0)
    for name in ("model.init_args.batch_size", "model.init_args.threat_model.query_budget"):
        parser.add_argument(f"--{name}", type=int, default=64)
    parser.add_argument("--data.init_args.image_size", type=int, default=32)
    parser.add_argument("--data.init_args.eval_batch_size", type=int, default=512)
    parser.add_argument("--data.init_args.root", type=str, default="data")
    parser.add_argument("--model.init_args.goals", type=list[float], default=[])
    parser.add_argument("--model.init_args.replay.device", type=str, default="cpu")
    parser.add_argument("--trainer.devices", type=int, default=1)
    parser.add_argument("--trainer.precision", type=str | None, default=None)
    config = parser.parse_object(values)
    trainer = stand_in_trainer(default_root_dir="run", is_global_zero=first_process)
    callback = RunRecord(parser, config)
    callback.setup(trainer, noise_attack(), stage)
    if stage == "fit":
        callback.on_train_start(trainer, noise_attack())


def test_writes_what_was_run() -> None:
    record(seed_everything=3)
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["seed_everything"] == 3
    assert config["model"]["init_args"]["threat_model"]["query_budget"] == 64
    assert [path.name for path in Path("run").iterdir()] == ["config.yaml"]


def test_the_same_run_is_welcome_again_on_other_devices() -> None:
    record()
    before = Path("run/config.yaml").read_bytes()
    record()
    record(trainer={"devices": 2})
    assert Path("run/config.yaml").read_bytes() == before


def test_a_changed_key_is_refused_and_named() -> None:
    record()
    message = (
        r"run folder run holds a different run: model.init_args.batch_size is 64 there and 128 now; "
        r"choose another --run_dir or remove that folder"
    )
    with pytest.raises(InputError, match=message):
        record(model={"init_args": {"batch_size": 128}})
    assert yaml.safe_load(Path("run/config.yaml").read_text())["model"]["init_args"]["batch_size"] == 64


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"seed_everything": 1}, "seed_everything is 0 there and 1 now"),
        ({"trainer": {"precision": "bf16-mixed"}}, "trainer.precision is 32-true there and bf16-mixed now"),
        ({"data": {"init_args": {"image_size": 28}}}, "data.init_args.image_size is 32 there and 28 now"),
        ({"model": {"init_args": {"goals": [0.5]}}}, r"model.init_args.goals is \[\] there and \[0.5\] now"),
    ],
)
def test_all_that_decides_numbers_is_compared(values: dict[str, Any], key: str) -> None:
    record()
    with pytest.raises(InputError, match=key):
        record(**values)


def test_several_changes_are_counted() -> None:
    record()
    with pytest.raises(InputError, match=r"batch_size is 64 there and 1 now and 1 more;"):
        record(seed_everything=1, model={"init_args": {"batch_size": 1}})


def test_what_changes_no_number_may_change() -> None:
    record(data={"init_args": {"root": "here", "eval_batch_size": 5}})
    record(data={"init_args": {"root": "there", "eval_batch_size": 7}})
    record(model={"init_args": {"replay": {"device": "accelerator"}}})
    record(trainer={"precision": "32-true"})  # what it is when nothing is said


def test_a_start_that_is_refused_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "on_train_start", lambda *_: None)  # the attack's own checks came in between
        record()
    record(seed_everything=1)
    assert yaml.safe_load(Path("run/config.yaml").read_text())["seed_everything"] == 1


@pytest.mark.parametrize("content", [b"", b"- a list", b"a: [", b"\xff\xfe"])
def test_a_damaged_record_is_refused(content: bytes) -> None:
    record()
    Path("run/config.yaml").write_bytes(content)
    with pytest.raises(InputError, match="is no run's record; choose another --run_dir or remove that folder"):
        record()


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    Path("run").write_text("a file")
    with pytest.raises(InputError, match="run folder run cannot be made"):
        record()


def test_a_key_that_is_gone_is_a_change() -> None:
    record()
    path = Path("run/config.yaml")
    config = yaml.safe_load(path.read_text())
    config["model"]["init_args"]["removed_since"] = 5
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="removed_since is 5 there and None now"):
        record()


def test_evaluation_writes_nothing_and_compares_the_model_alone() -> None:
    record(stage="test")
    assert not Path("run").exists()
    record()
    record(stage="test", seed_everything=1, data={"init_args": {"image_size": 28}}, trainer={"precision": "bf16-mixed"})
    with pytest.raises(InputError, match="batch_size is 64 there and 1 now"):
        record(stage="test", model={"init_args": {"batch_size": 1}})


def test_other_processes_compare_but_do_not_write() -> None:
    record(first_process=False)
    assert not Path("run/config.yaml").exists()
    record()
    with pytest.raises(InputError, match="seed_everything"):
        record(first_process=False, seed_everything=1)


def test_the_record_appears_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    renamed: list[str] = []
    original = Path.replace

    def spy(self: Path, target: Path) -> Path:
        renamed.append(target.name)
        return original(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    record()
    assert "config.yaml" in renamed  # another process may read at this moment
