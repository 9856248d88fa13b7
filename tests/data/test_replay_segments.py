"""The replay on disk: what a resumed run finds."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_extract.data.replay import ReplayBuffer, ReplayDtype
from lightning_extract.errors import InputError

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)
SIZE = 10


def ring(dtype: ReplayDtype = "float32", size: int = SIZE) -> ReplayBuffer:
    return ReplayBuffer(size, SHAPE, (3,), dtype=dtype)


def add(buffer: ReplayBuffer, count: int) -> None:
    """Adds samples that depend on their number in the run only."""
    for number in range(buffer.added, buffer.added + count):
        generator = torch.Generator().manual_seed(number)
        image = torch.rand(1, *SHAPE, generator=generator) * 2 - 1
        buffer.add(image, torch.rand(1, 3, generator=generator))


def content(buffer: ReplayBuffer) -> tuple[Tensor, Tensor]:
    return buffer.read(list(range(len(buffer))), CPU)


def assert_equal(found: ReplayBuffer, expected: ReplayBuffer) -> None:
    assert (found.added, len(found)) == (expected.added, len(expected))
    for restored, original in zip(content(found), content(expected), strict=True):
        assert torch.equal(restored, original)


def reload(folder: Path, added: int, dtype: ReplayDtype = "float32") -> ReplayBuffer:
    buffer = ring(dtype)
    buffer.load(folder, added)
    return buffer


def filled(added: int, dtype: ReplayDtype = "float32") -> ReplayBuffer:
    buffer = ring(dtype)
    add(buffer, added)
    return buffer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "uint8"])
def test_several_saves_restore_the_very_ring(dtype: ReplayDtype, tmp_path: Path) -> None:
    rng = random.Random(0)
    buffer = ring(dtype)
    for _ in range(12):  # the ring is overwritten several times
        for _ in range(rng.randint(0, 3)):
            add(buffer, rng.randint(1, SIZE))
        buffer.save(tmp_path)
        if buffer.added:
            assert_equal(reload(tmp_path, buffer.added, dtype), buffer)
    assert buffer.added > 5 * SIZE


def test_a_restored_ring_goes_on_as_the_original(tmp_path: Path) -> None:
    original = filled(13)
    original.save(tmp_path)
    restored = reload(tmp_path, 13)
    for _ in range(4):
        for buffer in (original, restored):
            add(buffer, 4)
        restored.save(tmp_path)
    assert_equal(restored, original)
    assert_equal(reload(tmp_path, 29), original)


@pytest.mark.parametrize("checkpoint", [4, 10, 17, 40])
def test_crash_between_segment_and_checkpoint(checkpoint: int, tmp_path: Path) -> None:
    buffer = filled(checkpoint)
    buffer.save(tmp_path)
    add(buffer, 9)
    buffer.save(tmp_path)  # the checkpoint that belongs to it was never written
    restored = reload(tmp_path, checkpoint)
    assert_equal(restored, filled(checkpoint))
    add(restored, 9)
    restored.save(tmp_path)
    assert_equal(reload(tmp_path, checkpoint + 9), buffer)


def test_crash_between_two_files_of_one_checkpoint(tmp_path: Path) -> None:
    buffer = filled(SIZE)
    buffer.save(tmp_path)
    add(buffer, SIZE)
    buffer.save(tmp_path)
    buffer.save(tmp_path)  # for last.ckpt, which was never written: the one on disk knows of 10 samples
    assert_equal(reload(tmp_path, SIZE), filled(SIZE))


def test_later_segments_stay_until_others_take_their_place(tmp_path: Path) -> None:
    buffer = filled(4)
    buffer.save(tmp_path)
    add(buffer, 3)
    buffer.save(tmp_path)
    earlier = reload(tmp_path, 4)
    assert_equal(reload(tmp_path, 7), buffer)
    add(earlier, 2)
    earlier.save(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"000000000000_000000000004", "000000000004_000000000006"}
    assert_equal(reload(tmp_path, 6), filled(6))


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    buffer = ring()
    for _ in range(3):
        add(buffer, 3)
        buffer.save(tmp_path)
    (tmp_path / "000000000003_000000000006.safetensors").unlink()
    with pytest.raises(
        InputError, match="lacks the samples from 3 to 9, which the run folder of the checkpoint has; restore"
    ):
        reload(tmp_path, 9)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_segment_is_refused_and_nothing_is_lost(size: int, tmp_path: Path) -> None:
    buffer = ring()
    for _ in range(3):
        add(buffer, 3)
        buffer.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    path = tmp_path / names[1]
    content = path.read_bytes()
    path.write_bytes(content[:size])
    with pytest.raises(InputError, match=rf"segment {path} is damaged \(.*\); restore it or start a new run folder"):
        reload(tmp_path, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    path.write_bytes(content)
    assert_equal(reload(tmp_path, 9), filled(9))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"answers", b"answerr"), (b"[3,1,2,2]", b"[3,2,2,1]"), (b"\x00", b"\x01")],
    ids=["name", "shape", "data"],
)
def test_a_changed_byte_is_noticed(old: bytes, new: bytes, tmp_path: Path) -> None:
    buffer = ring()
    buffer.add(torch.zeros(3, *SHAPE), torch.zeros(3, 3))
    buffer.save(tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    at = content.rindex(old)
    path.write_bytes(content[:at] + new + content[at + len(old) :])
    with pytest.raises(InputError, match=rf"segment {path} has another checksum; restore it or start a new"):
        reload(tmp_path, 3)


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the samples from 0 to 5"):
        reload(tmp_path / "absent", 5)
    assert len(reload(tmp_path / "absent", 0)) == 0


def test_an_unfinished_segment_is_no_segment(tmp_path: Path) -> None:
    buffer = filled(5)
    buffer.save(tmp_path)
    (tmp_path / "000000000005_000000000008.safetensors.partial").write_bytes(b"half")
    assert_equal(reload(tmp_path, 5), buffer)
    add(buffer, 1)
    buffer.save(tmp_path)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "name", ["._000000000000_000000000003.safetensors", "000000000000_000000000003 (1).safetensors"]
)
def test_what_copying_leaves_is_no_segment(name: str, tmp_path: Path) -> None:
    buffer = filled(3)
    buffer.save(tmp_path)
    (tmp_path / name).write_bytes(b"strange")
    assert_equal(reload(tmp_path, 3), buffer)


def test_a_segment_under_another_name_is_refused(tmp_path: Path) -> None:
    filled(3).save(tmp_path)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "000000000000_000000000005.safetensors")
    with pytest.raises(InputError, match="restore it or start a new run folder"):
        reload(tmp_path, 5)


def test_segments_of_a_run_killed_before_its_first_checkpoint_do_no_harm(tmp_path: Path) -> None:
    filled(5).save(tmp_path)
    buffer = filled(8)  # the run starts anew, with the same samples
    buffer.save(tmp_path)
    assert_equal(reload(tmp_path, 8), buffer)


def test_other_samples_of_such_a_run_are_forgotten(tmp_path: Path) -> None:
    buffer = filled(3)
    buffer.save(tmp_path)
    lost = reload(tmp_path, 3)
    lost.add(torch.zeros(2, *SHAPE), torch.zeros(2, 3))
    lost.save(tmp_path)  # shorter than what the next process writes, and with another content
    add(buffer, 5)
    buffer.save(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"000000000000_000000000003", "000000000003_000000000008"}
    assert_equal(reload(tmp_path, 8), filled(8))


def test_old_segments_are_dropped(tmp_path: Path) -> None:
    buffer = ring()
    for _ in range(30):
        add(buffer, 5)
        buffer.save(tmp_path)
        assert len(list(tmp_path.iterdir())) <= 3  # the ring of this checkpoint and of the one before
    assert_equal(reload(tmp_path, 150), filled(150))


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    buffer = filled(4)
    buffer.save(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    add(buffer, 2)
    buffer.save(tmp_path)
    new = set(tmp_path.iterdir()) - set(before)
    assert [path.stem for path in new] == ["000000000004_000000000006"]
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


def test_a_restored_ring_writes_only_what_is_new(tmp_path: Path) -> None:
    filled(5).save(tmp_path)
    restored = reload(tmp_path, 5)
    add(restored, 2)
    restored.save(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"000000000000_000000000005", "000000000005_000000000007"}


def test_what_was_overwritten_between_two_saves_is_not_written(tmp_path: Path) -> None:
    filled(3 * SIZE).save(tmp_path)
    assert [path.stem for path in tmp_path.iterdir()] == ["000000000020_000000000030"]


@pytest.mark.parametrize(
    "other",
    [
        ReplayBuffer(SIZE, (3, 2, 2), (3,)),
        ReplayBuffer(SIZE, SHAPE, (3,), dtype="uint8"),
        ReplayBuffer(SIZE, SHAPE, (4,)),
        ReplayBuffer(SIZE, SHAPE, ()),
    ],
    ids=["image shape", "pixel type", "classes", "access"],
)
def test_segments_of_another_run_are_refused(other: ReplayBuffer, tmp_path: Path) -> None:
    filled(5).save(tmp_path)
    with pytest.raises(InputError, match="holds other samples than this run; start a new run folder"):
        other.load(tmp_path, 5)
