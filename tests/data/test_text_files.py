import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_extract.data.text_files import text_field, text_lines, text_records, text_suffix
from lightning_extract.errors import InputError


def sentences(path: Path) -> list[tuple[int, str]]:
    return [(line, text_field(record, path, line)) for line, record in text_records(path)]


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.jsonl.gz", ".jsonl"), ("b.c.txt", ".txt"), ("x.csv", ".csv"), ("a.gz", ""), ("d", "")]
)
def test_suffixes(name: str, suffix: str) -> None:
    assert text_suffix(Path("folder.txt") / name) == suffix


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines(pack: Callable[[bytes], bytes]) -> None:
    path = Path("pool.txt.gz" if pack is gzip.compress else "pool.txt")
    path.write_bytes(pack("\ufeff first \r\nsecond\x85 é\nsecond\x85 é\n\n \n".encode()))
    assert list(text_lines(path)) == [(1, "first"), (2, "second\x85 é"), (3, "second\x85 é")]


def test_other_encodings() -> None:
    Path("a.txt").write_bytes(b"ok\n\xe9t\xe9\n")
    assert [line for _, line in text_lines(Path("a.txt"), "latin-1")] == ["ok", "été"]
    with pytest.raises(InputError, match=r"^a.txt, line 2 is not UTF-8 at byte 3 of the file; save the file as UTF-8"):
        list(text_lines(Path("a.txt")))
    Path("b.txt").write_text("some words", encoding="utf-16")
    with pytest.raises(InputError, match=r"^b.txt, line 1 is not UTF-8 at byte 0 of the file"):
        list(text_lines(Path("b.txt")))


def test_empty_lines_are_refused_unless_at_the_end() -> None:
    path = Path("a.txt")
    path.write_text("one\n\n \nfour\n\n")
    with pytest.raises(InputError, match=r"^a.txt, line 2 is empty; remove it"):
        list(text_lines(path))
    assert list(text_lines(path, empty_lines=True)) == [(1, "one"), (4, "four")]


def test_records_of_both_forms() -> None:
    Path("a.jsonl").write_text(
        '{"text": " a \\"b\\" ", "label": 3}\n{"label": 0, "text": "é, c"}\n\n', encoding="utf-8"
    )
    Path("a.csv").write_text('label, text\n3," a ""b"" "\n0,"é, c"\n', encoding="utf-8")
    assert sentences(Path("a.jsonl")) == [(1, 'a "b"'), (2, "é, c")]
    assert sentences(Path("a.csv")) == [(2, 'a "b"'), (3, "é, c")]


def test_a_quoted_row_may_span_lines() -> None:
    Path("a.csv").write_text('text\n"two\nlines"\nnext\n')
    assert sentences(Path("a.csv")) == [(3, "two\nlines"), (4, "next")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"^a.jsonl, line 2 is no JSON \(.*\); correct or remove it"),
        ("a.jsonl", b"[" * 100_000, r"^a.jsonl, line 1 is no JSON"),
        ("a.jsonl", b'["text"]', r"^a.jsonl, line 1 is no JSON object"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "a"}', "^a.jsonl, line 2 is empty"),
        ("a.jsonl", b'{"txt": "a"}', r"^a.jsonl, line 1 has no field text \(its fields: txt\); add it"),
        ("a.jsonl", b'{"text": 5}', "^a.jsonl, line 1: the field text is 5, not a sentence"),
        ("a.jsonl", b'{"text": "  "}', "^a.jsonl, line 1: the field text is '  ', not a sentence"),
        ("a.jsonl", b'{"text": "\\ud800 a"}', "^a.jsonl, line 1: the field text holds a lone surrogate"),
        ("a.csv", b"text,label\na,0\nb\n", r"^a.csv, line 3 has 1 fields, its header 2 \(text, label\); quote"),
        ("a.csv", b'text\n"a" b\n', r"^a.csv, line 2 is no row of a CSV table"),
        ("a.csv", b'text\n"open\n', r"^a.csv, line \d is no row of a CSV table"),
        ("a.csv", b"sentence\na\n", r"^a.csv, line 2 has no field text \(its fields: sentence\)"),
        ("a.csv", b"text\n\xff\n", "^a.csv, line 2 is not UTF-8 at byte 5"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9, mtime=0)[:-9], "^a.jsonl.gz cannot be read beyond line"),
        ("a.jsonl.gz", b'{"text": "a"}\n', "^a.jsonl.gz cannot be read beyond line 0"),
        ("a.jsonl.gz", gzip.compress(b"ab", mtime=0)[:12] + b"\xff" * 30, "^a.jsonl.gz cannot be read beyond line 0"),
    ],
)
def test_mistakes_are_named(name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        sentences(Path(name))


def test_missing_files() -> None:
    with pytest.raises(InputError, match=r"a.txt cannot be read beyond line 0 \(.*No such file"):
        list(text_lines(Path("a.txt")))
