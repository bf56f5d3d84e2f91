"""Comparison of dictionaries: stability between fits, and collinearity within one."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.choices import Choice, read_member
from interpreto.concepts.base import ConceptAutoEncoderExplainer, ConceptExplainer
from interpreto.errors import InputError, OptionError
from interpreto.metrics.concepts.base import Scored
from interpreto.metrics.result import MetricResult
from interpreto.validation import shown

TOGETHER = 4096  # concepts that are compared with all others at a time


class ConceptMatchingAlgorithm(Choice):
    """Pairing of the concepts of two dictionaries.

    ``COSINE_HUNGARIAN``: one to one, so that the cosines sum to the most. ``COSINE_MAXIMUM``: each with the most alike of
    the other dictionary, in both directions; several may choose the same.
    """

    COSINE_HUNGARIAN = "cosine_hungarian"
    COSINE_MAXIMUM = "cosine_maximum"


class Stability(Scored):
    """Mean cosine of the concepts that several fits found, once they are paired; over all pairs of fits. Higher is better.

    In [−1, 1], or [0, 1] unsigned. 1: the same concepts, in any order and of any length. A concept without a direction
    (all zeros, as a dead one may be) is like no other and has cosine 0. Dictionaries may have different numbers of
    concepts: the smaller one's are paired.

    Args:
        *concept_explainers: At least two fitted explainers, of different seeds or data, or dictionaries ``(c, d)``.
        matching_algorithm: See `ConceptMatchingAlgorithm`.
        signed: Opposite directions differ. Pass False for PCA, SVD and ICA, whose signs say nothing.

    Raises:
        OptionError: there is only one: it is like itself.
        InputError: the widths differ, or a dictionary holds NaN.

    Examples:
        >>> import torch
        >>> first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> Stability(first, first.flip(0)).compute(), Stability(first, -first, signed=False).compute()
        (1.0, 1.0)

    References:
        Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304; Paulo and Belrose, 2025, https://arxiv.org/abs/2501.16615.
    """

    higher_is_better = True

    def __init__(
        self,
        *concept_explainers: Any,
        matching_algorithm: ConceptMatchingAlgorithm | str = ConceptMatchingAlgorithm.COSINE_HUNGARIAN,
        signed: bool = True,
    ) -> None:
        if len(concept_explainers) < 2:
            raise OptionError(
                f"`concept_explainers`: got {len(concept_explainers)}; pass at least two, of different seeds or data."
            )
        self.matching_algorithm = read_member(ConceptMatchingAlgorithm, matching_algorithm, "matching_algorithm")
        self.signed = signed
        self._atoms = [_directions(explainer, i) for i, explainer in enumerate(concept_explainers)]
        widths = {atoms.shape[1] for atoms in self._atoms}
        if len(widths) > 1:
            raise InputError(
                f"`concept_explainers`: the concepts are of widths {sorted(widths)}; pass those of one split point."
            )

    def run(self) -> MetricResult:
        """Return the mean over pairs; ``details["pairs"]`` says which, and ``per_sample`` has each pair's score."""
        pairs = list(combinations(range(len(self._atoms)), 2))
        scores = torch.tensor([self._alike(self._atoms[i], self._atoms[j]) for i, j in pairs], dtype=torch.float64)
        return MetricResult(
            score=float(scores.mean()),
            per_sample=scores,
            details={"pairs": pairs},
            higher_is_better=True,
            value_range=(-1.0 if self.signed else 0.0, 1.0),
            n_valid=len(pairs),
            n_skipped=0,
            config={"matching_algorithm": self.matching_algorithm.value, "signed": self.signed},
            name=type(self).__name__,
        )

    def _alike(self, first: Tensor, second: Tensor) -> float:
        cosines = (first @ second.T).clamp(-1, 1)
        cosines = cosines if self.signed else cosines.abs()
        if self.matching_algorithm is ConceptMatchingAlgorithm.COSINE_MAXIMUM:
            return float((cosines.amax(1).mean() + cosines.amax(0).mean()) / 2)
        rows, columns = _assign(cosines)
        return float(cosines[rows, columns].mean())


class Collinearity(Scored):
    """The largest ``|cos|`` of two concepts of a dictionary, in [0, 1]. Lower is better: 1 says that one is there twice.

    Concepts without a direction are like no other. NaN for a single concept.

    Args:
        concept_explainer: A fitted explainer, or a dictionary ``(c, d)``.

    Examples:
        >>> import torch
        >>> result = Collinearity(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -2.0]])).run()
        >>> result.score, result.details["closest"], result.details["mean"]
        (1.0, (1, 2), 0.3333333333333333)
    """

    higher_is_better = False

    def __init__(self, concept_explainer: ConceptAutoEncoderExplainer | Tensor) -> None:
        self._atoms = _directions(concept_explainer, 0)

    def run(self) -> MetricResult:
        """Return the largest; ``details`` have the pair (``closest``), each concept's largest and the mean of all pairs."""
        c = len(self._atoms)
        largest, where = torch.full((c,), torch.nan, dtype=torch.float64), torch.zeros(c, dtype=torch.long)
        total = 0.0
        for start in range(0, c if c > 1 else 0, TOGETHER):
            cosines = (self._atoms[start : start + TOGETHER] @ self._atoms.T).abs().clamp(max=1)
            own = torch.arange(len(cosines))
            cosines[own, own + start] = 0
            total += float(cosines.sum())
            cosines[own, own + start] = -1  # no concept is its own neighbor, not even one without a direction
            largest[own + start], where[own + start] = cosines.max(1)
        closest = int(largest.argmax())
        details: dict[str, Any] = {"closest": None, "mean": float("nan"), "per_concept": largest}
        if c > 1:
            details |= {"closest": tuple(sorted((closest, int(where[closest])))), "mean": total / (c * (c - 1))}
        return MetricResult(
            score=float(largest.max()),
            per_sample=None,
            details=details,
            higher_is_better=False,
            value_range=(0.0, 1.0),
            n_valid=c if c > 1 else 0,
            n_skipped=0 if c > 1 else 1,
            config={},
            name=type(self).__name__,
        )


def _directions(explainer: Any, position: int) -> Float[Tensor, "c d"]:
    """Return the concepts, each of length one; zeros stay zeros."""
    name = f"`concept_explainers[{position}]`"
    if not isinstance(explainer, (Tensor, ConceptExplainer)):
        raise OptionError(f"{name}: got {shown(explainer)}; pass a fitted explainer, or a dictionary: a tensor (c, d).")
    atoms = explainer if isinstance(explainer, Tensor) else explainer.get_dictionary()
    if atoms.ndim != 2 or 0 in atoms.shape:
        raise InputError(f"{name}: got a dictionary of shape {tuple(atoms.shape)}; pass (c, d), one row per concept.")
    if not bool(atoms.isfinite().all()):
        raise InputError(f"{name}: its dictionary holds NaN or infinity.")
    wide = atoms.detach().to("cpu", torch.float64)
    wide = wide / wide.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)  # squares may not vanish
    lengths = wide.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, wide / lengths, 0.0)


def _assign(cosines: Float[Tensor, "c e"]) -> tuple[Tensor, Tensor]:
    try:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  (optional, comes with scikit-learn)
    except ImportError as error:
        raise ImportError("`matching_algorithm`: 'cosine_hungarian' needs scipy; run `pip install scipy`.") from error
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    return torch.from_numpy(rows), torch.from_numpy(columns)
