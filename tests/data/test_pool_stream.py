from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_extract.data import pool_reading
from lightning_extract.data.draws import Iteration, IterationDraws, mix_seed
from lightning_extract.data.generator_stream import GeneratorStream
from lightning_extract.data.pool_stream import PoolStream
from lightning_extract.data.pools import ImagePool
from lightning_extract.data.shapes import SyntheticShapes
from lightning_extract.data.torchvision_sets import TorchvisionSet
from lightning_extract.errors import InputError
from tests.image_folders import write_image_folder

DRAWS = IterationDraws(0, 0, 1, torch.device("cpu"))


def first_batch(stream: PoolStream) -> Tensor:
    stream.setup("fit")
    return stream.pool.batch(0, 8, DRAWS)


def test_the_pool_has_the_shape_of_the_evaluation_data() -> None:
    folder = write_image_folder(Path("tree"), size=8)
    stream = PoolStream("mnist5k", pool=str(folder), image_size=16)
    assert first_batch(stream).shape == (8, 1, 16, 16)
    assert stream.test_set.images.shape == (1000, 1, 16, 16)
    assert (stream.num_classes, stream.pool.size) == (10, 12)
    assert first_batch(PoolStream("mnist5k", pool="mnist5k", channels=3)).shape == (8, 3, 32, 32)


def test_the_pool_is_read_for_fitting_only_and_once() -> None:
    stream = PoolStream("mnist5k", pool="mnist5k")
    stream.setup("test")
    with pytest.raises(RuntimeError, match="fit"):
        stream.pool  # noqa: B018
    stream.setup("fit")
    pool = stream.pool
    stream.setup("fit")
    assert stream.pool is pool


def test_order_and_choice_follow_the_run_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def images(seed: int) -> tuple[Tensor, Tensor]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        stream = PoolStream("mnist5k", pool="mnist5k", pool_limit=50)
        batch = first_batch(stream)
        assert isinstance(stream.pool, ImagePool)
        return stream.pool.images, batch

    for again, other in zip(images(1), images(1), strict=True):
        assert torch.equal(again, other)
    for first, second in zip(images(1), images(2), strict=True):
        assert not torch.equal(first, second)


def test_the_stream_is_that_of_a_data_free_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    loader = PoolStream("mnist5k", pool="uniform_noise", iterations_per_epoch=4).train_dataloader()
    loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
    assert list(loader) == [Iteration(number, mix_seed(7, number)) for number in range(8, 12)]


def test_classes_and_limit_reach_the_reader() -> None:
    stream = PoolStream("mnist5k", pool="mnist5k", pool_classes=(3, 4), pool_limit=500)
    stream.setup("fit")
    assert stream.pool.size == 500
    stream = PoolStream("mnist5k", pool="mnist5k", pool_classes=(3,))
    stream.setup("fit")
    assert stream.pool.size == 400


def test_shapes_reach_the_reader() -> None:
    shapes = SyntheticShapes(count=12, shapes=2, canvas=16, smallest=2, largest=5)
    batch = first_batch(PoolStream("mnist5k", pool="synthetic_shapes", image_size=8, shapes=shapes))
    stream = PoolStream("mnist5k", pool="synthetic_shapes", image_size=8, shapes=replace(shapes, cache="kept"))
    assert stream.describe_missing() == []
    stream.prepare_data()
    assert torch.equal(first_batch(stream), batch)
    assert stream.pool.size == 12
    assert batch.shape == (8, 1, 8, 8)


def test_a_cache_is_written_for_shapes_only() -> None:
    PoolStream("mnist5k", pool="mnist5k", shapes=SyntheticShapes(cache="kept")).prepare_data()
    assert not Path("kept").exists()


