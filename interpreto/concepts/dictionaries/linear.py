"""Concepts that are linear both ways: principal, singular, independent and sparse components."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.adapters.scikit_learn import load_scikit_learn, solving
from interpreto.concepts.concept_model import Dictionary, check_at_most
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.scales import power_of_two, spread
from interpreto.errors import InputError


class LinearConcepts(Dictionary):
    """A linear encoder on centered rows: concepts are ``(x − center) E`` and rows are ``concepts D + center``."""

    axes: ClassVar = {**Dictionary.axes, "encoder": "d c"}

    encoder: Tensor

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.register_buffer("encoder", torch.empty(0, dtype=torch.float32))

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the amount of each concept in each row."""
        return (activations - self.offset) @ self.encoder

    def learned_both(self, encoder: Tensor, dictionary: Tensor, center: Tensor, dtype: torch.dtype) -> None:
        """Store an encoder ``(d, c)``, a dictionary ``(c, d)`` and a center ``(d,)``."""
        self.encoder = encoder.to(dtype).contiguous()
        self.learned(dictionary.to(dtype), center.to(dtype))


def leading_eigenvectors(matrix: Float[Tensor, "d d"], count: int) -> Float[Tensor, "c d"]:
    """Return the eigenvectors of largest eigenvalue ``(c, d)``, each with its largest number positive, as scikit-learn."""
    vectors = torch.linalg.eigh(matrix).eigenvectors.flip(1)[:, :count].T
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * largest.sign()


class PCA(LinearConcepts):
    """Principal components: the orthogonal directions of largest variance. A store is read a batch at a time."""

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Diagonalize the covariance."""
        check_at_most(self.nb_concepts, min(activations.n, activations.d), f"rows {activations.n}, width {activations.d}")
        mean, covariance = activations.moments()
        components = leading_eigenvectors(covariance, self.nb_concepts)
        self.learned_both(components.T, components, mean, activations.dtype)


class SVD(LinearConcepts):
    """Right singular vectors: as principal components, of rows that are not centered. A store is read a batch at a time."""

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Diagonalize the matrix of second moments."""
        check_at_most(self.nb_concepts, min(activations.n, activations.d), f"rows {activations.n}, width {activations.d}")
        mean, covariance = activations.moments()
        components = leading_eigenvectors(covariance + mean.outer(mean), self.nb_concepts)
        self.learned_both(components.T, components, torch.zeros_like(mean), activations.dtype)


