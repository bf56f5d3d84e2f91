"""Explainers that declare their concept model have its options: in calls, signatures and documentation."""

import inspect
import sys

import pytest
import torch

from interpreto import concepts
from interpreto.concepts.concept_model import Dictionary
from interpreto.concepts.declared import options_of
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.errors import OptionError

DECLARED = [
    found for name in concepts.__all__ if isinstance(found := getattr(concepts, name), type) and "model_class" in vars(found)
]
ACTIVATIONS = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))


class Scaled(Dictionary):
    """The first rows, scaled.

    Args:
        nb_concepts: Number of atoms.
        factor: Of the rows.
    """

    def __init__(self, nb_concepts: int, factor: float = 2.0) -> None:
        super().__init__(nb_concepts)
        self.factor = factor

    def fit(self, activations, random_state, tqdm_bar):
        self.learned(self.factor * activations.read()[: self.nb_concepts])

    def encode(self, activations):
        return activations @ self.dictionary.T


class ScaledConcepts(DictionaryConcepts):
    """Concepts by scaled rows.

    Examples:
        None.
    """

    model_class = Scaled


def test_a_declaration_is_a_whole_explainer():
    explainer = ScaledConcepts(None, 3, None, "cpu", 1, factor=4.0).fit(ACTIVATIONS)
    assert torch.equal(explainer.get_dictionary(), 4 * ACTIVATIONS[:3])
    assert explainer.concept_model_options == {"factor": 4.0} and explainer.random_state == 1
    text = inspect.getdoc(ScaledConcepts)
    assert text.index("random_state: ") < text.index("factor: Of the rows.") < text.index("Examples:")
    assert text.count("nb_concepts:") == 1 and "**options" not in text
    assert inspect.signature(ScaledConcepts).parameters["factor"].default == 2.0


@pytest.mark.parametrize("kind", DECLARED)
def test_every_declared_explainer_shows_the_options_of_its_model(kind):
    shown, text = inspect.signature(kind).parameters, inspect.getdoc(kind)
    for name, parameter in options_of(kind.model_class).items():
        assert shown[name].default == parameter.default and shown[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"    {name}: " in text
    with pytest.raises(OptionError, match=r"`max_itr`: got 3, and .* has no such option"):
        kind(None, 3, max_itr=3)


def test_some_explainers_are_declared():
    assert {concepts.NMFConcepts, concepts.Cockatiel} <= set(DECLARED)


def test_options_may_be_given_to_fit():
    explainer = ScaledConcepts(None, 3).fit(ACTIVATIONS, factor=3.0)
    assert torch.equal(explainer.get_dictionary(), 3 * ACTIVATIONS[:3])
    few = concepts.NMFConcepts(None, 3).fit(ACTIVATIONS, max_iter=1)
    same = concepts.NMFConcepts(None, 3, max_iter=1).fit(ACTIVATIONS)
    assert torch.equal(few.get_dictionary(), same.get_dictionary())
    assert few.concept_model_options["max_iter"] == 1


def test_spellings_of_the_reference_library():
    explainer = ScaledConcepts(model_with_split_points=None, nb_concepts=2).fit(ACTIVATIONS)
    assert explainer.model_with_split_points is explainer.splitter is None
    codes = explainer.activations_to_concepts(ACTIVATIONS)
    assert torch.equal(codes, explainer.encode_activations(ACTIVATIONS))
    assert torch.equal(explainer.concepts_to_activations(codes), explainer.decode_concepts(codes))
    sys.modules.pop("interpreto.concepts.methods", None)  # another test may have imported it
    with pytest.warns(DeprecationWarning, match="moved"):
        from interpreto.concepts.methods import DictionaryLearningExplainer
    assert DictionaryLearningExplainer is concepts.DictionaryLearningExplainer
