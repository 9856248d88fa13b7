"""What was bought is on disk, and asked once."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

import pytest
import torch
from torch import Tensor

from lightning_extract.durable_file import write_durably
from lightning_extract.errors import InputError
from lightning_extract.oracle.answer_store import HEADER_BYTES, AnswerStore, digests_of
from tests.oracle.linear_victim import CLASSES, LinearVictim, linear_oracle, pixels
from tests.oracle.text_victim import WordVotes, text_oracle

WEIGHTS = "ab" * 32
FOLDER = Path("answers")
RECORD = 16 + 4 * CLASSES + 4


opened: dict[int, AnswerStore] = {}


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while opened:
        opened.popitem()[1].close()


def store(rank: int = 0, access: str = "soft", **others: Any) -> AnswerStore:
    """The store of a process, whose last life has ended."""
    if rank in opened:
        opened.pop(rank).close()
    values: dict[str, Any] = {"num_classes": CLASSES, "weights_sha256": WEIGHTS} | others
    opened[rank] = AnswerStore(FOLDER, rank, access=access, **values)
    return opened[rank]


def life(rank: int = 0, access: str = "soft", **others: Any) -> tuple[Any, LinearVictim]:
    """An oracle with the store of the folder, as after a start of the program."""
    victim = LinearVictim()
    oracle = linear_oracle(victim, access=access, **others)
    oracle.keep_answers(store(rank, access))
    return oracle, victim


@pytest.mark.parametrize("access", ["soft", "hard"])
def test_a_second_life_asks_what_the_first_had_not_asked(access: str) -> None:
    plain = linear_oracle(access=access)
    samples = pixels(12)
    expected = [plain.query(samples[:5], "clone"), plain.query(samples[5:], "clone")]
    first, victim = life(access=access)
    assert torch.equal(first.query(samples[:5], "clone"), expected[0])
    assert victim.batches == [5]
    again, victim = life(access=access)
    assert again.answered == 5
    answers = [again.query(samples[:5], "clone"), again.query(samples[5:], "clone")]
    assert all(torch.equal(mine, its) and mine.dtype == its.dtype for mine, its in zip(answers, expected, strict=True))
    assert victim.batches == [7]
    assert (again.ledger.by_phase, again.answered, again.from_store) == ({"clone": 12}, 12, 5)
    assert torch.equal(again.label_counts, plain.label_counts)


def test_a_batch_that_is_stored_in_part_asks_for_the_rest_once() -> None:
    oracle, victim = life()
    samples = pixels(6)
    oracle.query(samples[:2], "clone")
    batch = samples[[0, 2, 3, 2, 1]]
    answers = oracle.query(batch, "clone")
    assert victim.batches == [2, 2]
    torch.testing.assert_close(answers, linear_oracle().query(batch, "clone"))
    assert torch.equal(answers[1], answers[3])
    assert (oracle.ledger.spent, oracle.answered, oracle.from_store) == (7, 4, 3)


def test_sentences() -> None:
    victims = [WordVotes(), WordVotes()]
    for victim, expected in zip(victims, ([2], [1]), strict=True):
        oracle = text_oracle(victim)
        oracle.keep_answers(store())
        answers = oracle.query(["so good", "bad"], "clone")
        if victim is victims[1]:
            oracle.query(["bad", "gut \u00e4"], "clone")
        assert victim.batches == expected
        assert torch.equal(answers, text_oracle().query(["so good", "bad"], "clone"))


def test_free_answers_neither_read_nor_write() -> None:
    oracle, victim = life()
    samples = pixels(3)
    oracle.query(samples, "clone")
    size = (FOLDER / "rank_0.bin").stat().st_size
    with oracle.uncharged():
        oracle.query(samples, "clone")
        oracle.query(pixels(2, seed=9), "clone")
    oracle.reference(samples)
    assert victim.batches == [3, 3, 2, 3]
    assert (FOLDER / "rank_0.bin").stat().st_size == size
    assert (oracle.answered, oracle.from_store) == (3, 0)


def test_a_refused_query_asks_and_writes_nothing() -> None:
    oracle, victim = life(budget=2)
    with pytest.raises(RuntimeError, match="asked for 3 queries"):
        oracle.query(pixels(3), "clone")
    assert victim.batches == []
    assert (FOLDER / "rank_0.bin").stat().st_size == HEADER_BYTES


def test_an_answer_is_on_disk_before_it_is_used() -> None:
    oracle, _ = life()
    full = patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    with full, pytest.raises(OSError, match=r"No space left on device: 'answers/rank_0.bin'$"):
        oracle.query(pixels(3), "clone")


def test_a_broken_answer_is_not_kept() -> None:
    oracle, victim = life()
    oracle.query(pixels(1), "clone")
    with torch.no_grad():
        victim.linear.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="must be finite"):
        oracle.query(pixels(2, seed=1), "clone")
    assert (FOLDER / "rank_0.bin").stat().st_size == HEADER_BYTES + RECORD


def test_the_records_by_hand() -> None:
    oracle, _ = life()
    image: Tensor = pixels(2)
    answers = oracle.query(image, "clone")
    content = b""
    for sample, answer, start in zip(image, answers, (1, 0), strict=True):  # another record follows; the batch ends
        digest = blake2b(b"image (1, 1, 5) torch.float32 " + sample.numpy().tobytes(), digest_size=16).digest()
        record = digest + answer.numpy().tobytes()
        content += record + crc32(record, start).to_bytes(4, "little")
    assert (FOLDER / "rank_0.bin").read_bytes()[HEADER_BYTES:] == content


def test_samples_that_differ_have_digests_that_differ() -> None:
    image = pixels(1)
    digests = [
        *digests_of(image),
        *digests_of(image + 1e-6),
        *digests_of(image.view(1, 1, 5, 1)),
        *digests_of(image.double()),
        *digests_of(["good"]),
        *digests_of(["good "]),
    ]
    assert len(set(digests)) == 6
    assert digests_of(pixels(4))[2] == digests_of(pixels(4)[2:3])[0]


@pytest.mark.parametrize("cut", [1, RECORD - 1, RECORD, 2 * RECORD + 1, 4 * RECORD])
def test_a_torn_batch_is_asked_again_as_a_whole(cut: int) -> None:
    samples = pixels(6)
    oracle, _ = life()
    whole = [oracle.query(batch, "clone") for batch in torch.split(samples, [2, 4])]
    path = FOLDER / "rank_0.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    again, victim = life()
    assert again.answered == 2
    assert path.stat().st_size == HEADER_BYTES + 2 * RECORD, "the torn one is gone"
    assert all(map(torch.equal, [again.query(batch, "clone") for batch in torch.split(samples, [2, 4])], whole))
    assert victim.batches == [4], "a smaller batch would be answered differently in the last digits"
    assert path.stat().st_size == HEADER_BYTES + 6 * RECORD
    assert life()[0].answered == 6


@pytest.mark.parametrize(("damaged", "asked"), [(1, 1), (3, 1), (6, 3)])
@pytest.mark.parametrize("zeros", [False, True])
def test_a_damaged_record_is_asked_again_and_at_the_end_its_batch(damaged: int, asked: int, zeros: bool) -> None:
    samples = pixels(7)
    oracle, _ = life()
    for batch in torch.split(samples, [4, 3]):
        oracle.query(batch, "clone")
    path = FOLDER / "rank_0.bin"
    content = bytearray(path.read_bytes())
    start = HEADER_BYTES + damaged * RECORD
    content[start + 20] ^= 1
    if zeros:
        content[start + 16 : start + RECORD] = bytes(RECORD - 16)
    path.write_bytes(content)
    again, victim = life()
    torch.testing.assert_close(again.query(samples, "clone"), linear_oracle().query(samples, "clone"))
    assert sum(victim.batches) == asked


def test_files_of_two_processes_are_read_by_one() -> None:
    samples = pixels(6)
    parts = [life(rank, world_size=2) for rank in (0, 1)]
    for (oracle, _), share in zip(parts, (samples[:3], samples[3:]), strict=True):
        oracle.query(share, "clone")
    torn = FOLDER / "rank_1.bin"
    torn.write_bytes(torn.read_bytes()[:-5])
    one, victim = life()
    assert one.answered == 3
    torch.testing.assert_close(one.query(samples, "clone"), linear_oracle().query(samples, "clone"))
    assert victim.batches == [3]
    assert torn.stat().st_size == HEADER_BYTES + 3 * RECORD - 5, "it is another's"
    one.query(pixels(2, seed=1), "clone")
    two, victim = life(rank=1)
    assert two.answered == 8
    two.query(torch.cat([samples, pixels(2, seed=1)]), "clone")
    assert victim.batches == []
    more = torch.cat([pixels(3, seed=2), samples])
    torch.testing.assert_close(two.query(more, "clone"), linear_oracle().query(more, "clone"))
    assert victim.batches == [3]


def test_a_file_that_a_process_of_a_killed_run_still_writes() -> None:
    store()
    with pytest.raises(InputError, match=r"rank_0.bin is in use by a process of this run; wait until it has ended"):
        AnswerStore(FOLDER, 0, CLASSES, "soft", WEIGHTS)
    AnswerStore(FOLDER, 1, CLASSES, "soft", WEIGHTS).close()


def test_what_was_bought_without_a_store_counts() -> None:
    oracle = linear_oracle()
    oracle.query(pixels(7), "clone")
    oracle.keep_answers(store(asked_before=oracle.answered))
    oracle.query(pixels(2, seed=1), "clone")
    again = linear_oracle()
    again.load_state_dict({"answered": 7, "referenced": 0, "label_counts": [7, 0, 0]})
    again.keep_answers(store(asked_before=7))
    assert again.answered == 9


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"access": "hard"}, "holds soft answers, but access is hard; choose another --run_dir or remove that folder"),
        ({"weights_sha256": "cd" * 32}, "another victim: 3 classes and weights_sha256 abababababab... there, 3 and cd"),
        ({"num_classes": 5}, "holds answers of another victim: 3 classes"),
    ],
)
def test_answers_of_another_kind(others: dict[str, Any], message: str) -> None:
    store().close()
    with pytest.raises(InputError, match="holds") as error:
        store(**others)
    assert message in str(error.value)


@pytest.mark.parametrize("position", [0, 9, 20, HEADER_BYTES - 1, None])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_damaged_header(position: int | None, rank: int) -> None:
    store().close()
    path = FOLDER / "rank_0.bin"
    content = bytearray(path.read_bytes())
    if position is None:
        del content[10:]
    else:
        content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"rank_0.bin is damaged or no file of answers; remove it, and what it held is"
    ):
        store(rank)


def test_a_file_that_the_disk_does_not_take_leaves_the_old_one() -> None:
    path = Path("file.bin")
    write_durably(path, b"old")
    full = patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    with full, pytest.raises(OSError, match=r"No space left on device: 'file.bin'$"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(Path().iterdir()) == [path]
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
