"""Concepts whose decoder needs the rows: everything that decodes passes those that it holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interpreto import demo
from interpreto.concepts import DictionaryLearningExplainer
from interpreto.concepts.concept_model import FittableModel
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification
from interpreto.errors import InputError, ModelError
from interpreto.metrics import MSE, ConceptDeletion, ReconstructionError

TEXTS = ["A charming film.", "Dull and far too long.", "Not my cup of tea."]


class Normalized(FittableModel):
    """The neurons of rows that are centered and scaled, each by its own mean and deviation."""

    decodes_alone = False

    def __init__(self, nb_concepts):
        super().__init__(nb_concepts)
        self.register_buffer("width", torch.empty(0))

    @property
    def is_fitted(self):
        return self.width.numel() > 0

    def fit(self, activations, random_state, tqdm_bar):
        self.nb_concepts, self.width = activations.d, torch.tensor([float(activations.d)])

    def encode(self, activations):
        return (activations - activations.mean(1, keepdim=True)) / activations.std(1, keepdim=True)

    def decode(self, concepts, activations=None):
        return concepts * activations.std(1, keepdim=True) + activations.mean(1, keepdim=True)

    def get_dictionary(self) -> Tensor:
        return torch.eye(self.nb_concepts)


def fitted(splitter, rows):
    return DictionaryLearningExplainer(splitter, Normalized, nb_concepts=rows.shape[1]).fit(rows)


def test_rows_come_back_with_themselves_and_not_alone():
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)[:, None] + 3
    explainer = fitted(None, rows)
    codes = explainer.encode_activations(rows)
    torch.testing.assert_close(explainer.decode_concepts(codes, rows), rows)
    with pytest.raises(ModelError, match=r"decode_concepts\(concepts, activations\)"):
        explainer.decode_concepts(codes)
    with pytest.raises(InputError, match=r"`activations`: got shape \(4, 8\); pass \(5, d\)"):
        explainer.decode_concepts(codes, rows[:4])
    assert MSE(explainer).run(rows).score == pytest.approx(0, abs=1e-10)


def test_effects_and_metrics_pass_the_rows_that_they_hold():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    rows = splitter.get_activations(TEXTS)[splitter.split_point]
    explainer = fitted(splitter, rows)
    for text in TEXTS[:1]:
        (found,) = explainer.concept_output_attribution(text, ["positive"], "ablation")
        (sample,) = splitter.samples(text)
        hidden, codes = splitter.batch_activations([sample]), explainer.encode_activations(splitter.activations_of([sample]))
        token, concept = 1, 5
        place = int((sample.units.index == token).nonzero()[0])
        moved = hidden.clone()
        own = hidden[0, place]
        moved[0, place, concept] -= codes[token, concept] * own.std()
        lost = splitter.outputs_from([sample], hidden)[0, 1] - splitter.outputs_from([sample], moved)[0, 1]
        torch.testing.assert_close(found[0, token, concept], lost, atol=1e-4, rtol=1e-3)
    heads = SplitterForClassification(model, tokenizer=tokenizer)
    inputs, _ = heads.get_activations(TEXTS)
    of_heads = fitted(heads, inputs)
    assert ReconstructionError(of_heads, "logits", "squared").run(inputs).score == pytest.approx(0, abs=1e-8)
    whole = ConceptDeletion(of_heads, keep_error=False).run(TEXTS, of_heads.concept_output_gradient(TEXTS, ["positive"]))
    kept = ConceptDeletion(of_heads).run(TEXTS, of_heads.concept_output_gradient(TEXTS, ["positive"]))
    assert whole.score == pytest.approx(kept.score, abs=1e-5)
