"""Influence functions of a linear softmax head: what leaving a training text out does, by the exact Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from interpreto.errors import InputError, OptionError
from interpreto.training.recording import read_labels, read_rows
from interpreto.validation import check_count, check_not_negative, is_whole, shown

STEPS, SMALL = 100, 1e-9
MOST = 8192
"""Parameters of a head whose Hessian is built: 512 MiB in float64."""


class HeadInfluence:
    """Fit a linear softmax head to features and predict what leaving a training text out does to losses.

    The head minimizes the mean cross-entropy + ½ l2 |w|² over its weights and bias. The influence of a text z on a query z′
    is 1/n ∇ℓ(z′)ᵀ H⁻¹ ∇ℓ(z): to first order, the rise of the query's loss when the text is left out and the head is fitted
    again. Positive: the text helps the query.

    Args:
        features: What the head reads of each training text, ``(n, d)``: a splitter's activations, for example.
        labels: Their assigned labels, ``(n,)``.
        l2: Penalty of the head, above 0 or with ``damping``.
        damping: Added to the diagonal of the Hessian, not to the loss that is minimized.
        n_classes: Number of classes; None: the largest label and one more.
        head: Weights ``(c, d)`` and bias ``(c,)`` of a head that was trained elsewhere, used as they are; None: fit one.

    Raises:
        InputError: Shapes do not fit.
        OptionError: An option is out of range, or the head is too large.

    References:
        Koh and Liang, ICML 2017, https://arxiv.org/abs/1703.04730.

    Examples:
        >>> rows = torch.tensor([[2.0], [1.0], [-1.0], [-2.0], [1.5]])
        >>> influence = HeadInfluence(rows, [1, 1, 0, 0, 0], l2=0.1)  # the last label is wrong
        >>> influence.influence([[1.8]], [1])[:, 0].argmin().item()
        4
        >>> influence.self_influence().argmax().item()
        4
    """

    def __init__(
        self,
        features: Float[Tensor, "n d"] | Any,
        labels: Sequence[int] | Tensor,
        *,
        l2: float | int = 1e-2,
        damping: float | int = 0.0,
        n_classes: int | None = None,
        head: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self._rows = _with_ones(features, len(labels))
        found = torch.as_tensor(labels)
        most = int(found.max()) + 1 if len(found) and not found.is_floating_point() else 1
        self.n_classes = max(most, 2) if n_classes is None else check_count(n_classes, "n_classes", 2)
        self.labels = read_labels(labels, len(self._rows), self.n_classes)
        self.l2, self.damping = check_not_negative(l2, "l2"), check_not_negative(damping, "damping")
        if not self.l2 + self.damping:
            raise OptionError("`l2`: got 0 without `damping`; the Hessian may have no inverse. Pass a number above 0.")
        size = self.n_classes * self._rows.shape[1]
        if size > MOST:
            raise OptionError(f"`features`: the head has {size:,} parameters, and the exact Hessian takes {MOST:,} at most.")
        self._weights = self._fitted(torch.ones(len(self._rows))) if head is None else self._given(head)
        hessian = _hessian(self._weights, self._rows, self.l2)
        hessian.diagonal().add_(self.damping)
        self._factor = torch.linalg.cholesky(hessian)

    @property
    def weights(self) -> Float[Tensor, "c d"]:
        """Return the weights of the head."""
        return self._weights[:, :-1].float()

    @property
    def bias(self) -> Float[Tensor, " c"]:
        """Return the bias of the head."""
        return self._weights[:, -1].float()

    def influence(self, features: Float[Tensor, "m d"] | Any, labels: Sequence[int] | Tensor) -> Float[Tensor, "n m"]:
        """Return the predicted rise of each query's loss when each training text is left out, ``(n, m)``.

        Args:
            features: What the head reads of the queries.
            labels: The labels at which their loss is taken.
        """
        rows, found = self._queries(features, labels)
        queries = _gradients(self._weights, rows, found)
        solved = torch.cholesky_solve(queries.T, self._factor)
        return (self._own_gradients() @ solved / len(self._rows)).float()

    def self_influence(self) -> Float[Tensor, " n"]:
        """Return the predicted rise of each training text's own loss when it is left out, ``(n,)``; at least 0."""
        own = self._own_gradients()
        return ((own * torch.cholesky_solve(own.T, self._factor).T).sum(1) / len(self._rows)).float()

    def leave_out(
        self, texts: Sequence[int], features: Float[Tensor, "m d"] | Any, labels: Sequence[int] | Tensor
    ) -> Float[Tensor, "k m"]:
        """Return the true rise of each query's loss when each of some texts is left out and the head is fitted again.

        What `influence` approximates, at the price of a fit per text.

        Args:
            texts: Numbers of training texts.
            features: What the head reads of the queries.
            labels: The labels at which their loss is taken.
        """
        rows, found = self._queries(features, labels)
        before = cross_entropy(rows @ self._fitted(torch.ones(len(self._rows))).T, found, reduction="none")
        risen = []
        for i in texts:
            if not is_whole(i) or not 0 <= i < len(self._rows):
                raise OptionError(f"`texts`: got {shown(i)}; pass numbers from 0 to {len(self._rows) - 1}.")
            kept = torch.ones(len(self._rows))
            kept[i] = 0
            risen.append(cross_entropy(rows @ self._fitted(kept).T, found, reduction="none") - before)
        return torch.stack(risen).float()

    def _queries(self, features: Any, labels: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        rows = _with_ones(features, len(labels))
        if rows.shape[1] != self._rows.shape[1]:
            raise InputError(f"`features`: got width {rows.shape[1] - 1}; the head reads {self._rows.shape[1] - 1}.")
        return rows, read_labels(labels, len(rows), self.n_classes)

    def _own_gradients(self) -> Float[Tensor, "n q"]:
        return _gradients(self._weights, self._rows, self.labels)

    def _given(self, head: tuple[Tensor, Tensor]) -> Float[Tensor, "c k"]:
        weights, bias = (torch.as_tensor(part).detach().cpu().double() for part in head)
        if weights.shape != (self.n_classes, self._rows.shape[1] - 1) or bias.shape != (self.n_classes,):
            wanted = f"({self.n_classes}, {self._rows.shape[1] - 1}) and ({self.n_classes},)"
            raise InputError(f"`head`: got shapes {tuple(weights.shape)} and {tuple(bias.shape)}; pass {wanted}.")
        return torch.cat([weights, bias[:, None]], 1)

    def _fitted(self, kept: Tensor) -> Float[Tensor, "c k"]:
        """Return the head of least (Σ kept · loss) / n + ½ l2 |w|², by Newton's method with halved steps.

        The sum is divided by the number of all texts, so that leaving one out changes nothing but its own term.
        """
        n, mass = len(self._rows), kept.double()
        damped = self.l2 if self.l2 else self.damping

        def loss(at: Tensor) -> Tensor:
            losses = cross_entropy(self._rows @ at.T, self.labels, reduction="none")
            return (mass * losses).sum() / n + damped / 2 * at.square().sum()

        weights = torch.zeros(self.n_classes, self._rows.shape[1], dtype=torch.double)
        for _ in range(STEPS):
            residuals = (self._rows @ weights.T).softmax(-1) - one_hot(self.labels, self.n_classes)
            gradient = (mass[:, None] * residuals).T @ self._rows / n + damped * weights
            if float(gradient.abs().max()) <= SMALL:
                break
            step = torch.linalg.solve(_hessian(weights, self._rows, damped, mass), gradient.flatten()).view_as(weights)
            best = loss(weights)
            found = next((at for i in range(30) for at in [weights - step / 2**i] if loss(at) <= best), None)
            if found is None:  # rounding: the loss is at its least
                break
            weights = found
        return weights


def _with_ones(features: Any, n: int) -> Float[Tensor, "n k"]:
    rows = read_rows(features, "features", n).double()
    return torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def _gradients(weights: Float[Tensor, "c k"], rows: Float[Tensor, "n k"], labels: Tensor) -> Float[Tensor, "n q"]:
    residuals = (rows @ weights.T).softmax(-1) - one_hot(labels, len(weights))
    return (residuals[:, :, None] * rows[:, None, :]).flatten(1)


def _hessian(
    weights: Float[Tensor, "c k"], rows: Float[Tensor, "n k"], l2: float, mass: Float[Tensor, " n"] | None = None
) -> Float[Tensor, "q q"]:
    """Return the Hessian of the penalized mean loss: blocks rowsᵀ (diag(p) − p pᵀ) rows / n, and l2 on the diagonal."""
    chances = (rows @ weights.T).softmax(-1)
    scale = (1.0 if mass is None else mass) / torch.full((len(rows),), float(len(rows)), dtype=rows.dtype)
    c, k = weights.shape
    found = rows.new_zeros(c, k, c, k)
    for a in range(c):
        for b in range(c):
            curve = chances[:, a] * ((1.0 if a == b else 0.0) - chances[:, b]) * scale
            found[a, :, b, :] = (rows * curve[:, None]).T @ rows
    found = found.reshape(c * k, c * k)
    found.diagonal().add_(l2)
    return found
