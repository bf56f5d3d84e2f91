"""Semi-non-negative matrix factorization."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import Dictionary, check_at_most
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.dictionaries.factorization import descend, revive, sweeps, to_unit_atoms
from interpreto.concepts.dictionaries.kmeans import cluster
from interpreto.concepts.scales import root_mean_square
from interpreto.concepts.solvers.least_squares import encode

ROWS_A_CLUSTER = 100  # in which the clusters to start from are found


class SemiNMF(Dictionary):
    """Rows of any sign as non-negative combinations of atoms of any sign, of norm 1.

    Args:
        nb_concepts: Number of atoms.
        max_iter: Maximum number of updates of codes and atoms.
        tolerance: Stop when ten updates lower the squared error by less than this fraction.
    """

    def __init__(self, nb_concepts: int, max_iter: int = 200, tolerance: float = 1e-3) -> None:
        super().__init__(nb_concepts)
        self.max_iter = max_iter
        self.tolerance = tolerance

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Alternate least squares for the atoms and non-negative sweeps for the codes, from the clusters of the rows."""
        check_at_most(self.nb_concepts, activations.n, "one for each row")
        rows = activations.read()
        rows = rows / root_mean_square(rows)
        codes = membership(rows, self.nb_concepts, random_state)
        dictionary = least_squares(codes, rows)

        def step() -> None:
            to_unit_atoms(codes, dictionary)
            sweeps(codes, dictionary @ rows.T, dictionary @ dictionary.T)
            dictionary.copy_(least_squares(codes, rows))

        def error() -> float:
            residual = torch.addmm(rows, codes.T, dictionary, alpha=-1)
            revive(codes, dictionary, residual, signed=True)
            return float(residual.square().sum(dtype=torch.float64))

        descend(step, error, self.max_iter, self.tolerance, tqdm_bar=tqdm_bar, name="SemiNMF")
        to_unit_atoms(codes, dictionary)
        self.learned(dictionary)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the non-negative codes of least squared error, ``(n, c)``."""
        return encode(activations, self.dictionary)


def membership(rows: Float[Tensor, "n d"], count: int, random_state: int) -> Float[Tensor, "c n"]:
    """Return initial codes: 1.2 for the row's cluster and 0.2 for the others, as in the paper.

    Of many rows, clusters are found in a sample: they are only an initialization.
    """
    labels = nearest_cluster(rows, count, random_state)
    codes = rows.new_full((count, len(rows)), 0.2)
    codes[labels, torch.arange(len(rows), device=rows.device)] = 1.2
    return codes


def nearest_cluster(rows: Float[Tensor, "n d"], count: int, random_state: int) -> Int[Tensor, " n"]:
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(random_state))[: ROWS_A_CLUSTER * count]
    some = rows[chosen.to(rows.device)]
    if len(some) == len(rows) or len(some.unique(dim=0)) < count:
        return cluster(rows, count, random_state, restarts=1).labels
    centers = cluster(some, count, random_state, restarts=1).centers
    return torch.addmm(centers.square().sum(1), rows, centers.T, alpha=-2).argmin(1)


def least_squares(codes: Float[Tensor, "c n"], rows: Float[Tensor, "n d"]) -> Float[Tensor, "c d"]:
    """Compute the atoms of least squared error for these codes, by a Cholesky factorization in float64."""
    gram = (codes @ codes.T).double()
    ridge = 1e-7 * gram.diagonal().mean()  # for atoms that no row uses
    factor, failed = torch.linalg.cholesky_ex(gram + torch.diag(ridge.expand(len(gram))))
    if failed:  # of dependent codes, where float32 rounds the Gram matrix by more than the ridge
        gram = codes.double() @ codes.double().T
        factor = torch.linalg.cholesky(gram + torch.diag(ridge.expand(len(gram))))
    return torch.cholesky_solve((codes @ rows).double(), factor).to(rows)


class SemiNMFConcepts(DictionaryConcepts):
    """Concepts by semi-non-negative factorization: non-negative amounts of directions of any sign.

    Examples:
        >>> import torch
        >>> activations = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
        >>> concepts = SemiNMFConcepts(None, nb_concepts=4).fit(activations).encode_activations(activations)
        >>> bool((concepts >= 0).all()), bool((concepts == 0).any())
        (True, True)

    References:
        Ding, Li & Jordan, 2010, https://doi.org/10.1109/TPAMI.2008.277.
    """

    model_class = SemiNMF
