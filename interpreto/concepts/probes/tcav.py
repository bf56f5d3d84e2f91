"""TCAV: a model's outputs as a concept changes, tested against permuted labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.dictionaries.neurons import NeuronsAsConcepts
from interpreto.concepts.probes.explainer import CAVConcepts, along
from interpreto.concepts.probes.fits import class_means
from interpreto.concepts.probes.labeled_rows import LabeledRows, read_labeled, split_texts
from interpreto.concepts.probes.permutations import holm, permuted_gaps
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import EstimateWarning, InputError, ModelError
from interpreto.renderable import Renderable
from interpreto.validation import check_count, check_probability, check_seed

NORMAL = 1.959964
FEW = 20
WEAK = 0.6
ROUNDING = 1e-6
"""Share of a derivative's largest possible size below which its sign is that of rounding."""


@dataclass(frozen=True, eq=False)
class TCAVResult(Renderable):
    """Effects of concepts on outputs, to first order. ``c`` concepts, ``t`` targets.

    Attributes:
        names: Of the concepts.
        targets: Names of the targets.
        derivative: Mean over the texts of the change of the score per step from rows without a concept to rows with it,
            ``(c, t)``, in the unit of the score.
        interval: 95 % confidence interval of it, ``(c, t, 2)``, over texts and examples of the concept; NaN for vectors that
            are no differences of means.
        p_value: Share of permuted labels whose vector has a derivative as large, ``(c, t)``; small ones say that the effect
            is the concept's.
        adjusted: p-values with Holm's correction over all concepts and targets of the call.
        level: Level of the test.
        sign: Share of the texts whose score rises with the concept, ``(c, t)``, exact ties counted half: TCAV's count. It
            is shown, and not tested.
        random: Derivatives of vectors of permuted labels, ``(r, c, t)``.
        random_sign: Their shares of texts.
        parallel: Mean cosine of the texts' gradients with their mean, ``(t,)``. Near 1, as at a linear head, each
            direction has one sign for all texts, and counts are 0 or 1 for all concepts, random ones too.
        auc: How well the vectors tell held-out rows apart, ``(c,)``; NaN without a report.
        n_texts: Number of texts.
        n_permutations: Number of permutations.
    """

    names: tuple[str, ...]
    targets: tuple[str, ...]
    derivative: Float[Tensor, "c t"]
    interval: Float[Tensor, "c t 2"]
    p_value: Float[Tensor, "c t"]
    adjusted: Float[Tensor, "c t"]
    level: float
    sign: Float[Tensor, "c t"]
    random: Float[Tensor, "r c t"]
    random_sign: Float[Tensor, "r c t"]
    parallel: Float[Tensor, " t"]
    auc: Float[Tensor, " c"]
    n_texts: int
    n_permutations: int

    _subject: ClassVar[str] = "tcav"

    @property
    def significant(self) -> Tensor:
        """Return where the adjusted p-value is below the level, ``(c, t)``."""
        return self.adjusted < self.level

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each concept and target."""
        import pandas as pd  # noqa: PLC0415  # optional

        return pd.DataFrame(
            [
                {
                    "concept": name,
                    "target": target,
                    "derivative": float(self.derivative[i, j]),
                    "low": float(self.interval[i, j, 0]),
                    "high": float(self.interval[i, j, 1]),
                    "p_value": float(self.p_value[i, j]),
                    "adjusted": float(self.adjusted[i, j]),
                    "sign": float(self.sign[i, j]),
                    "auc": float(self.auc[i]),
                }
                for i, name in enumerate(self.names)
                for j, target in enumerate(self.targets)
            ]
        )


def tcav(
    concepts: CAVConcepts,
    inputs: Any,
    targets: Any = None,
    *,
    activation_granularity: Any = None,
    permutations: int = 10_000,
    n_random: int = 50,
    level: float = 0.05,
    examples: tuple[Any, Any] | None = None,
    random_state: int = 0,
    inference_mode: Any = None,
    batch_size: int | None = None,
) -> TCAVResult:
    """Test whether a model's outputs change with concepts (TCAV).

    The derivative of a score along a vector is the mean over texts of the change when all tokens move by the vector. It is
    tested by permuting the labels of the concept's examples: a vector of permuted labels is as random as one can be. The
    t-test that is common for TCAV compares runs that share their examples and texts, and so rejects far too often.

    All vectors and permutations together cost one backward pass per text and target.

    Args:
        concepts: Fitted vectors with a splitter. Differences of means, the default, are permuted exactly; other fits are
            repeated ``n_random`` times, and their p-values are no finer than that.
        inputs: Texts whose outputs are explained: those of a class, or all.
        targets: Classes, by number or name, for all inputs; None: every class.
        activation_granularity: What moves: None: all tokens of a text but special ones; ``"cls_token"``: the first alone, as
            where examples are its activations.
        permutations: Number of permutations.
        n_random: Number of random vectors in the result.
        level: Level of the test, over all concepts and targets.
        examples: Activations and labels that the vectors were fitted on, where these were loaded from a file.
        random_state: Seed of the permutations.
        inference_mode: The score; see `InferenceModes`. None: logits of a classifier.
        batch_size: Texts per pass; None: as the splitter has it.

    Raises:
        ModelError: the concepts are not fitted, or their examples are not known.
        InputError: inputs have different numbers of targets.

    Examples:
        >>> from interpreto import SplitterForClassification, demo
        >>> from interpreto.concepts import CAVConcepts, tcav
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
        >>> praise = ["A charming film.", "I loved it.", "A great story.", "Wonderful!"] * 5
        >>> other = ["The film is long.", "It is a film.", "We saw it in May.", "Not for me."] * 5
        >>> activations, _ = splitter.get_activations(praise + other)
        >>> cavs = CAVConcepts(splitter, names=["praise"]).fit(activations, [1] * 20 + [0] * 20)
        >>> result = tcav(cavs, ["A film about two friends.", "The plot is thin."], "positive")
        >>> result.sign.tolist(), result.significant.tolist()
        ([[1.0]], [[True]])

    References:
        Kim et al., ICML 2018, https://arxiv.org/abs/1711.11279; what signs hide: Schnoor et al., 2026,
        https://arxiv.org/abs/2605.15688.
    """
    check_count(permutations, "permutations")
    check_count(n_random, "n_random")
    check_probability(level, "level", zero=False, one=False)
    data = _examples(concepts, examples)
    gradients, names = _gradients(
        concepts, inputs, targets, activation_granularity, inference_mode=inference_mode, batch_size=batch_size
    )
    vectors = concepts.get_dictionary().double()
    mean = gradients.mean(0)  # (t, d)
    steps = gradients @ vectors.T.to(gradients)  # (n, t, c)
    derivative = steps.mean(0).T
    generator = Generator().manual_seed(check_seed(random_state))
    drawn = torch.stack([_random_vectors(concepts, data, generator) for _ in range(n_random)])  # (r, c, d)
    random = torch.einsum("td,rcd->rct", mean, drawn)
    values = data.rows @ mean.T
    exact = concepts.recipe.fit == "mean_difference"
    null = permuted_gaps(data, values, permutations, generator) if exact else random
    slack = 1e-9 * derivative.abs()
    p_value = (1 + (null.abs() >= derivative.abs() - slack).sum(0)) / (1 + len(null))
    result = TCAVResult(
        names=concepts.names,
        targets=names,
        derivative=derivative.cpu(),
        interval=_interval(derivative, steps, data, values, exact).cpu(),
        p_value=p_value.double().cpu(),
        adjusted=holm(p_value.double()).cpu(),
        level=level,
        sign=_sign(gradients, vectors[None])[0].cpu(),
        random=random.cpu(),
        random_sign=_sign(gradients, drawn).cpu(),
        parallel=torch.nn.functional.cosine_similarity(gradients, mean, -1).mean(0).cpu(),
        auc=concepts.report.auc if concepts.has_report else torch.full((len(vectors),), torch.nan, dtype=torch.float64),
        n_texts=len(gradients),
        n_permutations=len(null),
    )
    _warn(result, data)
    return result


def _examples(concepts: CAVConcepts, given: tuple[Any, Any] | None) -> LabeledRows:
    """Return the rows that the vectors were fitted on."""
    concepts.check_fitted()
    if given is not None:
        rows, groups = split_texts(given[0], concepts.split_point)
        return read_labeled(concepts.read(rows).read(), given[1], groups, concepts.names)
    if concepts.data is None:
        raise ModelError(
            "`concepts`: these were loaded, and a file does not hold the rows that they were fitted on; pass them as "
            "examples=(activations, labels)."
        )
    return concepts.data


def _gradients(
    concepts: CAVConcepts, inputs: Any, targets: Any, granularity: Any, *, inference_mode: Any, batch_size: int | None
) -> tuple[Float[Tensor, "n t d"], tuple[str, ...]]:
    """Return the gradient of each score of each text, summed over what moves, and the names of the scores."""
    splitter = concepts.own_splitter()
    neurons = NeuronsAsConcepts(splitter, concepts.get_dictionary().shape[1], concepts.split_point)
    granularity = ActivationGranularity.SAMPLE if granularity is None else granularity
    found = neurons.concept_output_attribution(
        inputs, targets, "gradient", None, granularity, inference_mode=inference_mode, batch_size=batch_size
    )
    counts = {len(values) for values in found}
    if len(counts) != 1:
        raise InputError(f"`targets`: inputs have {sorted(counts)} targets; pass the same for all inputs.")
    labels = getattr(splitter.model.config, "id2label", None) or {}
    (count,) = counts
    given = [targets] if isinstance(targets, (str, int)) else targets
    if given is None or len(given) != count or not all(isinstance(name, (str, int)) for name in given):
        given = range(count)
    names = [name if isinstance(name, str) else str(labels.get(int(name), name)) for name in given]
    return torch.stack([values.double().sum(1) for values in found]), tuple(names)


def _random_vectors(concepts: CAVConcepts, data: LabeledRows, generator: Generator) -> Float[Tensor, "c d"]:
    """Return vectors of shuffled labels, fitted as the concepts were."""
    labels = data.shuffled(generator)
    positive, negative = class_means(data.rows, labels)
    if concepts.recipe.fit == "mean_difference":
        return positive - negative
    l2 = concepts.recipe.penalty(data)
    return along(concepts.recipe.scores(data.rows, labels, l2).weights, positive - negative)


def _sign(gradients: Float[Tensor, "n t d"], vectors: Float[Tensor, "r c d"]) -> Float[Tensor, "r c t"]:
    """Return the share of texts whose score rises along each vector, those that rounding decides counted half."""
    steps = torch.einsum("ntd,rcd->nrct", gradients, vectors.to(gradients))
    largest = gradients.norm(dim=-1)[:, None, None] * vectors.norm(dim=-1)[None, :, :, None].to(gradients)
    steps = torch.where(steps.abs() <= ROUNDING * largest, 0.0, steps)
    return ((steps.sign() + 1) / 2).mean(0)


def _interval(
    derivative: Float[Tensor, "c t"],
    steps: Float[Tensor, "n t c"],
    data: LabeledRows,
    values: Float[Tensor, "m t"],
    exact: bool,
) -> Float[Tensor, "c t 2"]:
    """Return the interval of a difference of means along a mean gradient: variances over texts and over examples add up."""
    if not exact:
        return derivative.new_full((*derivative.shape, 2), torch.nan)
    variance = (steps.var(0, correction=1).T if len(steps) > 1 else torch.full_like(derivative, torch.nan)) / len(steps)
    for i, labels in enumerate(data.labels.T):
        for side in (labels, 1 - labels):
            weights = side / side.sum()
            influence = weights[:, None] * (values - weights @ values)
            by_text = values.new_zeros(data.texts, values.shape[1]).index_add_(0, data.groups, influence)
            variance[i] = variance[i] + by_text.square().sum(0) * data.texts / max(1, data.texts - 1)
    error = NORMAL * variance.sqrt()
    return torch.stack([derivative - error, derivative + error], -1)


def _warn(result: TCAVResult, data: LabeledRows) -> None:
    """Warn where a result should not be believed."""
    sides = torch.stack([data.labels, 1 - data.labels], -1) > 0
    fewest = [min(len(data.groups[one].unique()) for one in both.unbind(-1)) for both in sides.unbind(1)]
    few = [name for name, count in zip(result.names, fewest, strict=True) if count < FEW]
    weak = [name for name, area in zip(result.names, result.auc.tolist(), strict=True) if area < WEAK]
    told = []
    if few:
        told.append(f"fewer than {FEW} texts with {', '.join(few)}, or without, which leaves much to chance")
    if weak:
        told.append(f"a held-out AUC below {WEAK} of {', '.join(weak)}: the activations hardly hold this here")
    if not result.derivative.any() and not result.random.any():
        told.append(
            "no score depends on the tokens that move: where a classifier reads one token alone, pass "
            "activation_granularity='cls_token', and fit on activations of it"
        )
    if told:
        warnings.warn(f"TCAV: {'; '.join(told)}.", EstimateWarning, stacklevel=3)
