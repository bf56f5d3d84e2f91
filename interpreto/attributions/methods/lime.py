"""LIME: a linear surrogate near the input."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import DistancesFromMask, LinearRegressionAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.choices import read_member
from interpreto.models.alternatives import ReplacedBy


class Lime(AttributionExplainer):
    """Fit a linear surrogate of the presence of units by weighted least squares near the input; return its coefficients.

    The unperturbed input has the largest weight. Signed, with standard errors (robust to unequal noise).

    Args:
        n_perturbations: Number of perturbed inputs, the unperturbed one included: more than there are units. None: 200, or
            four per unit if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.
        perturb_probability: Probability that a unit is masked, in (0, 1).
        distance_function: Distance to the input: ``"cosine"``, ``"hamming"`` or ``"euclidean"``, as in `DistancesFromMask`.
        kernel_width: Width of the weights ``sqrt(exp(−distance² / width²))``.

    Raises:
        OptionError: if the perturbed inputs do not determine the coefficients.

    Examples:
        >>> from interpreto import Lime, demo
        >>> explanation = Lime(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> explanation.standard_error.shape == explanation.attributions.shape
        True

    References:
        Ribeiro et al., KDD 2016, https://arxiv.org/abs/1602.04938.
    """

    distance_functions = DistancesFromMask

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        perturb_probability: float = 0.5,
        distance_function: DistancesFromMask | str = DistancesFromMask.COSINE,
        kernel_width: float = 0.25,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        distance = read_member(DistancesFromMask, distance_function, "distance_function")
        parts = {
            "perturbator": RandomMaskedTokenPerturbator(n_perturbations, perturb_probability),
            "aggregator": LinearRegressionAggregator(distance, kernel_width),
        }
        super().__init__(
            model, tokenizer, batch_size, replacement=replacement, evidence=evidence_within(tolerance), **parts, **options
        )
