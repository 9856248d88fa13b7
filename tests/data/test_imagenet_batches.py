import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_extract.data import imagenet_batches
from lightning_extract.data.imagenet_batches import describe_missing_imagenet, imagenet_files, read_imagenet_batch
from lightning_extract.errors import InputError

PATH = Path("train_data_batch_1")
ROWS = np.random.default_rng(0).integers(0, 256, (5, 3 * 8 * 8)).astype(np.uint8)
CONTENT = {"data": ROWS, "labels": [3, 1, 1000, 2, 7], "mean": ROWS.mean(axis=0)}
# {"data": numpy.arange(192, dtype=numpy.uint8)[None], "labels": [7]} in the form of Python 2: text for bytes and names.
PIXELS_OF_PYTHON_2 = b"".join(
    f"\\x{value:02x}".encode() if not 32 <= value < 127 or value in b"'\\" else bytes([value]) for value in range(192)
)
PYTHON_2_PROTOCOL_0 = (
    b"(dp0\nS'labels'\np1\n(lp2\nI7\nasS'data'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\nndarray\np5\n"
    b"(I0\ntp6\nS'b'\np7\ntp8\nRp9\n(I1\n(I1\nI192\ntp10\ncnumpy\ndtype\np11\n(S'u1'\np12\nI0\nI1\ntp13\nRp14\n"
    b"(I3\nS'|'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\nS'" + PIXELS_OF_PYTHON_2 + b"'\np17\ntp18\nbs."
)
PYTHON_2_PROTOCOL_2 = (
    b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02K\x07aU\x04dataq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04"
    b"cnumpy\nndarray\nq\x05K\x00\x85q\x06U\x01bq\x07\x87q\x08Rq\x09(K\x01K\x01K\xc0\x86q\x0acnumpy\ndtype\nq\x0b"
    b"U\x02u1q\x0cK\x00K\x01\x87q\x0dRq\x0e(K\x03U\x01|q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b\x89"
    b"U\xc0" + bytes(range(192)) + b"q\x11tq\x12bu."
)


def pickled(content: object, protocol: int = 2) -> None:
    PATH.write_bytes(pickle.dumps(content, protocol))


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_pickle_is_read_as_pickle_reads_it(protocol: int, module: bytes) -> None:
    content = pickle.dumps(CONTENT, protocol)
    if protocol < 4:  # later ones write the lengths of names
        content = content.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
    PATH.write_bytes(content)
    images = read_imagenet_batch(PATH, 8)
    assert images.dtype == np.uint8
    assert np.array_equal(images, pickle.loads(PATH.read_bytes())["data"].reshape(5, 3, 8, 8))


def test_rows_are_planes_of_red_green_and_blue() -> None:
    pickled({"data": np.arange(192, dtype=np.uint8)[None]})
    red, green, blue = read_imagenet_batch(PATH, 8)[0]
    assert red[0].tolist() == list(range(8))
    assert (red[1, 0], green[0, 0], blue[7, 7]) == (8, 64, 191)


@pytest.mark.parametrize("content", [PYTHON_2_PROTOCOL_0, PYTHON_2_PROTOCOL_2])
def test_pickles_of_python_2(content: bytes) -> None:
    PATH.write_bytes(content)
    assert read_imagenet_batch(PATH, 8).flatten().tolist() == list(range(192))
    whole = pickle.loads(content, encoding="bytes")
    assert (whole[b"labels"], whole[b"data"].tolist()) == ([7], [list(range(192))])


