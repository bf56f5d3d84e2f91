"""Latent concepts: clusters of activations by agglomeration."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import Dictionary, check_at_most
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.dictionaries.kmeans import cluster
from interpreto.concepts.solvers.ward import ward
from interpreto.validation import check_count


class Agglomerative(Dictionary):
    """Rows as the nearest of the centers of clusters that Ward's criterion merged.

    Args:
        nb_concepts: Number of clusters.
        micro: Rows that are merged one by one. More rows are first put into this many small clusters by k-means, which are
            merged by their sizes.
    """

    def __init__(self, nb_concepts: int, micro: int = 5000) -> None:
        super().__init__(nb_concepts)
        self.has_differentiable_encoder = False
        self.micro = check_count(micro, "micro", 2)

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Merge the rows."""
        check_at_most(self.nb_concepts, min(activations.n, self.micro), "one for each row, or each small cluster")
        rows = activations.read().double()
        shift = rows.mean(0)
        points, owners = rows - shift, torch.arange(len(rows), device=rows.device)
        if len(rows) > self.micro:
            points, owners = cluster(points, self.micro, random_state, restarts=1)
        sizes = torch.bincount(owners, minlength=len(points)).double()
        labels = ward(points, sizes, self.nb_concepts)[owners]
        sums = rows.new_zeros(self.nb_concepts, rows.shape[1]).index_add_(0, labels, rows)
        counts = torch.bincount(labels, minlength=self.nb_concepts)
        self.learned((sums / counts[:, None]).to(activations.dtype))

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return 1 for the nearest center, 0 for the others."""
        shift = self.dictionary.mean(0)
        centers = self.dictionary - shift
        closeness = (activations - shift) @ centers.T - centers.square().sum(1) / 2
        return torch.nn.functional.one_hot(closeness.argmax(1), self.nb_concepts).to(activations)


class AgglomerativeConcepts(DictionaryConcepts):
    """Concepts by agglomerative clustering: each is a group of activations, such as words in their contexts.

    Examples:
        >>> import torch
        >>> activations = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
        >>> explainer = AgglomerativeConcepts(None, nb_concepts=2).fit(activations)
        >>> explainer.encode_activations(activations).argmax(1)
        tensor([0, 0, 1, 1])

    References:
        Dalvi et al., ICLR 2022, https://arxiv.org/abs/2205.07237.
    """

    model_class = Agglomerative
