"""Which lane a test is in. ``make test`` is the fast lane; ``make test-all`` runs everything that is marked slow."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)

ALL_FAMILIES = ("Occlusion", "KernelShap", "IntegratedGradients")  # methods that the fast lane tries on every family
ALL_METHODS = ("bert", "xlnet", "gpt2", "t5")  # families that it tries with every method
SIBLINGS = (
    *("DeepLiftShap", "ExpectedGradients", "RawAttention", "TransitionAttention", "ValueZeroing"),
    *("PartitionShap", "PermutationShap", "Banzhaf", "GLime", "LimeWithPrior", "Rise"),
)
"""Methods whose parts another method has too: on one family."""
ONE_PASS = ("gpt2", "t5")  # families whose targets it also explains one pass each
HEAVY = (
    "tests/attributions/test_calibration.py::test_noisy_gradients",
    "tests/attributions/test_parity.py::test_kernel_shap_is_shaps_exact_explainer",
    "tests/attributions/test_streaming.py::test_two_thousand_texts_leave_a_bounded_number_alive",
    "tests/metrics/test_generations.py::test_batches_prefixes_and_company_change_nothing[t5]",
    "tests/models/test_scorer.py::test_a_thousand_texts_hold_a_bounded_number_of_copies",
    "tests/test_guides.py::test_a_page_prints_what_it_shows[docs/guides/concepts.md]",
    "tests/versions/",  # `make test-versions` runs them with the pinned release too
)


def is_slow(item: pytest.Item) -> bool:
    """Return True for the part of a full product of methods and families that pairs of them already cover, and for the rest."""
    if item.nodeid.startswith(HEAVY):
        return True
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    method, family = getattr(params.get("method"), "__name__", None), params.get("family")
    if params.get("name") == "one_pass":
        return family not in ONE_PASS
    if method in SIBLINGS:
        return isinstance(family, str) and family != "bert"
    return method is not None and isinstance(family, str) and method not in ALL_FAMILIES and family not in ALL_METHODS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)
