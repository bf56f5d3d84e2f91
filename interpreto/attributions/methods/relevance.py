"""Relevance: the score, handed back through the model layer by layer."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import MeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.evidence import Gradients
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import InputPerturbator
from interpreto.models.relevance_rules import LrpRules
from interpreto.validation import check_choice

ATTENTION = ("attnlrp", "frozen")
BIASES = ("absorb", "share")


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
