"""Parts of the factorizations: inner sweeps, the outer loop, initial directions, unused atoms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.solvers.coordinate_descent import Descent
from interpreto.progress import progress_bar

MAX_SWEEPS = 4
CHECK_EVERY = 10


def sweeps(codes: Float[Tensor, "c n"], correlations: Float[Tensor, "c n"], gram: Float[Tensor, "c c"]) -> None:
    """Run non-negative coordinate descent sweeps in place, until one moves the codes a tenth of what the first did.

    A sweep is cheap compared with the products that it starts from, so several are worth it.

    References:
        Gillis & Glineur, 2012, https://arxiv.org/abs/1107.5194.
    """
    descent, first = Descent(gram), 0.0
    targets = descent.targets(correlations)
    for i in range(MAX_SWEEPS):
        before = codes.clone()
        descent.sweep(codes, targets)
        moved = float((codes - before).norm())
        first = first or moved
        if i and moved <= 0.1 * first:
            break


def descend(
    step: Callable[[], None],
    error: Callable[[], float],
    max_iter: int,
    tolerance: float,
    *,
    tqdm_bar: bool | None,
    name: str,
) -> list[float]:
    """Run steps until `CHECK_EVERY` of them lower the error by less than the fraction ``tolerance``; return the errors seen."""
    errors: list[float] = []
    for i in progress_bar(range(max_iter), desc=name, shown=tqdm_bar):
        step()
        if (i + 1) % CHECK_EVERY == 0 or i + 1 == max_iter:
            errors.append(error())
            if len(errors) > 1 and errors[-2] - errors[-1] <= tolerance * errors[-2]:
                break
    return errors


def singular_directions(rows: Float[Tensor, "n d"], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ``count`` leading singular vectors and values of the rows: ``(n, k)``, ``(k,)``, ``(k, d)``."""
    n, d = rows.shape
    wide = rows.double()
    values, vectors = torch.linalg.eigh(wide.T @ wide if d <= n else wide @ wide.T)
    values = values.flip(0)[:count].clamp_min(0).sqrt()
    vectors = vectors.flip(1)[:, :count]
    safe = values.clamp_min(torch.finfo(values.dtype).tiny)
    left, right = (wide @ vectors / safe, vectors) if d <= n else (vectors, wide.T @ vectors / safe)
    return left.to(rows), values.to(rows), right.T.to(rows)


def random_rows(rows: Float[Tensor, "n d"], count: int, generator: Generator) -> Float[Tensor, "c d"]:
    """Draw rows at random, each at most once where there are enough."""
    order = torch.cat([torch.randperm(len(rows), generator=generator) for _ in range(-(-count // len(rows)))])
    return rows[order[:count].to(rows.device)]


def to_unit_atoms(codes: Float[Tensor, "c n"], dictionary: Float[Tensor, "c d"]) -> None:
    """Rescale atoms to norm 1 and their codes accordingly, in place."""
    norms = dictionary.norm(dim=1, keepdim=True)
    codes.mul_(norms)
    dictionary.div_(torch.where(norms > 0, norms, 1.0))


def revive(codes: Float[Tensor, "c n"], dictionary: Float[Tensor, "c d"], residual: Float[Tensor, "n d"], signed: bool) -> None:
    """Replace unused atoms by the residuals of the worst explained rows, in place; the error does not change."""
    unused = (~(codes > 0).any(1)).nonzero()[:, 0]
    if len(unused) == 0:
        return
    left = residual if signed else residual.clamp_min(0)
    worst = left.square().sum(1).topk(min(len(unused), len(left))).indices
    unused = unused[: len(worst)]
    dictionary[unused] = left[worst]
    codes[unused] = 0
