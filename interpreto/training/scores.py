"""Numbers of each text out of its logits by epoch: data maps, forgetting events, TIDY and margins.

``e`` epochs, ``n`` texts, ``c`` classes. An epoch in which a text was not recorded is NaN, and is left out of its numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def probabilities(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "e n"]:
    """Return the probability of the assigned label by epoch."""
    return _of_labels(logits.softmax(-1), labels)


def margins(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "e n"]:
    """Return the logit of the assigned label less the largest other logit, by epoch."""
    others = logits.scatter(2, labels.expand(len(logits), -1)[..., None], -torch.inf).amax(-1)
    return _of_labels(logits, labels) - others


def _of_labels(values: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "e n"]:
    return values.gather(2, labels.expand(len(values), -1)[..., None])[..., 0]


def learned(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "e n"]:
    """Return 1 where the assigned label has the largest logit, else 0; a tie with another class is 0."""
    found = margins(logits, labels)
    return torch.where(found.isnan(), found, (found > 0).to(found))


def confidence(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the mean probability of the assigned label over epochs, in [0, 1].

    References:
        Swayamdipta et al., EMNLP 2020, https://arxiv.org/abs/2009.10795.
    """
    return probabilities(logits, labels).nanmean(0)


def variability(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the standard deviation of the probability of the assigned label over epochs, in [0, 0.5].

    References:
        Swayamdipta et al., EMNLP 2020, https://arxiv.org/abs/2009.10795.
    """
    found = probabilities(logits, labels)
    return (found - found.nanmean(0)).square().nanmean(0).sqrt()


def correctness(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the share of epochs in which the assigned label is predicted, in [0, 1].

    References:
        Swayamdipta et al., EMNLP 2020, https://arxiv.org/abs/2009.10795.
    """
    return learned(logits, labels).nanmean(0)


def forgetting_events(learned: Float[Tensor, "e n"]) -> Float[Tensor, " n"]:
    """Return how often each text is predicted rightly at one epoch and wrongly at the next one recorded.

    A text that is never predicted rightly has infinitely many, as in the paper: it ranks before all that are forgotten.

    Args:
        learned: 1 where the assigned label is predicted, 0 where another one is, NaN where the text was not recorded.

    References:
        Toneva et al., ICLR 2019, https://arxiv.org/abs/1812.05159.

    Examples:
        >>> forgetting_events(torch.tensor([[0.0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0]]))
        tensor([2., 0., 1., inf])
    """
    events, last = torch.zeros_like(learned[0]), torch.zeros_like(learned[0])
    for now in learned:
        events = events + ((last == 1) & (now == 0)).to(events)
        last = torch.where(now.isnan(), last, now)
    return events.masked_fill(~(learned == 1).any(0), torch.inf)


def tidy_scores(learned: Float[Tensor, "e n"]) -> Float[Tensor, " n"]:
    """Return the mean number of the epochs, counted from 0, in which the assigned label is predicted.

    A text that is learned early and kept has (e − 1) / 2, one that is learned late nearly e − 1. A text that is never
    predicted rightly gets e, more than any other.

    Args:
        learned: 1 where the assigned label is predicted, 0 where another one is, NaN where the text was not recorded.

    References:
        TIDY, the training data analyzer of InterpretDL: Li et al., JMLR 2022, https://jmlr.org/papers/v23/21-0738.html.

    Examples:
        >>> tidy_scores(torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 1, 0]]))
        tensor([1., 2., 3.])
    """
    right = learned.nan_to_num(0.0)
    numbers = torch.arange(len(learned), dtype=right.dtype, device=right.device)[:, None]
    counts = right.sum(0)
    return torch.where(counts > 0, (right * numbers).sum(0) / counts.clamp(min=1), float(len(learned)))


def area_under_margin(logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the mean margin over epochs, in logits: the area under the margin (AUM). Small values are suspicious.

    References:
        Pleiss et al., NeurIPS 2020, https://arxiv.org/abs/2001.10528.

    Examples:
        >>> area_under_margin(torch.tensor([[[2.0, 0.0, 1.0]], [[3.0, 4.0, 0.0]]]), torch.tensor([0]))
        tensor([0.])
    """
    return margins(logits, labels).nanmean(0)
