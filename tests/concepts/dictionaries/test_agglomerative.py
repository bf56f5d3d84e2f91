"""Agglomerative clustering: scikit-learn's partition, and weights."""

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from interpreto.concepts import AgglomerativeConcepts, load_concepts
from interpreto.concepts.solvers.ward import ward
from interpreto.errors import OptionError


def rows(n, d=5, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_it_is_scikit_learn(count):
    given = rows(60)
    peer = AgglomerativeClustering(count, linkage="ward").fit(given.numpy()).labels_
    assert adjusted_rand_score(peer, ward(given, torch.ones(60), count)) == 1.0


def test_weights_count_as_rows_that_occur_several_times():
    given, times = rows(30), torch.arange(30) % 3 + 1
    weighted = ward(given, times.double(), 5)
    repeated = AgglomerativeClustering(5, linkage="ward").fit(given.repeat_interleave(times, 0).numpy()).labels_
    assert adjusted_rand_score(np.repeat(weighted.numpy(), times), repeated) == 1.0


def test_small_clusters_are_merged_by_size():
    """Rows around six centers; eleven small clusters are enough to find them again."""
    centers = 20 * rows(6, seed=1)
    owners = torch.arange(300) % 6
    given = centers[owners] + 0.1 * rows(300, seed=2)
    found = AgglomerativeConcepts(None, nb_concepts=6, micro=11).fit(given)
    assert adjusted_rand_score(owners, found.encode_activations(given).argmax(1)) == 1.0
    whole = AgglomerativeConcepts(None, nb_concepts=6).fit(given)
    assert torch.allclose(found.get_dictionary().sort(0).values, whole.get_dictionary().sort(0).values)


def test_centers_are_means_and_saved(tmp_path):
    given = rows(40)
    found = AgglomerativeConcepts(None, nb_concepts=4).fit(given)
    labels = ward(given, torch.ones(40), 4)
    assert torch.allclose(found.get_dictionary(), torch.stack([given[labels == k].mean(0) for k in range(4)]))
    found.save(tmp_path / "c.safetensors")
    assert torch.equal(load_concepts(tmp_path / "c.safetensors").encode_activations(given), found.encode_activations(given))
    with pytest.raises(OptionError, match="nb_concepts"):
        AgglomerativeConcepts(None, nb_concepts=41).fit(given)