class ICA(LinearConcepts):
    """Independent components, by scikit-learn's FastICA.

    Args:
        nb_concepts: Number of components.
        max_iter: Maximum number of iterations.
        tolerance: Stop when the unmixing matrix changes by less than this.
    """

    def __init__(self, nb_concepts: int, max_iter: int = 1000, tolerance: float = 1e-3) -> None:
        super().__init__(nb_concepts)
        self.max_iter = max_iter
        self.tolerance = tolerance

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Whiten the rows, and rotate them until their components are as independent as possible.

        Raises:
            InputError: all rows are equal.
            OptionError: there are more concepts than directions in which the rows vary.
        """
        rows = activations.read().double()
        scale = power_of_two(rows)
        rows = rows / scale  # not in place: they may be the caller's
        mean = rows.mean(0)
        whitening = _whitening(rows - mean, rows.square().mean(0).max(), self.nb_concepts, activations.dtype)
        ica = load_scikit_learn("decomposition").FastICA(
            whiten=False, max_iter=self.max_iter, tol=self.tolerance, random_state=random_state
        )
        with solving("ICA", random_state, "raise `max_iter` or `tolerance`, or ask for fewer concepts"):
            ica.fit(((rows - mean) @ whitening.T).cpu().numpy())
        encoder = torch.from_numpy(ica.components_).to(rows) @ whitening
        encoder /= ((rows - mean) @ encoder.T).square().mean(0).sqrt()[:, None]
        self.learned_both(encoder.T / scale, torch.linalg.pinv(encoder).T * scale, mean * scale, activations.dtype)


def _whitening(
    centered: Float[Tensor, "n d"], largest: Float[Tensor, ""], count: int, dtype: torch.dtype
) -> Float[Tensor, "c d"]:
    """Return directions along which the rows have variance 1 and no correlation, of the largest variances first.

    Args:
        centered: Rows without their mean, in float64.
        largest: Mean square of the column with the largest numbers, which sets how much of a variance is rounding.
        count: Number of directions.
        dtype: Precision of the activations.

    Raises:
        InputError: all rows are equal.
        OptionError: the rows vary in fewer directions.
    """
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
    values, vectors = values.flip(0), vectors.flip(1)
    rounding = (4 * torch.finfo(dtype).eps) ** 2 * largest + 1e-14 * values[0]
    rank = int((values > rounding).sum())
    if rank == 0:
        raise InputError("`activations`: all rows are equal; there is nothing to learn concepts from.")
    check_at_most(count, rank, f"the rank of the {len(centered)} centered rows of width {centered.shape[1]}")
    vectors = vectors * vectors[0].sign()  # scikit-learn's signs
    return (vectors / values.clamp_min(rounding).sqrt()).T[:count]


class SparsePCA(LinearConcepts):
    """Components most of whose numbers are zero, by scikit-learn's mini-batch solver; codes are a ridge regression.

    Args:
        nb_concepts: Number of components.
        alpha: Weight of the L1 penalty on the components, for rows whose numbers have a variance of 1 on average.
        ridge_alpha: Weight of the L2 penalty on the codes.
        max_iter: Maximum number of passes over the rows.
        batch_size: Rows per step.
    """

    def __init__(
        self, nb_concepts: int, alpha: float = 1.0, ridge_alpha: float = 0.01, max_iter: int = 20, batch_size: int = 256
    ) -> None:
        super().__init__(nb_concepts)
        self.alpha = alpha
        self.ridge_alpha = ridge_alpha
        self.max_iter = max_iter
        self.batch_size = batch_size

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Learn the components of the rows, scaled to a variance of 1."""
        rows = activations.read().double()
        center, scale = rows.mean(0), spread(rows)
        solver = load_scikit_learn("decomposition").MiniBatchSparsePCA(
            self.nb_concepts,
            alpha=self.alpha,
            ridge_alpha=self.ridge_alpha,
            max_iter=self.max_iter,
            batch_size=min(self.batch_size, len(rows)),
            random_state=random_state,
        )
        with solving("SparsePCA", random_state, "raise `max_iter`"):
            solver.fit(((rows - center) / scale).cpu().numpy())
        components = torch.from_numpy(solver.components_).to(rows)
        gram = components @ components.T
        gram.diagonal().add_(self.ridge_alpha)
        encoder = torch.linalg.solve(gram, components).T / scale
        self.learned_both(encoder, components * scale, center, activations.dtype)


class PCAConcepts(DictionaryConcepts):
    """Concepts by principal components: orthogonal directions, in the order of the variance that they explain.

    Examples:
        >>> import torch
        >>> activations = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) + 100
        >>> explainer = PCAConcepts(None, nb_concepts=4).fit(activations)
        >>> explainer.decode_concepts(explainer.encode_activations(activations)).allclose(activations)
        True

    References:
        Pearson, 1901, https://doi.org/10.1080/14786440109462720.
    """

    model_class = PCA


class SVDConcepts(DictionaryConcepts):
    """Concepts by singular vectors: as principal components, of activations that are not centered.

    Examples:
        >>> import torch
        >>> explainer = SVDConcepts(None, nb_concepts=1).fit(torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        >>> explainer.get_dictionary()
        tensor([[0.6000, 0.8000]])

    References:
        Halko, Martinsson & Tropp, 2011, https://arxiv.org/abs/0909.4061.
    """

    model_class = SVD


class ICAConcepts(DictionaryConcepts):
    """Concepts by independent component analysis: directions whose amounts tell least about each other.

    Examples:
        >>> import torch
        >>> activations = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
        >>> concepts = ICAConcepts(None, nb_concepts=3).fit(activations).encode_activations(activations)
        >>> concepts.T.cov(correction=0).allclose(torch.eye(3), atol=1e-4)
        True

    References:
        Hyvärinen & Oja, 2000, https://doi.org/10.1016/S0893-6080(00)00026-5.
    """

    model_class = ICA


class SparsePCAConcepts(DictionaryConcepts):
    """Concepts by sparse principal components: directions that use few of the model's neurons.

    Examples:
        >>> import torch
        >>> activations = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> dictionary = SparsePCAConcepts(None, nb_concepts=3).fit(activations).get_dictionary()
        >>> bool((dictionary == 0).any())
        True

    References:
        Mairal et al., 2009, https://arxiv.org/abs/0908.0050.
    """

    model_class = SparsePCA
