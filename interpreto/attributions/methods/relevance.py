"""Relevance: the score, handed back through the model layer by layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from typing_extensions import Unpack

from interpreto.attributions.aggregations import MeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.evidence import Gradients
from interpreto.attributions.options import GradientOptions, Options
from interpreto.attributions.perturbations import InputPerturbator
from interpreto.errors import ModelError, OptionError
from interpreto.models.composites import AlphaBeta, Box, CompositeRules, Epsilon, Flat, Gamma, LayerRule, PixelRule
from interpreto.models.images import reads_images
from interpreto.models.relevance_rules import LrpRules
from interpreto.models.wrappers import model_name
from interpreto.models.wrapping import read_model
from interpreto.validation import check_choice, check_not_negative, check_positive, is_number, shown

ATTENTION = ("attnlrp", "frozen")
BIASES = ("absorb", "share")
COMPOSITES = {
    "epsilon": ("epsilon", "epsilon"),
    "gamma": ("gamma", "gamma"),
    "alpha_beta": ("alpha_beta", "alpha_beta"),
    "epsilon_plus": ("plus", "epsilon"),
    "epsilon_gamma": ("gamma", "epsilon"),
    "epsilon_alpha_beta": ("alpha_beta", "epsilon"),
}
"""The rules of convolutions and of linear layers."""
FIRST = ("same", "flat", "box")


class AttnLrp(AttributionExplainer):
    """Propagate the score back through the model by the rules of layer-wise relevance propagation, in one backward pass.

    Values are embedding × gradient, where the backward pass shares products equally, and takes normalizations and
    activations for constant factors. They divide the score itself, so that the reference is 0. The ``residual`` is what no
    unit has: the relevance of special tokens, biases and positions, and of softmax, whose rule does not conserve relevance.
    With ``attention="frozen"`` the values of all tokens sum to the logit of a model without biases and positions.

    Args:
        attention: ``"attnlrp"``: attention weights depend on the input. ``"frozen"``: they are constants (CP-LRP), which
            makes the values an additive decomposition of the score.
        biases: ``"absorb"``: biases keep their relevance. ``"share"``: the relevance that no token has is shared among all
            tokens by their magnitudes, so that all tokens sum to the score.

    Examples:
        >>> from interpreto import AttnLrp, demo
        >>> explanation = AttnLrp(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> sorted(element for element, _ in explanation.top(2))
        ['gorgeous', 'moving']

    References:
        Achtibat et al., ICML 2024, https://arxiv.org/abs/2402.05602; frozen attention: Ali et al., ICML 2022,
        https://arxiv.org/abs/2202.07304; shared biases (there in every layer): Modarressi et al., ACL 2023,
        https://arxiv.org/abs/2306.02873.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        attention: str = "attnlrp",
        biases: str = "absorb",
        **options: Unpack[GradientOptions],
    ) -> None:
        rules = partial(LrpRules, check_choice(attention, "attention", ATTENTION))
        shares = check_choice(biases, "biases", BIASES) == "share"
        evidence = Gradients(rules, divides_score=True, shares_residual=shares)
        parts = {"perturbator": InputPerturbator(input_x_gradient=True), "aggregator": MeanAggregator(), "evidence": evidence}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)


class Lrp(AttributionExplainer):
    """Propagate the score of an image model back to its pixels, with a rule for convolutions and one for linear layers.

    Each output of a layer hands its relevance to its inputs in shares of what they contribute to it. Values divide the score
    itself, so that the reference is 0; the ``residual`` is what biases keep, and what the epsilon of denominators and softmax
    lose. Of a network without biases and attention, the values sum to the score. Batch normalization belongs to the
    convolution before it, max pooling hands relevance to the maximum, and sums share it by their terms; attention and
    normalizations have the rules of `AttnLrp`, which is for texts.

    Args:
        composite: Which contributions count. ``"epsilon"``: all, as they are. ``"gamma"``: those of the output's sign 1 + γ
            times. ``"alpha_beta"``: positive ones share α of the relevance, negative ones α − 1, negated.
            ``"epsilon_plus"``, ``"epsilon_gamma"``, ``"epsilon_alpha_beta"``: epsilon in linear layers, and in convolutions
            positive contributions alone, gamma, or alpha-beta.
        first: Rule of the first layer: ``"same"`` as its kind, ``"flat"`` (equal shares of all pixels that it reads), or
            ``"box"`` (how far a pixel is from the worst value within its bounds).
        epsilon: What is added to the magnitude of denominators.
        gamma: γ.
        alpha: α, at least 1.
        bounds: Of ``"box"``: the least and the largest value of a pixel, numbers or one per channel; None: what the
            processor makes of black and white.

    Examples:
        >>> from interpreto import Lrp, demo
        >>> image = demo.load_images(1)[0]
        >>> Lrp(*demo.load_image_classifier(), composite="epsilon_gamma")(image.image)[0].attributions.shape
        torch.Size([1, 64])

    References:
        Bach et al., PLOS ONE 2015, https://doi.org/10.1371/journal.pone.0130140; composites: Montavon et al., 2019,
        https://doi.org/10.1007/978-3-030-28954-6_10; ``"box"``: Montavon et al., Pattern Recognition 2017,
        https://arxiv.org/abs/1512.02479.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        composite: str = "epsilon_plus",
        first: str = "same",
        epsilon: int | float = 1e-6,
        gamma: int | float = 0.25,
        alpha: int | float = 2.0,
        bounds: tuple[Any, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        if not reads_images(model, tokenizer):
            raise ModelError(f"`model`: Lrp has rules for models of images, and {model_name(model)} reads texts; use AttnLrp.")
        if not is_number(alpha) or alpha < 1:
            raise OptionError(f"`alpha`: got {shown(alpha)}; pass a number of at least 1.")
        of_kind: dict[str, LayerRule] = {
            "epsilon": Epsilon(),
            "gamma": Gamma(float(check_not_negative(gamma, "gamma"))),
            "alpha_beta": AlphaBeta(float(alpha)),
            "plus": AlphaBeta(1.0),
        }
        convolution, linear = (of_kind[name] for name in COMPOSITES[check_choice(composite, "composite", COMPOSITES)])
        pixels = _pixel_rule(check_choice(first, "first", FIRST), bounds, tokenizer)
        rules = partial(CompositeRules, convolution, linear, pixels, float(check_positive(epsilon, "epsilon")))
        input_rule = InputPerturbator(input_x_gradient=pixels is None, summed=pixels is not None)
        parts = {"perturbator": input_rule, "aggregator": MeanAggregator(), "evidence": Gradients(rules, divides_score=True)}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, signed=True, **parts, **options)


def _pixel_rule(first: str, bounds: tuple[Any, Any] | None, processor: Any) -> PixelRule | None:
    """Return the rule of the first layer; None: that of its kind."""
    if first != "box":
        if bounds is not None:
            raise OptionError(f'`bounds`: got {shown(bounds)}, which first="box" alone reads; pass it, or no bounds.')
        return Flat() if first == "flat" else None
    found = processor.bounds() if bounds is None else bounds
    if found is None or len(found) != 2:
        raise OptionError(
            f"`bounds`: got {shown(bounds)}, and the processor does not tell what black and white become; pass the least and "
            "the largest value of a pixel, such as (0.0, 1.0)."
        )
    low, high = (torch.as_tensor(v, dtype=torch.float32).reshape(-1, 1, 1) for v in found)
    if not bool((low < high).all()):
        raise OptionError(f"`bounds`: got {shown(bounds)}; the least value must be smaller than the largest one.")
    return Box(low, high)
