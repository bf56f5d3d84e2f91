"""Clusters as concepts: k-means with soft assignments."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.adapters.scikit_learn import load_scikit_learn, solving
from interpreto.concepts.concept_model import Dictionary, check_at_most
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.scales import power_of_two
from interpreto.errors import OptionError


class Clusters(NamedTuple):
    """Cluster centers, and the cluster of each row."""

    centers: Float[Tensor, "c d"]
    labels: Int[Tensor, " n"]


def cluster(rows: Float[Tensor, "n d"], count: int, random_state: int, restarts: int) -> Clusters:
    """Run scikit-learn's k-means."""
    kmeans = load_scikit_learn("cluster").KMeans(count, n_init=restarts, random_state=random_state)
    with solving("KMeans", random_state, "some rows are equal, or fewer differ than `nb_concepts`: ask for fewer"):
        kmeans.fit(rows.cpu().numpy())
    centers, labels = torch.from_numpy(kmeans.cluster_centers_), torch.from_numpy(kmeans.labels_)
    return Clusters(centers.to(rows), labels.to(rows.device, torch.int64))


class KMeans(Dictionary):
    """Rows as their clusters: a code is the probability of a cluster, and the assigned one has the largest.

    Probabilities are those of a mixture of round Gaussians around the centers, with equal weights and one variance: the
    rows' own within their clusters, in the direction of the average deviation.

    Args:
        nb_concepts: Number of clusters.
        temperature: Softness of the clusters, as a factor of the variance within them. 0 gives the nearest cluster 1 and the
            others 0; no gradient passes through such codes.
        restarts: Number of initializations; the best clustering is kept.
    """

    axes: ClassVar = {**Dictionary.axes, "deviation": "1"}

    deviation: Tensor

    def __init__(self, nb_concepts: int, temperature: float = 1.0, restarts: int = 3) -> None:
        super().__init__(nb_concepts)
        if temperature < 0:
            raise OptionError(
                f"`temperature`: got {temperature}; pass 0 for the nearest cluster alone, or more for softer ones."
            )
        self.temperature = temperature
        self.restarts = restarts
        self.has_differentiable_encoder = temperature > 0
        self.register_buffer("deviation", torch.empty(0, dtype=torch.float32))

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Cluster the rows."""
        check_at_most(self.nb_concepts, activations.n, "one for each row")
        rows = activations.read()
        scale = power_of_two(rows)
        rows = rows / scale
        shift = rows.mean(0)  # distances are small compared with a large common offset
        centers, labels = cluster(rows - shift, self.nb_concepts, random_state, self.restarts)
        deviations = (rows - shift - centers[labels]).double()
        covariance = deviations.T @ deviations / len(rows)
        total = covariance.trace()
        variance = covariance.square().sum() / total if total > 0 else total  # mean eigenvalue, weighted by itself
        self.deviation = (variance.sqrt() * scale).to(rows).reshape(1)
        self.learned((centers + shift) * scale)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the probability of each cluster, ``(n, c)`` in ``[0, 1]``; a row's sum to 1."""
        scale = power_of_two(self.dictionary)  # squares of the activations' own numbers may be out of range
        centers = self.dictionary / scale
        shift = centers.mean(0)
        rows, centers = activations / scale - shift, centers - shift
        closeness = rows @ centers.T - centers.square().sum(1) / 2  # half of minus the squared distance, but for |x|²
        spread = self.temperature * (self.deviation / scale).square()
        if self.temperature == 0 or not bool(spread > 0):
            return torch.nn.functional.one_hot(closeness.argmax(1), self.nb_concepts).to(activations)
        return (closeness / spread).softmax(1)


class KMeansConcepts(DictionaryConcepts):
    """Concepts by k-means: each is a cluster of activations, and its amount the probability of that cluster.

    Examples:
        >>> import torch
        >>> activations = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
        >>> explainer = KMeansConcepts(None, nb_concepts=2, temperature=0.0).fit(activations)
        >>> explainer.decode_concepts(explainer.encode_activations(activations))[:, 1]
        tensor([0.5000, 0.5000, 8.5000, 8.5000])

    References:
        Lloyd, 1982, https://doi.org/10.1109/TIT.1982.1056489.
    """

    model_class = KMeans
