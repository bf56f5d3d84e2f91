"""Methods that users write, as the documentation shows them."""

from __future__ import annotations

import pytest
import torch

from interpreto import AttributionExplainer, MultitaskExplainerMixin, Occlusion, Saliency
from interpreto.attributions.aggregations import (
    Aggregator,
    MaskwiseMeanAggregator,
    MeanAggregator,
    OcclusionAggregator,
    SquaredMeanAggregator,
    SumAggregator,
    TrapezoidalMeanAggregator,
    VarianceAggregator,
)
from interpreto.attributions.perturbations import (
    EmbeddingsPerturbator,
    MaskPerturbator,
    OcclusionPerturbator,
    RandomMaskedTokenPerturbator,
)
from interpreto.errors import OptionError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.inputs.units import Units
from tests import tiny

TEXT = "The film was not good"


class KeptMean(Aggregator):
    """RISE: mean score of the copies that kept a unit."""

    def aggregate(self, scores, variants):
        kept = 1 - variants.mask
        return torch.einsum("pt,pu->tu", scores, kept) / kept.sum(0)


class Rise(MultitaskExplainerMixin, AttributionExplainer):
    def __init__(self, model, tokenizer, batch_size=None, *, n_perturbations=200, **options):
        super().__init__(
            model,
            tokenizer,
            batch_size,
            perturbator=RandomMaskedTokenPerturbator(n_perturbations),
            aggregator=KeptMean(),
            **options,
        )


class Halfway(EmbeddingsPerturbator):
    """The gradient half of the way from zero."""

    def __call__(self, sample, space, generator):
        embeddings = space.embed(sample)
        return EmbeddingVariants(sample, embeddings[None] / 2)


@pytest.fixture
def setting():
    return tiny.CLASSIFIERS["bert"]()


def test_the_documented_composition_runs_as_written(setting):
    explainer = AttributionExplainer(
        *setting, batch_size=8, perturbator=OcclusionPerturbator(), aggregator=OcclusionAggregator(), use_gradient=False
    )
    assert torch.equal(explainer(TEXT)[0].attributions, Occlusion(*setting)(TEXT)[0].attributions)


def test_a_method_of_ones_own(setting):
    output = Rise(*setting, granularity="token")(TEXT, 1)[0]
    assert output.method == "Rise"
    masks = RandomMaskedTokenPerturbator(200).masks(5, torch.Generator().manual_seed(0))
    ids = torch.where(output.sample.units.spread(masks).bool(), setting[1].mask_token_id, output.sample.input_ids)
    with torch.no_grad():
        scores = setting[0](ids).logits[:, 1]
    kept = 1 - masks
    torch.testing.assert_close(output.attributions[0], (scores @ kept) / kept.sum(0), rtol=1e-4, atol=1e-5)


def test_a_gradient_method_of_ones_own(setting):
    explainer = AttributionExplainer(*setting, perturbator=Halfway(), use_gradient=True, signed=False)
    model, _ = setting
    output = explainer(TEXT, 0)[0]
    x = (model.get_input_embeddings()(output.sample.input_ids)[None] / 2).detach().requires_grad_()
    grad = torch.autograd.grad(model(inputs_embeds=x).logits[0, 0], x)[0][0].norm(dim=-1)
    torch.testing.assert_close(output.attributions[0], grad[output.sample.units.free], rtol=1e-3, atol=1e-5)


def test_without_a_perturbator_a_gradient_explainer_is_saliency(setting):
    bare = AttributionExplainer(*setting, use_gradient=True, signed=False)(TEXT)[0]
    assert torch.equal(bare.attributions, Saliency(*setting)(TEXT)[0].attributions)


def test_without_an_aggregator_scores_are_attributions_as_they_are(setting):
    class EachAlone(MaskPerturbator):
        def masks(self, u, generator):
            return torch.eye(u)

    scores = AttributionExplainer(*setting, perturbator=EachAlone())(TEXT)[0]
    drops = Occlusion(*setting)(TEXT)[0]
    torch.testing.assert_close(drops.base_scores[:, None] - scores.attributions, drops.attributions)
    with pytest.raises(OptionError, match="`aggregator`: 1 perturbed inputs and 5 units"):
        AttributionExplainer(*setting)(TEXT)


def test_masks_of_a_wrong_shape_are_refused(setting):
    class Wrong(MaskPerturbator):
        def masks(self, u, generator):
            return torch.full((2, u), 0.5)

    with pytest.raises(OptionError, match=r"`perturbator`: Wrong.masks returned \(2, 5\); it must return zeros and ones"):
        AttributionExplainer(*setting, perturbator=Wrong(), aggregator=KeptMean())(TEXT)


def test_gradients_are_read_where_embeddings_are_moved_only(setting):
    with pytest.raises(OptionError, match="`use_gradient`: got True, but OcclusionPerturbator moves units"):
        AttributionExplainer(*setting, perturbator=OcclusionPerturbator(), use_gradient=True)
    with pytest.raises(OptionError, match="`use_gradient`: got False, but Halfway moves embeddings"):
        AttributionExplainer(*setting, perturbator=Halfway(), use_gradient=False)
    derived, said = (AttributionExplainer(*setting, perturbator=Halfway(), **o) for o in ({}, {"use_gradient": True}))
    assert derived.use_gradient and torch.equal(derived(TEXT)[0].attributions, said(TEXT)[0].attributions)


def test_plain_aggregators_are_their_formulas():
    scores = torch.tensor([[[1.0]], [[2.0]], [[6.0]]])
    units = Units(torch.tensor([0]), ("a",), ((0, 1),))
    variants = MaskVariants(Sample("a", torch.tensor([5]), units), torch.zeros(3, 1))
    for aggregator, wanted in (
        (MeanAggregator(), 3.0),
        (SumAggregator(), 9.0),
        (SquaredMeanAggregator(), 41 / 3),
        (VarianceAggregator(), 7.0),
        (TrapezoidalMeanAggregator(), 2.75),
    ):
        assert float(aggregator.aggregate(scores, variants).values) == pytest.approx(wanted)


def test_maskwise_mean_is_the_mean_over_the_copies_that_removed_a_unit(setting):
    explainer = AttributionExplainer(*setting, perturbator=OcclusionPerturbator(), aggregator=MaskwiseMeanAggregator())
    drops = Occlusion(*setting)(TEXT)[0]
    means = explainer(TEXT)[0].attributions
    torch.testing.assert_close(drops.base_scores[:, None] - means, drops.attributions, rtol=1e-5, atol=1e-5)