def test_columns_first() -> None:
    pickled({"data": np.asfortranarray(ROWS)})
    assert np.array_equal(read_imagenet_batch(PATH, 8).reshape(5, -1), ROWS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives(save: Any) -> None:
    save("train_data_batch_1.npz", data=ROWS, labels=np.arange(5))
    assert np.array_equal(read_imagenet_batch(Path("train_data_batch_1.npz"), 8).reshape(5, -1), ROWS)


class _Runs:
    """Unpickled by calling a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("harmful", "name"),
    [
        (_Runs(os.system, "touch harmed"), r"(posix|nt)\.system"),
        (_Runs(eval, "open('harmed', 'w')"), r"(builtins|__builtin__)\.eval"),
        (_Runs(Path("harmed").touch), r"(builtins|__builtin__)\.getattr"),
        (_Runs(np.load, "harmed"), r"numpy\.load"),
        (np.array([_Runs(os.system, "touch harmed")], dtype=object), r"(posix|nt)\.system"),
    ],
    ids=["os.system", "eval", "a method", "numpy.load", "an array of objects"],
)
def test_no_code_of_a_pickle_is_run(harmful: object, name: str, protocol: int) -> None:
    pickled({"labels": harmful, "data": ROWS}, protocol)
    with pytest.raises(InputError, match=rf"train_data_batch_1 asks for {name}, .* nothing was run: remove the file"):
        read_imagenet_batch(PATH, 8)
    assert not Path("harmed").exists()


def test_the_pickle_would_have_run_code() -> None:
    pickle.loads(pickle.dumps(_Runs(os.system, "touch harmed")))
    assert Path("harmed").exists()


def test_objects_outside_of_the_file_are_refused() -> None:
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.persistent_id = lambda thing: "there" if thing is CONTENT else None  # type: ignore[method-assign]
    pickler.dump({"data": ROWS, "labels": CONTENT})
    PATH.write_bytes(file.getvalue())
    with pytest.raises(InputError, match="asks for an object outside of it"):
        read_imagenet_batch(PATH, 8)


def test_nothing_of_numpy_is_built_by_a_file() -> None:
    assert all(built.__module__ == imagenet_batches.__name__ for built in imagenet_batches.STAND_INS.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": ROWS[:, :48]}, r"uint8 \(5, 48\) for its images, which must be uint8 \(N, 192\) for 8 x 8"),
        ({"data": ROWS.reshape(5, 3, 8, 8)}, r"uint8 \(5, 3, 8, 8\)"),
        ({"data": ROWS / 255}, r"of downsampled ImageNet \(TypeError: damaged"),
        ({"labels": [1]}, r"KeyError: damaged, or another file\); unpack it anew from https"),
        ([ROWS], "AttributeError: damaged"),
        ({"data": [1, 2]}, "AttributeError: damaged"),
    ],
)
def test_other_content_is_refused(content: object, message: str) -> None:
    pickled(content)
    with pytest.raises(InputError, match=f"train_data_batch_1 .*{message}"):
        read_imagenet_batch(PATH, 8)


@pytest.mark.parametrize(
    "arrays",
    [{"images": ROWS}, {"data": ROWS / 255}, {"data": ROWS[:0]}, {"data": np.array([{}], dtype=object)}],
    ids=["another name", "fractions", "empty", "objects"],
)
def test_other_archives_are_refused(arrays: dict[str, NDArray[Any]]) -> None:
    np.savez("val_data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"val_data.npz (cannot be read as a batch|holds (float64|uint8 \(0))"):
        read_imagenet_batch(Path("val_data.npz"), 8)


@pytest.mark.parametrize("name", ["val_data", "val_data.npz"])
@pytest.mark.parametrize("keep", [0, 20, 500])
def test_damaged_files_are_named(name: str, keep: int) -> None:
    with Path(name).open("wb") as file:
        np.savez(file, data=ROWS) if name.endswith("npz") else pickle.dump(CONTENT, file)
    Path(name).write_bytes(Path(name).read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"{name} cannot be read as a batch of downsampled ImageNet \(\w+: damaged"):
        read_imagenet_batch(Path(name), 8)


def test_the_batches_that_are_there_in_order() -> None:
    folder = Path("data/imagenet8")
    folder.mkdir(parents=True)
    for name in ("val_data", "train_data_batch_10", "train_data_batch_2", "train_data_batch_2.npz", "mean.npz"):
        (folder / name).touch()
    found = [path.name for path in imagenet_files("imagenet8", Path("data"))]
    assert found == ["train_data_batch_2.npz", "train_data_batch_10", "val_data"]
    assert describe_missing_imagenet("imagenet8", Path("data")) is None


def test_missing_batches_are_described() -> None:
    message = str(describe_missing_imagenet("imagenet64", Path("data")))
    assert message.startswith("pool imagenet64 needs train_data_batch_1, or any other of _1 to _10 and val_data")
    assert "in data/imagenet64/: unpack them there from https://" in message
    assert message.endswith("--data.init_args.pool_root")
