"""Training of a text victim."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from lightning_extract.data.text_data import TextData
from lightning_extract.data.word_vectors import fill_embedding, read_vectors
from lightning_extract.data.words import WordTokenizer
from lightning_extract.errors import InputError
from lightning_extract.networks import build_text_classifier
from lightning_extract.victims.classifier_training import ClassifierTraining
from lightning_extract.victims.saving import save_text_victim


class TextVictimTraining(ClassifierTraining):
    """Trains a classifier of sentences with labels and writes its best weights, its tokenizer and its card.

    The victim knows the most frequent words of the training sentences and, where there is room, those of the word
    vectors. The best epoch is chosen by the accuracy on the training sentences that the data keep apart; the test
    accuracy chooses nothing. Random draws of an epoch hang on (seed, epoch, rank), so a run that resumes at an epoch
    equals one that was never interrupted.

    Reference:
        Pal et al., ActiveThief, AAAI 2020, section 5.3; the network is that of Kim, EMNLP 2014.

    Deviations:
        The paper leaves open how it splits sentences into words, how many it reads of a sentence and how many it
        knows, and whether word vectors are trained; the defaults are ours.

    Args:
        num_classes: Number of classes of the data.
        victim_dir: Folder to write the victim to.
        network: Name of the victim's network, one of networks.TEXT_CLASSIFIERS; Kim's is the paper's.
        vocabulary: Most words it knows, padding and the unknown word included; ours.
        embedding_dim: Numbers a word; 300 is the paper's.
        sentence_length: Words it reads of a sentence; longer ones are cut, shorter ones filled up; ours.
        lowercase: Read capitals as small letters; ours.
        vectors: File of word vectors, word2vec or GloVe, to start from; random ones when null.
        vectors_limit: Most words to read of that file, which holds frequent ones first; ours.
        static: Keep the word vectors as they are; trained as in Kim's non-static model when false.
        dropout: Probability of the network's dropout layers, ActiveThief's for all but CIFAR-10; its own when null.
        optimizer: Of the network's weights; ActiveThief's.
        patience: Epochs without a better validation accuracy before training stops, ActiveThief's for text; null
            writes the final weights.
        overwrite: Replace another victim in victim_dir.

    Raises:
        InputError: An argument does not fit the network or the data, or victim_dir holds another victim.
    """

    def __init__(
        self,
        num_classes: int,
        victim_dir: str,
        network: str = "text_cnn",
        vocabulary: int = 30_000,
        embedding_dim: int = 300,
        sentence_length: int = 64,
        lowercase: bool = True,
        vectors: str | None = None,
        vectors_limit: int = 200_000,
        static: bool = False,
        dropout: float | None = 0.1,
        optimizer: OptimizerCallable = lambda parameters: Adam(parameters, lr=1e-3, weight_decay=1e-3),
        patience: int | None = 20,
        overwrite: bool = False,
    ) -> None:
        if vectors_limit < 1:
            raise InputError(f"vectors_limit is {vectors_limit}, it must be at least 1 word")
        classifier = build_text_classifier(network, num_classes, vocabulary, embedding_dim, static)
        classifier(torch.zeros(1, sentence_length, dtype=torch.int64))  # says if sentences are too short for it
        super().__init__(
            classifier, network, num_classes, victim_dir, dropout, patience, optimizer, None, "epoch", overwrite
        )
        self.vocabulary, self.embedding_dim, self.sentence_length = vocabulary, embedding_dim, sentence_length
        self.lowercase, self.static = lowercase, static
        self.vectors, self.vectors_limit = vectors, vectors_limit
        self.tokenizer: WordTokenizer | None = None

    @property
    def data(self) -> TextData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, TextData):
            raise InputError("a text victim is trained with the data module TextData; give it as data.class_path")
        return data

    def describe_missing(self, fitting: bool = True) -> list[str]:
        if not fitting or self.vectors is None or Path(self.vectors).is_file():
            return []
        return [
            f"word vectors {self.vectors} do not exist: put a word2vec or GloVe file there, or give another as "
            "--model.init_args.vectors, or null for random ones"
        ]

    def setup(self, stage: str) -> None:
        """Makes the tokenizer, and lets the network start from the word vectors."""
        super().setup(stage)
        if stage == "fit" and self.tokenizer is None:
            vectors = None if self.vectors is None else read_vectors(self.vectors, self.vectors_limit)
            more_words = [] if vectors is None else vectors.words
            sentences = self.data.train_set.sentences
            self.tokenizer = WordTokenizer.of_sentences(sentences, self.vocabulary, self.lowercase, more_words)
            if vectors is not None:
                embedding = self.classifier.get_submodule("embedding")
                assert isinstance(embedding, nn.Embedding)
                fill_embedding(embedding.weight.detach()[: len(self.tokenizer)], self.tokenizer, vectors)

    def encode(self, samples: list[str]) -> Tensor:
        """Word numbers, of sentences."""
        return self._words().encode(samples, self.sentence_length).to(self.device)

    def loss(self, samples: list[str], labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(self(samples), labels)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the tokenizer."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["tokenizer"] = self._words().to_json()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the tokenizer.

        Raises:
            InputError: The checkpoint holds none, or its words are not those of the training sentences.
        """
        super().on_load_checkpoint(checkpoint)
        stored = checkpoint.get("tokenizer")
        if not isinstance(stored, str):
            raise InputError("the checkpoint holds no text victim; give one of a run that trained one")
        if self.tokenizer is not None and self.tokenizer.to_json() != stored:
            raise InputError(
                "the training sentences or word vectors have other words than when the checkpoint was written; restore "
                "them, or start in a new run folder"
            )
        self.tokenizer = WordTokenizer.from_json(stored, "the checkpoint")

    def own_recipe(self) -> dict[str, Any]:
        return {
            "lowercase": self.lowercase,
            "static": self.static,
            "vectors": None if self.vectors is None else Path(self.vectors).name,
            "vectors_limit": None if self.vectors is None else self.vectors_limit,
        }

    def save(self, network: nn.Module, test_accuracy: float, recipe: dict[str, Any]) -> None:
        save_text_victim(
            self.victim_dir,
            network,
            self._words(),
            network=self.network_name,
            num_classes=self.num_classes,
            vocabulary=self.vocabulary,
            embedding_dim=self.embedding_dim,
            sentence_length=self.sentence_length,
            dataset=self.data.dataset,
            test_accuracy=test_accuracy,
            recipe=recipe,
        )

    def _words(self) -> WordTokenizer:
        if self.tokenizer is None:
            raise InputError(
                "the tokenizer of a text victim is made by fit; give a checkpoint of a run that trained one"
            )
        return self.tokenizer
