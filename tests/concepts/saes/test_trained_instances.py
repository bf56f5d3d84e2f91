"""A trained autoencoder of elsewhere is used as it is: its own codes, untrained, frozen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from interpreto.concepts import DictionaryLearningExplainer, SAEExplainer, TopKSAEConcepts, load_concepts
from interpreto.concepts.adapters.overcomplete import load_overcomplete
from interpreto.concepts.saes.architectures import TopKSAE
from interpreto.errors import OptionError


class Trained(nn.Module):
    """An autoencoder with biases, whose activations are not centered."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.into = nn.Parameter(torch.randn(8, 16, generator=generator, dtype=dtype))
        self.out = nn.Parameter(torch.randn(16, 8, generator=generator, dtype=dtype))
        self.bias = nn.Parameter(torch.randn(8, generator=generator, dtype=dtype))

    def encode(self, rows: Tensor) -> Tensor:
        return torch.relu((rows - self.bias) @ self.into)

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.out + self.bias


class Plain:
    """The same, and no torch module."""

    nb_concepts = 16

    def __init__(self) -> None:
        self.inner = Trained()

    def encode(self, rows: Tensor) -> Tensor:
        return self.inner.encode(rows).detach()

    def decode(self, codes: Tensor) -> Tensor:
        return self.inner.decode(codes).detach()


def some_rows() -> Tensor:
    return torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 5 + 2


@pytest.mark.parametrize("make", [Trained, Plain])
@pytest.mark.parametrize("explainer_of", [SAEExplainer, DictionaryLearningExplainer])
def test_codes_and_reconstructions_are_its_own(make, explainer_of):
    rows, model = some_rows(), make()
    expected = model.encode(rows).detach().clone()
    explainer = explainer_of(None, model, nb_concepts=16)
    assert explainer.is_fitted and explainer.nb_concepts == 16
    codes = explainer.encode_activations(rows)
    assert torch.equal(codes.detach(), expected)
    assert torch.equal(explainer.decode_concepts(codes).detach(), model.decode(expected).detach())
    dictionary = (model if make is Trained else model.inner).out
    torch.testing.assert_close(explainer.get_dictionary(), dictionary.detach(), atol=1e-5, rtol=1e-5)


def test_it_computes_in_its_own_dtype():
    rows, model = some_rows().double(), Trained(torch.float64)
    explainer = SAEExplainer(None, model, nb_concepts=16)
    assert torch.equal(explainer.encode_activations(rows), model.encode(rows))


def test_it_is_frozen_and_not_trained_unless_told():
    rows, model = some_rows(), Trained()
    before = copy.deepcopy(model.state_dict())
    explainer = SAEExplainer(None, model, nb_concepts=16)
    assert not explainer.encode_activations(rows).requires_grad
    inputs = rows.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(explainer.encode_activations(inputs).sum(), inputs)
    assert bool((gradient != 0).any())
    with pytest.raises(OptionError, match="overwrite=True"):
        explainer.fit(rows)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    explainer.fit(rows, overwrite=True, nb_epochs=1)
    assert any(not torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    assert not SAEExplainer(None, Trained(), nb_concepts=16, l1=0.1).is_fitted  # how to train it is said
    with pytest.raises(OptionError, match="no torch module"):
        SAEExplainer(None, Plain()).fit(rows, overwrite=True)
    with pytest.raises(OptionError, match="has no `fit`; it is used as it is"):
        DictionaryLearningExplainer(None, Trained(), 16).fit(rows, overwrite=True)


def test_it_comes_back_from_a_file(tmp_path):
    rows = some_rows()
    explainer = SAEExplainer(None, Trained(), nb_concepts=16)
    explainer.save(tmp_path / "file")
    for given in (Trained(), Trained().double().float()):
        loaded = load_concepts(tmp_path / "file", concept_model=given)
        assert torch.equal(loaded.encode_activations(rows), explainer.encode_activations(rows))


def test_overcompletes_instance_is_used_as_it_is():
    rows = some_rows()
    model = load_overcomplete("sae").TopKSAE(8, 16, top_k=3)
    explainer = SAEExplainer(None, model)
    assert explainer.is_fitted and explainer.nb_concepts == 16
    torch.testing.assert_close(explainer.encode_activations(rows), model.encode(rows)[1].detach())


def test_an_instance_of_ours_is_fitted_once_it_was_trained():
    explainer = TopKSAEConcepts(None, 16, k=2).fit(some_rows(), nb_epochs=1)
    again = SAEExplainer(None, explainer.concept_model)
    assert again.is_fitted and torch.equal(again.get_dictionary(), explainer.get_dictionary())
    assert not SAEExplainer(None, TopKSAE(16)).is_fitted
    with pytest.raises(OptionError, match="trained by gradients; pass it to SAEExplainer"):
        DictionaryLearningExplainer(None, TopKSAE(16))


def test_how_many_concepts_it_has_must_be_known():
    with pytest.raises(OptionError, match=r"`nb_concepts`: Trained does not say how many"):
        SAEExplainer(None, Trained())
    with pytest.raises(OptionError, match=r"got 3, and this Plain has 16"):
        SAEExplainer(None, Plain(), nb_concepts=3)
