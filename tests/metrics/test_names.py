"""One list of names, which every other place hands on."""

from __future__ import annotations

import subprocess
import sys

import pytest

import interpreto.attributions.metrics as of_attributions
from interpreto import metrics
from interpreto.metrics import attributions, concepts


def test_the_homes_own_the_names_and_the_package_hands_them_on():
    assert len(attributions.__all__) == 36
    assert set(metrics.__all__) == {*attributions.__all__, *concepts.__all__, "Benchmark", "BenchmarkTable", "MetricResult"}
    for home in (attributions, concepts):
        assert all(getattr(metrics, name) is getattr(home, name) for name in home.__all__)
    assert dir(metrics) == metrics.__all__


def test_the_path_of_the_reference_library_has_the_same_objects():
    assert of_attributions.__all__ is attributions.__all__
    assert dir(of_attributions) == sorted(attributions.__all__)
    assert all(getattr(of_attributions, name) is getattr(attributions, name) for name in attributions.__all__)


@pytest.mark.parametrize("module", [metrics, of_attributions])
def test_a_star_import_brings_them_and_a_name_that_is_none_is_an_attribute_error(module):
    found: dict[str, object] = {}
    exec(f"from {module.__name__} import *", found)
    assert set(module.__all__) == found.keys() - {"__builtins__"}
    with pytest.raises(AttributeError, match=f"'{module.__name__}' has no attribute 'Deletions'"):
        _ = module.Deletions


def test_names_load_on_first_use():
    loaded = "print('torch' in sys.modules, 'interpreto.metrics.attributions' in sys.modules)"
    code = f"import sys, interpreto.metrics; {loaded}; import interpreto.attributions.metrics; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\nTrue False\n"
