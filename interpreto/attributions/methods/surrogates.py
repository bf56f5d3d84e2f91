"""Local surrogates and mean scores besides LIME: GLIME, LIME with a prior, and RISE."""

from __future__ import annotations

import math
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import DistancesFromMask, LinearRegressionAggregator
from interpreto.attributions.aggregations.games import KeptMeanAggregator
from interpreto.attributions.aggregations.penalized import PriorAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.choices import read_member
from interpreto.errors import OptionError
from interpreto.models.alternatives import ReplacedBy
from interpreto.validation import is_number, shown


class GLime(AttributionExplainer):
    """Fit LIME's linear surrogate on inputs that are drawn near the text, instead of drawn far and weighted down.

    Each unit is kept with probability ``e^{1/σ²} / (1 + e^{1/σ²})``, and all perturbed inputs have the same weight. The
    expectation is LIME's with the kernel ``exp((present − u) / σ²)``; the variance is smaller, most of all for small σ.

    Args:
        n_perturbations: Number of perturbed inputs. None: 200, or four per unit if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.
        sigma: Width of the neighborhood; large: each unit is kept with probability ½.

    Raises:
        OptionError: The perturbed inputs do not determine the coefficients.

    Examples:
        >>> from interpreto import GLime, demo
        >>> explanation = GLime(*demo.load_classifier(), sigma=1.0)("A gorgeous, moving film.")[0]
        >>> explanation.standard_error.shape == explanation.attributions.shape
        True

    References:
        Tan et al., NeurIPS 2023, https://arxiv.org/abs/2311.15722.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        sigma: float = 1.0,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        if not is_number(sigma) or not 0.2 <= sigma < math.inf:
            raise OptionError(f"`sigma`: got {shown(sigma)}; pass a number from 0.2 on (below it, units are never masked).")
        masked = 1 / (1 + math.exp(1 / sigma**2))
        parts = {
            "perturbator": RandomMaskedTokenPerturbator(n_perturbations, masked),
            "aggregator": LinearRegressionAggregator(None),
        }
        super().__init__(
            model, tokenizer, batch_size, replacement=replacement, evidence=evidence_within(tolerance), **parts, **options
        )


class LimeWithPrior(AttributionExplainer):
    """Fit LIME's linear surrogate close to what is known of words beforehand, such as their mean over a data set.

    The coefficients minimize the weighted squares plus ``strength`` times their distance from the prior. With few perturbed
    inputs the prior decides; with many, the text.

    Args:
        prior: Value of each word, by its text (case is ignored) or as a function, such as `GlobalAttribution.prior`; words
            without one have 0. None: all 0, which is ridge regression.
        n_perturbations: Number of perturbed inputs. None: 200, or four per unit if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). The prior weighs as much per perturbed input
            as in the whole budget. None: the whole budget.
        strength: Weight of the penalty; 0: `Lime`; large: the prior itself.
        l1_ratio: Share of the penalty on sizes instead of squares, from 0 to 1; above 0, there are no standard errors.
        scale: L1 norm that the prior gets; None: that of the fit without a penalty.
        perturb_probability: Probability that a unit is masked, in (0, 1).
        distance_function: Distance to the input, as in `Lime`.
        kernel_width: Width of the weights, as in `Lime`.

    Raises:
        OptionError: A number is out of range, the prior is no dictionary and no function, or a tolerance is asked for where
            there are no standard errors.

    Examples:
        >>> from interpreto import LimeWithPrior, demo
        >>> explainer = LimeWithPrior(*demo.load_classifier(), prior={"gorgeous": 1.0}, strength=1e6, scale=2.0)
        >>> [(word, round(value, 2)) for word, value in explainer("A gorgeous, moving film.")[0].top(1)]
        [('gorgeous', 2.0)]

    References:
        Li et al., Artificial Intelligence 2023, https://doi.org/10.1016/j.artint.2022.103823.
    """

    distance_functions = DistancesFromMask

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        prior: Any = None,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        strength: float = 1.0,
        l1_ratio: float = 0.0,
        scale: float | None = None,
        perturb_probability: float = 0.5,
        distance_function: DistancesFromMask | str = DistancesFromMask.COSINE,
        kernel_width: float = 0.25,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        if tolerance is not None and l1_ratio:
            raise OptionError(
                f"`tolerance`: with l1_ratio={shown(l1_ratio)} there are no standard errors to stop by; pass l1_ratio=0, or "
                "tolerance=None."
            )
        distance = read_member(DistancesFromMask, distance_function, "distance_function")
        parts = {
            "perturbator": RandomMaskedTokenPerturbator(n_perturbations, perturb_probability),
            "aggregator": PriorAggregator(
                prior,
                strength=strength,
                l1_ratio=l1_ratio,
                scale=scale,
                distance_function=distance,
                kernel_width=kernel_width,
            ),
        }
        super().__init__(
            model, tokenizer, batch_size, replacement=replacement, evidence=evidence_within(tolerance), **parts, **options
        )


class Rise(AttributionExplainer):
    """Compute the mean score of randomly masked inputs in which a unit is present.

    The values are scores, not contributions: their order and their differences matter, not their sign.

    Args:
        n_perturbations: Number of perturbed inputs. None: 200, or four per unit if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.
        perturb_probability: Probability that a unit is masked, in (0, 1).

    Examples:
        >>> from interpreto import Rise, demo
        >>> explanation = Rise(*demo.load_classifier(), inference_mode="softmax")("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Petsiuk et al., BMVC 2018, https://arxiv.org/abs/1806.07421.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        perturb_probability: float = 0.5,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        parts = {
            "perturbator": RandomMaskedTokenPerturbator(n_perturbations, perturb_probability),
            "aggregator": KeptMeanAggregator(),
        }
        super().__init__(
            model,
            tokenizer,
            batch_size,
            replacement=replacement,
            evidence=evidence_within(tolerance),
            signed=False,
            **parts,
            **options,
        )
