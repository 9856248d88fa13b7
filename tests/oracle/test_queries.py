from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lightning_extract.errors import InputError
from lightning_extract.oracle import ImageQueries, TextQueries, VictimOracle, victim_queries
from lightning_extract.oracle.ledger import QueryLedger
from lightning_extract.victims.loading import load_victim
from tests.oracle.linear_victim import LinearVictim, linear_oracle, pixels
from tests.victims.text_folder import SENTENCES, save_small_text_victim


def test_an_image_victim_is_asked_with_images_of_its_card() -> None:
    card = load_victim("lenet5_mnist5k")[1]
    queries = victim_queries("lenet5_mnist5k", card, "post_transform")
    assert isinstance(queries, ImageQueries)
    assert (queries.image_shape, queries.input_space) == ((1, 32, 32), "post_transform")
    assert_close(queries.to_input_space(torch.zeros(1, 1, 1, 1)).item(), (0.5 - 0.1307) / 0.3081)


def test_a_text_victim_reads_sentences_with_its_own_tokenizer(tmp_path: Path) -> None:
    trained, tokenizer = save_small_text_victim(tmp_path)
    network, card = load_victim(tmp_path)
    queries = victim_queries(str(tmp_path), card)
    assert isinstance(queries, TextQueries)
    oracle = VictimOracle(network, card.num_classes, queries, "soft", QueryLedger(10))
    oracle.probe()
    expected = trained.eval()(tokenizer.encode(SENTENCES, card.sentence_length)).softmax(dim=1)  # type: ignore[union-attr]
    assert_close(oracle.query(SENTENCES, "clone"), expected)


def test_texts_have_one_input_space(tmp_path: Path) -> None:
    save_small_text_victim(tmp_path)
    with pytest.raises(InputError, match=r"input_space is post_transform, but .* is a text victim"):
        victim_queries(str(tmp_path), load_victim(tmp_path)[1], "post_transform")


def test_labels_of_images_are_counted_for_both_kinds_of_access() -> None:
    for access in ("soft", "hard"):
        oracle = linear_oracle(LinearVictim(), access=access)
        answers = [oracle.query(pixels(40, seed), "clone") for seed in range(2)]
        labels = torch.cat([a if a.ndim == 1 else a.argmax(dim=1) for a in answers])
        assert oracle.label_counts.tolist() == [int((labels == k).sum()) for k in range(3)]
        assert oracle.label_counts.count_nonzero() > 1
