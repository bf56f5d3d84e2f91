"""Report of probes: performance on texts that they were not fitted on, next to controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NORMAL = 1.959964  # quantile of the normal distribution that holds 95 %


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """Held-out performance of probes, and their controls.

    Every number is of rows whose text was in no fold that the probe was fitted on. ``(c,)`` tensors have a number for each
    concept.

    Attributes:
        names: Of the concepts.
        fit: How the probes were fitted.
        l2: The penalty of each fold, chosen without it; 0 where the fit has none.
        n_rows: Number of rows.
        n_texts: Number of texts.
        auc: Probability that a row with the concept has a larger score than one without, within folds; ½ is chance.
        interval: Its 95 % confidence interval, ``(c, 2)``; texts, not rows, are independent.
        accuracy: Share of the rows on the right side of 0.
        balanced_accuracy: Mean of the shares of rows with and without the concept that are.
        majority: Accuracy of always giving the more frequent answer.
        control_auc: AUC of probes that were fitted in the same way on shuffled labels: on the control task.
        control_accuracy: Accuracy of these.
        class_accuracy: Share of the rows whose own concept has the largest score, where concepts are classes; else None.
    """

    names: tuple[str, ...]
    fit: str
    l2: tuple[float, ...]
    n_rows: int
    n_texts: int
    auc: Float[Tensor, " c"]
    interval: Float[Tensor, "c 2"]
    accuracy: Float[Tensor, " c"]
    balanced_accuracy: Float[Tensor, " c"]
    majority: Float[Tensor, " c"]
    control_auc: Float[Tensor, " c"]
    control_accuracy: Float[Tensor, " c"]
    class_accuracy: float | None = None

    @property
    def selectivity(self) -> Float[Tensor, " c"]:
        """Return the accuracy minus that on the control task: what the probe reads rather than learns by heart.

        References:
            Hewitt and Liang, EMNLP 2019, https://arxiv.org/abs/1909.03368.
        """
        return self.accuracy - self.control_accuracy

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each concept."""
        import pandas as pd  # noqa: PLC0415  # optional

        columns = ("auc", "accuracy", "balanced_accuracy", "majority", "control_auc", "control_accuracy", "selectivity")
        table = {name: getattr(self, name).tolist() for name in columns}
        low, high = self.interval.unbind(1)
        return pd.DataFrame({"concept": self.names, **table, "auc_low": low.tolist(), "auc_high": high.tolist()})

    def __str__(self) -> str:
        head = f"{self.fit} probes: {self.n_rows} rows of {self.n_texts} texts, held out by text in {len(self.l2)} folds"
        width = max(7, *map(len, self.names))
        lines = [f"{'concept':{width}}   AUC   95 % interval  accuracy  majority  shuffled  selectivity"]
        for i, name in enumerate(self.names):
            low, high = self.interval[i].tolist()
            lines.append(
                f"{name:{width}}  {float(self.auc[i]):.3f}  {low:.3f} to {high:.3f}  {float(self.accuracy[i]):8.3f}"
                f"  {float(self.majority[i]):8.3f}  {float(self.control_accuracy[i]):8.3f}  {float(self.selectivity[i]):11.3f}"
            )
        return "\n".join([head, *lines])


def accuracies(scores: Float[Tensor, "n c"], labels: Float[Tensor, "n c"]) -> Float[Tensor, "2 c"]:
    """Return accuracy and balanced accuracy of scores that are above 0 where there is the concept."""
    known = ~scores.isnan()
    right = ((scores > 0) == (labels > 0)).double().where(known, torch.nan)
    halves = [right.where(labels == side, torch.nan).nanmean(0) for side in (0, 1)]
    return torch.stack([right.nanmean(0), torch.stack(halves).mean(0)])


def area_under_curve(
    scores: Float[Tensor, "n c"], folds: Int[Tensor, " n"], labels: Float[Tensor, "n c"], groups: Int[Tensor, " n"]
) -> Float[Tensor, "c 3"]:
    """Compute the area under the curve of each concept within folds, ties at ½, with its 95 % interval.

    The variance is that of the pairwise comparisons summed by text.

    References:
        DeLong, DeLong and Clarke-Pearson, Biometrics 1988, https://doi.org/10.2307/2531595; for rows in groups, Obuchowski,
        Biometrics 1997, https://doi.org/10.2307/2533958.
    """
    return torch.stack([_area(scores[:, i], folds, labels[:, i] > 0, groups) for i in range(labels.shape[1])])


def _area(
    scores: Float[Tensor, " n"], folds: Int[Tensor, " n"], positive: Bool[Tensor, " n"], groups: Int[Tensor, " n"]
) -> Float[Tensor, " 3"]:
    areas, influence = [], torch.zeros_like(scores)
    for fold in folds.unique():
        inside = (folds == fold) & ~scores.isnan()
        with_it, without = (inside & positive).nonzero()[:, 0], (inside & ~positive).nonzero()[:, 0]
        if not len(with_it) or not len(without):
            continue
        above, below = _shares_below(scores[with_it], scores[without]), _shares_below(scores[without], scores[with_it])
        areas.append(above.mean())
        influence[with_it] = (above - above.mean()) / len(with_it)
        influence[without] = (1 - below - above.mean()) / len(without)
    if not areas:
        return scores.new_full((3,), torch.nan)
    area = torch.stack(areas).mean()
    texts = int(groups.max()) + 1
    by_text = scores.new_zeros(texts).index_add_(0, groups, influence / len(areas))
    error = (by_text.square().sum() * texts / max(1, texts - 1)).sqrt()
    return torch.stack([area, (area - NORMAL * error).clamp(0, 1), (area + NORMAL * error).clamp(0, 1)])


def _shares_below(scores: Float[Tensor, " a"], others: Float[Tensor, " b"]) -> Float[Tensor, " a"]:
    """Return the share of other scores that each score is above, equal ones counted half."""
    ordered = others.sort().values
    strictly, at_most = torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)
    return (strictly + at_most).to(scores) / (2 * len(others))
