"""Non-negative matrix factorization."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import Dictionary, check_at_most
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.dictionaries.factorization import (
    descend,
    random_rows,
    revive,
    singular_directions,
    sweeps,
    to_unit_atoms,
)
from interpreto.concepts.scales import root_mean_square
from interpreto.concepts.solvers.least_squares import encode
from interpreto.errors import InputError


class NMF(Dictionary):
    """Non-negative rows as non-negative combinations of non-negative atoms of norm 1.

    Args:
        nb_concepts: Number of atoms.
        force_relu: Take the positive part of the rows; else a negative number is an error.
        max_iter: Maximum number of updates of codes and atoms.
        tolerance: Stop when ten updates lower the squared error by less than this fraction.
    """

    def __init__(self, nb_concepts: int, force_relu: bool = False, max_iter: int = 200, tolerance: float = 1e-3) -> None:
        super().__init__(nb_concepts)
        self.force_relu = force_relu
        self.max_iter = max_iter
        self.tolerance = tolerance

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Alternate exact updates of codes and atoms, from the singular vectors' positive parts."""
        check_at_most(self.nb_concepts, activations.n, "one for each row")
        rows = self._positive(activations.read())
        rows = rows / root_mean_square(rows)
        codes, dictionary = _start(rows, self.nb_concepts, Generator().manual_seed(random_state))

        def step() -> None:
            sweeps(codes, dictionary @ rows.T, dictionary @ dictionary.T)
            sweeps(dictionary, codes @ rows, codes @ codes.T)

        def error() -> float:
            residual = torch.addmm(rows, codes.T, dictionary, alpha=-1)
            revive(codes, dictionary, residual, signed=False)
            return float(residual.square().sum(dtype=torch.float64))

        descend(step, error, self.max_iter, self.tolerance, tqdm_bar=tqdm_bar, name="NMF")
        to_unit_atoms(codes, dictionary)
        self.learned(dictionary)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the non-negative codes of least squared error, ``(n, c)``."""
        return encode(self._positive(activations), self.dictionary)

    def _positive(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        if self.force_relu:
            return rows.relu()
        if rows.numel() and float(rows.detach().amin()) < 0:
            raise InputError(
                f"`activations`: {float((rows < 0).float().mean()):.0%} of the numbers are negative, and this factorization "
                "takes none; pass `force_relu=True` to keep their positive part, use SemiNMFConcepts, or split after a ReLU."
            )
        return rows


def _start(rows: Float[Tensor, "n d"], count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Codes ``(c, n)`` and atoms ``(c, d)`` from the larger of each singular pair's positive and negative part.

    Zeros are filled with the mean, so that updates can move them. Atoms beyond the rank are rows drawn at random.

    References:
        Boutsidis & Gallopoulos, 2008, https://doi.org/10.1016/j.patcog.2007.09.010.
    """
    left, values, right = singular_directions(rows, min(count, *rows.shape))
    parts = []
    for sign in (1, -1):
        a, b = (sign * left).clamp_min(0), (sign * right).clamp_min(0)
        parts.append((a, b, a.norm(dim=0), b.norm(dim=1)))
    (a, b, a_norm, b_norm), (c, d, c_norm, d_norm) = parts
    positive = a_norm * b_norm >= c_norm * d_norm
    codes, atoms = torch.where(positive, a, c), torch.where(positive[:, None], b, d)
    norms = torch.where(positive, a_norm, c_norm), torch.where(positive, b_norm, d_norm)
    size = (values * norms[0] * norms[1]).sqrt()
    tiny = torch.finfo(rows.dtype).tiny
    codes = (codes / norms[0].clamp_min(tiny) * size).T
    atoms = atoms / norms[1].clamp_min(tiny)[:, None] * size[:, None]
    missing = count - len(atoms)
    if missing:
        atoms = torch.cat([atoms, random_rows(rows, missing, generator)])
        codes = torch.cat([codes, codes.new_zeros(missing, len(rows))])
    mean = rows.mean()
    return torch.where(codes > 0, codes, mean).contiguous(), torch.where(atoms > 0, atoms, mean).contiguous()


class NMFConcepts(DictionaryConcepts):
    """Concepts by non-negative matrix factorization: parts that add up, of activations that are not negative.

    Examples:
        >>> import torch
        >>> activations = torch.rand(60, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = NMFConcepts(None, nb_concepts=8).fit(activations)
        >>> concepts = explainer.encode_activations(activations)
        >>> bool((concepts >= 0).all()), bool((explainer.get_dictionary() >= 0).all())
        (True, True)

    References:
        Lee & Seung, 1999, https://doi.org/10.1038/44565; Cichocki & Phan, 2009, https://doi.org/10.1587/transfun.E92.A.708.
    """

    model_class = NMF


class Cockatiel(DictionaryConcepts):
    """COCKATIEL's concepts: non-negative factors of activations after a ReLU.

    Their importance for a class is the concept attribution of an explanation, as with any other explainer of concepts.

    Examples:
        >>> import torch
        >>> activations = torch.rand(60, 8, generator=torch.Generator().manual_seed(0))
        >>> Cockatiel(None, nb_concepts=3).fit(activations).encode_activations(activations).shape
        torch.Size([60, 3])

    References:
        Jourdan et al., Findings of ACL 2023, https://arxiv.org/abs/2305.06754.
    """

    model_class = NMF
