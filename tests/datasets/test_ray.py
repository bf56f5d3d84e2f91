"""Ray's engine writes the same files. Run where Ray is installed, as in CI."""

from __future__ import annotations

import sys

import pytest

from interpreto import explain_dataset
from interpreto.datasets import RayOptions
from interpreto.errors import EngineError, OptionError
from tests.datasets.explainers import digests, occlusion, sampled, suicidal_once, texts

pytestmark = pytest.mark.slow


def test_without_ray_there_is_a_word_on_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(OptionError, match=r"pip install 'ray\[data\]'"):
        explain_dataset(occlusion(), texts(2), tmp_path / "out", engine="ray")


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_actors_write_what_one_process_writes(cluster, tmp_path):
    found = texts(30)
    found[4] = " "
    one = explain_dataset(sampled(), found, tmp_path / "one", rows_per_shard=4)
    many = explain_dataset(sampled(), found, tmp_path / "many", rows_per_shard=4, engine="ray", workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "many") and many.failures == one.failures and many.verify(found)
    again = explain_dataset(sampled(), found, tmp_path / "many", rows_per_shard=4, engine="ray", workers=2)
    assert len(again) == 29


@pytest.mark.filterwarnings("ignore")
def test_a_killed_actor_is_replaced(cluster, tmp_path):
    found = texts(24)
    explain_dataset(occlusion(), found, tmp_path / "one", rows_per_shard=4)
    explainer = suicidal_once(str(tmp_path / "died"))
    dataset = explain_dataset(explainer, found, tmp_path / "many", rows_per_shard=4, engine="ray", workers=2)
    assert (tmp_path / "died").exists() and dataset.verify(found) and len(dataset) == 24


@pytest.mark.filterwarnings("ignore")
def test_an_error_in_an_actor_is_raised_by_the_driver(cluster, tmp_path):
    from interpreto import BlackBox, Occlusion
    from tests.datasets.explainers import never

    options = RayOptions(cpus_per_worker=1)
    with pytest.raises(EngineError, match="on fire"):
        explain_dataset(Occlusion(BlackBox(never, ["up"])), texts(20), tmp_path / "out", engine="ray", ray=options)