def test_a_pool_is_kept_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_image_folder(Path("tree"))
    stream = PoolStream("mnist5k", pool=str(folder), pool_cache="kept")
    stream.prepare_data()
    assert len(list(Path("kept").glob("*.npy"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(pool_reading, "place_images", None)
        kept = first_batch(stream)
    assert torch.equal(kept, first_batch(PoolStream("mnist5k", pool=str(folder))))


@pytest.mark.parametrize(("state", "files"), [(TrainerFn.TESTING, 0), (TrainerFn.FITTING, 2)])
def test_a_pool_is_kept_for_fitting_only(state: TrainerFn, files: int) -> None:
    folder = write_image_folder(Path("tree"))
    stream = PoolStream("mnist5k", pool=str(folder), pool_cache="kept")
    stream.trainer = Trainer(logger=False, accelerator="cpu")
    stream.trainer.state.fn = state
    stream.prepare_data()
    assert len(list(Path("kept").glob("*"))) == files


def test_noise_with_a_limit_can_be_chosen_from() -> None:
    stream = PoolStream("mnist5k", pool="uniform_noise", pool_limit=20)
    stream.setup("fit")
    assert isinstance(stream.pool, ImagePool)
    assert stream.pool.queries(torch.tensor([19, 4])).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("pool", ["my_images/", "my.npz"])
def test_a_folder_or_an_archive_is_one_word_of_a_config(pool: str) -> None:
    write_image_folder(Path("my_images"))
    np.savez("my.npz", np.full((12, 8, 8, 3), 9, np.uint8))
    stream = configured(dataset="mnist5k", pool=pool, pool_cache="kept")
    assert stream.describe_missing() == []
    assert first_batch(stream).shape == (8, 1, 32, 32)


def test_missing_data_and_pool_are_described() -> None:
    data, pool = PoolStream("cifar10", pool="svhn_extra", root="images").describe_missing()
    assert data.startswith("data set cifar10 is not complete in images/")
    assert pool.startswith("data set svhn_extra is not complete in images/")
    (pool,) = PoolStream("mnist5k", pool="svhn_extra", pool_root="pools").describe_missing()
    assert "not complete in pools/" in pool
    assert PoolStream("mnist5k", pool="mnist5k").describe_missing() == []


def test_the_pool_is_fetched_on_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, Path, bool]] = []

    def read(self: TorchvisionSet, name: str, root: Path, split: str, download: bool = False) -> None:
        fetched.append((name, root, download))

    monkeypatch.setattr(TorchvisionSet, "read", read)
    PoolStream("mnist5k", pool="svhn", pool_root="pools").prepare_data()
    assert fetched == []
    stream = PoolStream("mnist5k", pool="svhn", pool_root="pools", download=True)
    assert stream.describe_missing() == []
    stream.prepare_data()
    assert fetched == [("svhn", Path("pools"), True)]


def test_impossible_arguments() -> None:
    with pytest.raises(InputError, match="pool_limit is 0"):
        PoolStream("mnist5k", pool="mnist5k", pool_limit=0)
    with pytest.raises(InputError, match="pool_classes is empty"):
        PoolStream("mnist5k", pool="mnist5k", pool_classes=())
    with pytest.raises(InputError, match=r"set shapes\.count"):
        PoolStream("mnist5k", pool="synthetic_shapes", pool_limit=5)
    with pytest.raises(InputError, match="dfms_40 stands for classes of cifar100, but pool is 'svhn'"):
        PoolStream("mnist5k", pool="svhn", pool_classes=("dfms_40",))
    with pytest.raises(InputError, match="iterations_per_epoch is 0"):
        PoolStream("mnist5k", pool="mnist5k", iterations_per_epoch=0)


def test_a_config_can_say_it_all() -> None:
    stream = configured(
        dataset="mnist5k", pool="mnist5k", pool_classes=[0, 1], pool_limit=30, pool_root="x", shapes={"gray": True}
    )
    assert (stream.pool_classes, stream.pool_limit, stream.pool_root) == ((0, 1), 30, "x")
    assert (stream.pool_name, stream.root) == ("mnist5k", "data")
    assert stream.shapes == SyntheticShapes(gray=True)


def test_a_config_can_name_classes() -> None:
    stream = configured(dataset="mnist5k", pool="cifar100", pool_classes=["plate", "pine_tree", 3])
    assert stream.pool_classes == ("plate", "pine_tree", 3)
    assert configured(dataset="mnist5k", pool="cifar100", pool_classes=["dfms_40"]).pool_classes == ("dfms_40",)


def configured(**arguments: Any) -> PoolStream:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(GeneratorStream, "data")
    config = parser.parse_object({"data": {"class_path": f"{__name__}.PoolStream", "init_args": arguments}})
    stream = parser.instantiate(config).data
    assert isinstance(stream, PoolStream)
    return stream
