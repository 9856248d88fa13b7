"""ActiveThief against a text victim in miniature: its files and its config."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_extract.data.words import WordTokenizer
from lightning_extract.networks import build_text_classifier
from lightning_extract.victims.saving import save_text_victim

WORDS = ["film", "plot", "cast", "bad", "good", "dull", "bright", "so", "moon", "sun"]
DIMENSION, LENGTH, CLASSES = 12, 8, 3
POOL, BUDGET = 150, 80
ACCOUNT = {"validation": 16, "seed": 8, "selected": 56}
VECTORS = {"film": 0.25, "moon": -0.75, "star": 0.5}  # the last stands in no sentence


def sentences(count: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (count,), generator=generator).tolist()
    numbers = [torch.randint(len(WORDS), (length,), generator=generator).tolist() for length in lengths]
    return [" ".join(WORDS[number] for number in row).capitalize() for row in numbers]


def write_files() -> None:
    """A victim with random weights, which separate the sentences well enough; test sentences, a pool, and vectors."""
    torch.manual_seed(0)
    network = build_text_classifier("text_cnn", CLASSES, len(WORDS) + 2, 4).eval()
    tokenizer = WordTokenizer.of_sentences([" ".join(WORDS)], size=len(WORDS) + 2)
    known = tokenizer.encode(sentences(100, seed=1), LENGTH)
    with torch.no_grad():
        deviation, mean = torch.std_mean(network(known), dim=0)
        linear: Any = network.linear
        linear.weight.div_(deviation[:, None] / 2)
        linear.bias.sub_(mean).div_(deviation / 2)
    save_text_victim(
        Path("victim"), network, tokenizer, network="text_cnn", num_classes=CLASSES, vocabulary=len(WORDS) + 2,
        embedding_dim=4, sentence_length=LENGTH, dataset="films", test_accuracy=None, recipe={},
    )  # fmt: skip
    for split, count in (("train", 6), ("test", 60)):
        rows = [{"text": text, "label": i % CLASSES} for i, text in enumerate(sentences(count, seed=2))]
        Path(f"films_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("pool.txt").write_text("\n".join(sentences(POOL, seed=3)) + "\n")
    rows_of_vectors = [" ".join([word, *[str(value)] * DIMENSION]) for word, value in VECTORS.items()]
    Path("vectors.txt").write_text("\n".join(rows_of_vectors) + "\n")


def write_config() -> None:
    threat = {"victim": "victim", "query_budget": BUDGET, "num_classes": CLASSES, "medium": "text", "access": "hard"}
    model = {
        "threat_model": threat,
        "clone_training": {"network": "text_cnn"},
        "rounds": {"count": 2},
        "selection": {"strategies": ["kcenter"]},
        "early_stopping": {"epochs": 6, "patience": 3},
        "text": {"vocabulary": 20, "embedding_dim": DIMENSION, "sentence_length": LENGTH},
        "batch_size": 10,
    }
    data = {"dataset": "films", "pool": "pool.txt", "iterations_per_epoch": 4}
    config = {
        "seed_everything": 0,
        "trainer": {"accelerator": "cpu"},
        "model": {"class_path": "ActiveThief", "init_args": model},
        "data": {"class_path": "SentenceStream", "init_args": data},
    }
    Path("text.yaml").write_text(yaml.safe_dump(config))
