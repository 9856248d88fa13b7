"""A disk that fills up, and checkpoints that are damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from lightning_extract.attacks import DisGUIDE
from lightning_extract.callbacks.run_checkpoint import DurableCheckpointIO, readable_neighbour
from lightning_extract.cli import main
from lightning_extract.complaints import find_complaint, naming_the_file
from lightning_extract.durable_file import write_durably
from tests.command_line import complaint
from tests.miniature import CONF, fit
from tests.state import assert_same_state, final_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning's use of jsonargparse

FIT = ("fit", "--config", str(CONF / "disguide.yaml"), "--run_dir", "run")
REMEDY = "free some space and give the same command again: a run continues from its last checkpoint"
Capture = pytest.CaptureFixture[str]


def full_disk() -> OSError:
    return OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr("sys.argv", ["lightning-extract"])
        folder = tmp_path_factory.mktemp("runs") / "whole"
        fit(CONF / "disguide.yaml", str(folder))
        return folder


def goes_on(whole: Path, *options: str) -> None:
    """The last good checkpoint can be read, and the run ends as if nothing had been."""
    assert not list(Path("run/checkpoints").glob("*.partial"))
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["attack"]["iterations_done"] == 4
    main([*FIT, *options])
    assert_same_state(final_state(Path("run")), final_state(whole))
    assert Path("run/metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def refuse_after(name: str, good: int) -> Callable[[int], None]:
    """A disk that takes a file only so many times."""
    sync, calls = os.fsync, 0

    def fill_up(file: int) -> None:
        nonlocal calls
        calls += f"{name}.partial" in str(Path(f"/proc/self/fd/{file}").resolve())
        if calls > good:
            raise full_disk()
        sync(file)

    return fill_up


@pytest.mark.parametrize(("file", "good"), [("512.ckpt", 0), ("last.ckpt", 1)])
def test_a_disk_that_is_full_for_a_checkpoint(file: str, good: int, whole: Path, capsys: Capture) -> None:
    with patch("os.fsync", refuse_after(file, good)):
        message = complaint(capsys, *FIT)
    assert message.endswith(f"/run/checkpoints/{file}: No space left on device; {REMEDY}")
    goes_on(whole)


@pytest.mark.parametrize(("name", "good"), [("metrics.csv", 1), ("summary.json", 1)])
def test_a_disk_that_is_full_for_a_table_or_summary(name: str, good: int, whole: Path, capsys: Capture) -> None:
    with patch("os.fsync", refuse_after(name, good)):
        assert complaint(capsys, *FIT) == f"run/{name}: No space left on device; {REMEDY}"
    goes_on(whole)


def test_a_disk_that_is_full_for_a_replay_segment(whole: Path, capsys: Capture) -> None:
    with patch("os.fsync", refuse_after(".safetensors", 1)):
        message = complaint(capsys, *FIT)
    assert message.startswith("run/replay/")
    assert message.endswith(f".safetensors: No space left on device; {REMEDY}")
    assert len(list(Path("run/replay").glob("*.safetensors"))) == 1
    goes_on(whole)
    assert not list(Path("run/replay").glob("*.partial"))


def test_between_the_two_files_of_the_first_checkpoint(whole: Path, capsys: Capture) -> None:
    with patch("os.fsync", refuse_after("last.ckpt", 0)):
        message = complaint(capsys, *FIT)
    assert message.endswith(f"/run/checkpoints/last.ckpt: No space left on device; {REMEDY}")
    assert [path.name for path in Path("run/checkpoints").iterdir()] == ["256.ckpt"]
    with patch.object(DisGUIDE, "training_step", autospec=True, side_effect=DisGUIDE.training_step) as steps:
        main(FIT)
    assert steps.call_count == 15 - 4
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == ["960.ckpt", "last.ckpt"]
    assert_same_state(final_state(Path("run")), final_state(whole))
    assert Path("run/metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_disk_that_is_full_for_answers(whole: Path, capsys: Capture) -> None:
    write, keep = os.write, ("--keep_answers", "true")
    answers = Path("run/answers/rank_0.bin")

    def fill_up(file: int, content: bytes) -> int:
        kept = Path(f"/proc/self/fd/{file}").resolve() == answers.resolve()
        room = 20_000 - answers.stat().st_size if kept else len(content)  # in the middle of a batch and of a record
        if room <= 0:
            raise full_disk()
        return write(file, content[:room])

    with patch("os.write", fill_up):
        assert complaint(capsys, *FIT, *keep) == f"run/answers/rank_0.bin: No space left on device; {REMEDY}"
    assert answers.stat().st_size == 20_000
    goes_on(whole, *keep)
    account = json.loads(Path("run/summary.json").read_text())["queries"]
    assert (account["answered"], account["from_store"]) == (960, 64), "the batch that was kept, not the torn one"


def test_a_damaged_checkpoint_beside_a_good_one(capsys: Capture) -> None:
    main([*FIT, "--trainer.max_epochs", "1"])
    last, other = Path("run/checkpoints/last.ckpt"), Path("run/checkpoints/256.ckpt")
    last.write_bytes(last.read_bytes()[:2000])
    message = complaint(capsys, *FIT)
    assert message.startswith("checkpoint run/checkpoints/last.ckpt cannot be read (")
    assert message.endswith("; give --ckpt_path run/checkpoints/256.ckpt, which can be read, or another")
    main([*FIT, "--ckpt_path", str(other), "--trainer.max_epochs", "2"])
    assert torch.load(last, weights_only=True)["attack"]["iterations_done"] == 8


def test_the_newest_that_can_be_read() -> None:
    for age, name in enumerate(("new.ckpt", "old.ckpt", "broken.ckpt", "last.ckpt")):
        torch.save({"age": age}, name)
        os.utime(name, (1000 - age, 1000 - age))
    Path("new.ckpt").write_bytes(b"PK")
    Path("broken.ckpt").write_bytes(b"")
    assert readable_neighbour(Path("last.ckpt")) == Path("old.ckpt")
    Path("old.ckpt").unlink()
    assert readable_neighbour(Path("last.ckpt")) is None


def test_a_checkpoint_replaces_the_old_one_at_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.ckpt"
    DurableCheckpointIO().save_checkpoint({"value": torch.ones(3)}, path)
    with patch("os.fsync", side_effect=full_disk()), pytest.raises(OSError, match="No space left"):
        DurableCheckpointIO().save_checkpoint({"value": torch.zeros(3)}, path)
    assert torch.load(path, weights_only=True)["value"].tolist() == [1, 1, 1]
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


def test_what_a_disk_says() -> None:
    for error in (
        OSError(13, "Permission denied", "a"),
        OSError(122, "Disk quota exceeded", "a"),
        OSError(30, "", "a"),
        OSError(27, "File too large", "a"),
    ):
        assert find_complaint(RuntimeError("wrapped")) is None
        wrapped = RuntimeError("wrapped")
        wrapped.__cause__ = error
        assert find_complaint(wrapped) is error
    assert find_complaint(OSError(2, "No such file or directory", "a")) is None, "that is a mistake of ours"


def test_a_file_that_is_known_keeps_its_name() -> None:
    Path("metrics.partial").touch()
    full = patch("os.fsync", side_effect=full_disk())
    with full, pytest.raises(OSError, match=r"No space left on device: 'other.bin'"), naming_the_file(Path()):
        write_durably(Path("other.bin"), b"")
