"""A small recurrent detector of label errors, trained on trainings with planted label noise (BHDF), and its weights."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.training import scores

WIDTH = 32
WEIGHTS = "detector.safetensors"


class LabelErrorDetector(nn.Module):
    """Read the probability of the assigned label epoch by epoch, and return the log-odds that the label is wrong.

    An LSTM with one layer; trainings of any number of epochs. ``tools/train_detector.py`` made the weights that come with
    the library, from trainings of the embedded classifier on sentences with planted label noise.

    References:
        Jia et al., AAAI 2023, https://arxiv.org/abs/2212.09321.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(1, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, chances: Float[Tensor, "n e"]) -> Float[Tensor, " n"]:
        """Return log-odds ``(n,)`` for probabilities of the assigned labels ``(n, e)``."""
        states, _ = self.recurrent(2 * chances[..., None] - 1)
        return self.head(states[:, -1])[:, 0]


@cache
def trained_detector() -> LabelErrorDetector:
    """Return the detector with the weights that come with the library; torch's random state is left as it was."""
    from safetensors.torch import load  # noqa: PLC0415  # with torch

    with torch.random.fork_rng(devices=[]):
        detector = LabelErrorDetector()
    detector.load_state_dict(load((files("interpreto.training") / WEIGHTS).read_bytes()))
    return detector.eval().requires_grad_(False)


def label_error_probability(
    logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"], detector: LabelErrorDetector | None = None
) -> Float[Tensor, " n"]:
    """Return the probability that each assigned label is wrong, as a trained detector reads it from the dynamics.

    Epochs in which a text was not recorded are filled in between those before and after, on a line.

    Args:
        logits: By epoch, text and class.
        labels: The assigned labels.
        detector: None: the library's own, which was trained on two classes, 10 epochs and the embedded classifier: its
            order is worth more than its probabilities elsewhere.

    References:
        Jia et al., AAAI 2023, https://arxiv.org/abs/2212.09321.
    """
    network = trained_detector() if detector is None else detector
    with torch.no_grad():
        return network(filled(scores.probabilities(logits, labels)).T.contiguous()).sigmoid()


def filled(values: Float[Tensor, "e n"]) -> Float[Tensor, "e n"]:
    """Return values with NaN replaced, per text, on the line between its neighbors in time; at the ends by the nearest.

    Examples:
        >>> filled(torch.tensor([[torch.nan, 0.2], [0.5, torch.nan], [torch.nan, 0.4]])).tolist()[1]
        [0.5, 0.30000001192092896]
    """
    missing = values.isnan()
    if not missing.any():
        return values
    e = len(values)
    numbers = torch.arange(e)[:, None].expand_as(values)
    before = torch.where(missing, -1, numbers).cummax(0).values
    after = e - 1 - torch.where(missing.flip(0), -1, numbers).cummax(0).values.flip(0)
    before, after = torch.where(before < 0, after, before), torch.where(after > e - 1, before, after)
    low, high = values.gather(0, before.clamp(0, e - 1)), values.gather(0, after.clamp(0, e - 1))
    share = (numbers - before) / (after - before).clamp(min=1)
    return torch.where(missing, low + (high - low) * share, values)
