import warnings

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_extract.data.image_data import ImageData
from lightning_extract.data.text_data import TextData
from lightning_extract.errors import InputError
from lightning_extract.victims.accuracy import measure_accuracy
from lightning_extract.victims.loading import load_tokenizer, load_victim
from lightning_extract.victims.text_training import TextVictimTraining
from tests.victims.test_selection import Recorder
from tests.victims.test_training import Crash

PATIENCE = 3
VECTORS = ["film", "plot", "moon"]


@pytest.fixture
def films(tmp_path):
    """Sentences of which every fourth is labelled at random: the accuracy wanders."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 48), ("test", 20)):
        rows = ["text,label"]
        for number in range(count):
            label = number % 2
            word = ("dull", "bright")[label if number % 4 else int(torch.randint(2, (), generator=generator))]
            filler = ("film", "plot", "cast")[number % 3]
            rows.append(f"a {word} {filler} number {number},{label}")
        (tmp_path / f"films_{split}.csv").write_text("\n".join(rows) + "\n")
    return str(tmp_path / "films")


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    rows = [" ".join([word, *[str(number + 0.5)] * 12]) for number, word in enumerate(VECTORS)]
    path.write_text("\n".join([f"{len(VECTORS)} 12", *rows]) + "\n")
    return path


def fit(films, victim_dir, *, checkpoints=None, crash_in=None, callbacks=(), data=None, max_epochs=30, **arguments):
    seed_everything(0, verbose=False)
    settings = {"vocabulary": 40, "embedding_dim": 12, "sentence_length": 8, "patience": PATIENCE}
    module = TextVictimTraining(2, str(victim_dir), **settings | arguments)
    callbacks = [*callbacks, *([ModelCheckpoint(checkpoints, save_last=True)] if checkpoints else [])]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=checkpoints is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks + ([Crash(crash_in)] if crash_in is not None else []),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = data or TextData(films, batch_size=6, validation_share=0.25)
        trainer.fit(module, data, ckpt_path="last" if checkpoints else None)
    return trainer


def test_best_epoch_is_written_with_tokenizer_and_recipe(tmp_path, films):
    seen = Recorder()
    trainer = fit(films, tmp_path / "victim", callbacks=[seen])
    best = seen.accuracies.index(max(seen.accuracies))
    assert len(seen.accuracies) == best + 1 + PATIENCE
    network, card = load_victim(tmp_path / "victim")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, seen.weights[best][name])
    assert max(seen.accuracies) > 0.6
    tokenizer, data = load_tokenizer(tmp_path / "victim"), trainer.datamodule
    assert set(tokenizer.words) >= {"dull", "bright", "film", "plot", "cast"}
    assert len(tokenizer) == card.vocabulary == 40
    expected = measure_accuracy(network, lambda s: tokenizer.encode(s, 8), data.test_set, torch.device("cpu"), 7)
    assert card.test_accuracy == expected > 0.5
    assert (card.network, card.dataset, card.embedding_dim, card.sentence_length) == ("text_cnn", films, 12, 8)
    assert card.recipe == {
        "epochs": 30,
        "batch_size": 6,
        "lowercase": True,
        "static": False,
        "vectors": None,
        "vectors_limit": None,
        "dropout": 0.1,
        "patience": PATIENCE,
        "validation_share": 0.25,
        "precision": "32-true",
        "seed": 0,
        "optimizer": {"class": "Adam", "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 1e-3},
        "lr_scheduler": None,
        "steps": 6 * len(seen.accuracies),
        "selection": {"epoch": best, "validation_accuracy": max(seen.accuracies)},
    }


def test_killed_and_resumed_equals_uninterrupted(tmp_path, films):
    seen = Recorder()
    fit(films, tmp_path / "whole", checkpoints=tmp_path / "a", callbacks=[seen])
    with pytest.raises(ArithmeticError):
        fit(films, tmp_path / "resumed", checkpoints=tmp_path / "b", crash_in=len(seen.accuracies) - 1)
    assert not (tmp_path / "resumed").exists()
    torch.rand(5)
    fit(films, tmp_path / "resumed", checkpoints=tmp_path / "b")
    whole, resumed = (load_victim(tmp_path / name)[1] for name in ("whole", "resumed"))
    assert whole == resumed


def test_network_starts_from_the_vectors(tmp_path, films, vectors):
    start = {}

    class KeepStart(Recorder):
        def on_train_start(self, trainer, pl_module):
            start.update(words=pl_module.tokenizer.words, rows=pl_module.classifier.embedding.weight.detach().clone())

    fit(films, tmp_path / "v", callbacks=[KeepStart()], vectors=str(vectors), vocabulary=80, static=True, max_epochs=2)
    for number, word in enumerate(VECTORS):
        assert torch.all(start["rows"][start["words"].index(word)] == number + 0.5)
    network, card = load_victim(tmp_path / "v")
    assert "moon" in load_tokenizer(tmp_path / "v").words, "a word of the vectors alone"
    assert len(load_tokenizer(tmp_path / "v")) < card.vocabulary == 80
    assert torch.equal(network.embedding.weight, start["rows"]), "they are kept from training"
    assert (card.recipe["vectors"], card.recipe["static"]) == ("vectors.txt", True)


def test_vectors_are_trained_unless_static(tmp_path, films, vectors):
    fit(films, tmp_path / "v", vectors=str(vectors), max_epochs=1)
    network, words = load_victim(tmp_path / "v")[0], load_tokenizer(tmp_path / "v").words
    row = network.embedding.weight[words.index("film")]
    assert 0 < (row - 0.5).abs().max() < 0.1


def test_a_checkpoint_evaluates_without_the_training_sentences(tmp_path, films):
    first = fit(films, tmp_path / "victim", checkpoints=tmp_path / "checkpoints")
    module = TextVictimTraining(
        2, str(tmp_path / "other"), vocabulary=40, embedding_dim=12, sentence_length=8, patience=PATIENCE
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    data = TextData(films, validation_share=0.25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (found,) = trainer.test(module, data, ckpt_path=str(tmp_path / "checkpoints/last.ckpt"), verbose=False)
        assert found["accuracy"] == pytest.approx(load_victim(tmp_path / "victim")[1].test_accuracy)
        (probabilities,) = trainer.predict(module, data, ckpt_path=str(tmp_path / "checkpoints/last.ckpt"))
    assert probabilities.shape == (20, 2)
    assert first.global_step > 0


def test_other_sentences_do_not_continue_a_run(tmp_path, films):
    fit(films, tmp_path / "victim", checkpoints=tmp_path / "checkpoints", max_epochs=1)
    path = tmp_path / "films_train.csv"
    path.write_text(path.read_text().replace("cast", "crew"))
    with pytest.raises(InputError, match="other words than when the checkpoint was written"):
        fit(films, tmp_path / "victim", checkpoints=tmp_path / "checkpoints", max_epochs=2)


def test_another_victim_is_not_overwritten(tmp_path, films):
    fit(films, tmp_path / "victim", max_epochs=1)
    fit(films, tmp_path / "victim", max_epochs=1)
    with pytest.raises(InputError, match=r"differs in static\)"):
        fit(films, tmp_path / "victim", max_epochs=1, static=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentence_length": 4}, "at least 5 words a sentence"),
        ({"vectors_limit": 0}, "vectors_limit is 0"),
        ({"vocabulary": 2}, "vocabulary of 2 has no place"),
        ({"network": "lenet5"}, "the text classifier 'lenet5' is unknown"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"embedding_dim": 10, "vectors": "here"}, "set embedding_dim to 12"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, films, vectors, change, message):
    if "vectors" in change:
        change = change | {"vectors": str(vectors)}
    with pytest.raises(InputError, match=message):
        fit(films, tmp_path / "victim", **change)


def test_data_that_do_not_fit(tmp_path, films):
    with pytest.raises(InputError, match="no training samples are kept apart"):
        fit(films, tmp_path / "victim", data=TextData(films, batch_size=6))
    with pytest.raises(InputError, match="TextData"):
        fit(films, tmp_path / "victim", data=ImageData("mnist5k"))


def test_missing_vectors_are_named_before_training(tmp_path, vectors):
    assert TextVictimTraining(2, str(tmp_path), vectors=str(vectors), vocabulary=9).describe_missing() == []
    assert TextVictimTraining(2, str(tmp_path), vocabulary=9).describe_missing() == []
    (missing,) = TextVictimTraining(2, str(tmp_path), vectors="nowhere.bin", vocabulary=9).describe_missing()
    assert "word vectors nowhere.bin do not exist" in missing
    assert "--model.init_args.vectors" in missing
