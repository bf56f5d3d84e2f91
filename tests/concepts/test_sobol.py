"""Total Sobol indices of concepts: the linear case, and COCKATIEL from texts to words."""

import pytest
import torch

from interpreto import SplitterForClassification, cockatiel, demo
from interpreto.concepts import NeuronsAsConcepts, PCAConcepts, sobol_importance
from interpreto.errors import InputError, TargetError
from tests.problems import linear_headed
from tests.tiny import CLASSIFIERS, SENTENCES


def test_at_a_linear_head_indices_are_shares_of_squared_terms():
    """The variance of w z m, with m uniform, is (w z)² / 12."""
    weight = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    splitter = linear_headed(weight)
    concepts = PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(SENTENCES)[0])
    found = sobol_importance(concepts, SENTENCES[1:4], 1, n_masks=2048)
    terms = concepts.inputs_to_concepts(SENTENCES[1:4]) * (concepts.get_dictionary() @ weight[1])
    shares = terms.square() / terms.square().sum(1, keepdim=True)
    assert torch.allclose(found.by_text, shares.double().detach(), atol=0.03)
    assert torch.allclose(found.values, found.by_text.mean(0)) and found.standard_error.shape == (4,)
    again = sobol_importance(concepts, SENTENCES[1:4], 1, n_masks=64)
    assert torch.equal(again.values, sobol_importance(concepts, SENTENCES[1:4], 1, n_masks=64).values)


def test_one_score_for_each_text():
    model, tokenizer = CLASSIFIERS["bert"]()
    neurons = NeuronsAsConcepts(SplitterForClassification(model, tokenizer=tokenizer))
    with pytest.raises(TargetError, match="input 0 has several"):
        sobol_importance(neurons, SENTENCES[1:3])


@pytest.mark.slow
def test_cockatiel_from_texts_to_words(tmp_path):
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences(split="held-out")[:80]]
    result = cockatiel(model, tokenizer, texts, "negative", nb_concepts=4, n_excerpts=2)
    _, predictions = SplitterForClassification(model, tokenizer=tokenizer).get_activations(texts)
    assert result.n_texts == int((predictions == 0).sum()) and result.target == "negative"
    assert sorted(result.concepts) == [0, 1, 2, 3] and (result.importance.diff() <= 0).all()
    amounts = result.explainer.inputs_to_concepts([excerpt for own in result.excerpts for excerpt in own])
    for place, concept in enumerate(result.concepts):
        own = amounts[2 * place : 2 * place + 2, concept]
        assert own[0] >= own[1] and len(result.words[place]) == 2
        assert torch.isclose(result.words[place][0].base_scores[0], own[0], atol=1e-4)
    page = result.to_html(tmp_path / "page.html")
    assert "importance for negative" in page and "concept" in str(result)
    with pytest.raises(InputError, match="sentences"):
        cockatiel(model, tokenizer, texts[:2], "negative", nb_concepts=20)
