"""Which lane a test is in. ``make test`` is the fast lane; ``make test-all`` runs everything that is marked slow."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)

ALL_FAMILIES = ("Occlusion", "IntegratedGradients")  # methods that the fast lane tries on every family
ALL_METHODS = ("bert", "gpt2")  # families that it tries with every method
SIBLINGS = (
    *("DeepLiftShap", "ExpectedGradients", "RawAttention", "TransitionAttention", "ValueZeroing"),
    *("PartitionShap", "PermutationShap", "Banzhaf", "GLime", "LimeWithPrior", "Rise", "ContextCite", "At2", "ReAGent"),
    *("AttentionRollout", "GenericAttention", "VarGrad", "SquareGrad"),
)
"""Methods whose parts another method has too: on one family."""
ONE_PASS = ("gpt2",)  # families whose targets it also explains one pass each
COSTLY = ("DeepLiftShap", "BidirectionalAttention", "TransitionAttention", "ValueZeroing", "Alti")
"""Methods of many passes, whose contracts are slow; their closed forms are not."""
LOOPS = {
    "tests/contracts/test_generation.py::test_nothing_is_changed": (),
    "tests/contracts/test_hands_off.py::test_nothing_is_changed": ("bert]",),
    "tests/contracts/test_invariance.py::test_base_scores_are_the_models_own": (),
    "tests/contracts/test_hands_off.py::test_the_callers_modes_change_no_number": (),
    "tests/attributions/test_generation.py::test_a_contrast_is_the_difference_of_two_scores": (
        "llama-KernelShap",
        "llama-InputXGradient",
    ),
    "tests/models/test_options.py::test_no_optimization_changes_a_number": (
        "gpt2-",
        *(
            f"{family}-{option}"
            for family in ("llama", "qwen2", "mistral", "t5", "mamba")
            for option in ("distinct", "kept_logits", "prefix", "shared_backward")
        ),
    ),
    "tests/attributions/test_attention.py::test_raw_attention_is_the_row_of_the_token_that_is_read": ("bert", "llama"),
    "tests/attributions/test_generation.py::test_occlusion_integrated_gradients_and_shapley": (
        *("gpt2", "llama", "mamba", "t5"),
    ),
    "tests/concepts/saes/test_saes.py::test_an_offset_and_a_scale_change_nothing": ("TopKSAEConcepts",),
    "tests/concepts/test_inputs_to_concepts.py::test_every_method_that_differentiates": ("bert-",),
    "tests/test_cli.py::test_one_method_is_shown_with_what_is_known_of_it": (
        "occlusion",
        "kernel-shap",
        "attn-lrp",
        "grad-cam",
    ),
}
"""Tests that try every method on one family, or a family's methods one by one, and where the fast lane runs them."""
GUIDES = (
    "large_datasets",
    "transcoders",
    "circuits",
    "training_data",
    "concepts",
    "datasets",
    "methods",
    "supervised_concepts",
    "lenses",
    "pretrained_saes",
    "labels",
    "images",
    "long_contexts",
)
HEAVY = (
    "tests/contracts/test_generation.py::test_every_batch_size_gives_the_same[2]",
    "tests/contracts/test_generation.py::test_every_batch_size_gives_the_same[64]",
    *(f"tests/test_guides.py::test_a_page_prints_what_it_shows[docs/guides/{page}.md]" for page in GUIDES),
    "tests/attributions/test_calibration.py::test_sobol[16-",
    "tests/models/tasks/test_user_tasks.py::test_company_shortcuts_and_files_change_nothing[spans-",
    "tests/models/tasks/test_user_tasks.py::test_company_shortcuts_and_files_change_nothing[tokens-KernelShap",
    *(
        f"tests/attributions/test_attention.py::test_value_zeroing_is_the_whole_model_with_a_value_set_to_zero[{family}]"
        for family in ("deberta_v2", "xlnet", "albert")
    ),
    "tests/attributions/test_surrogates.py::TestGlobalAttribution::test_it_is_a_prior",
    "tests/attributions/games/test_indices.py::test_owen_values_of_a_binary_tree_are_those_of_shaps_partition_explainer",
    *(
        f"tests/attributions/test_generation.py::test_explained_by_the_prompt_alone[{method}]"
        for method in ("ValueZeroing", "BidirectionalAttention", "TransitionAttention", "Alti", "DeepLiftShap")
    ),
    *(
        f"tests/contracts/test_invariance.py::test_batches_company_order_and_padding_change_nothing[{method}-gpt2]"
        for method in ("AttnLrp", "DeepLift")
    ),
    "tests/attributions/test_closed_forms.py::test_standard_errors_of_noisy_gradients_are_those_of_repeated_runs",
    "tests/attributions/test_closed_forms.py::test_kernel_shap_standard_errors_are_those_of_repeated_runs",
    "tests/contracts/test_invariance.py::test_targets_together_are_targets_alone",
    "tests/attributions/test_generation.py::test_a_contrast_of_classes_is_the_difference_of_two_scores",
    "tests/concepts/solvers/test_solvers.py::test_codes_of_more_atoms_than_dimensions_are_optimal_and_each_row_s_own[60-30]",
    "tests/contracts/test_generation.py::test_every_batch_size_gives_the_same[4]",
    *(
        f"tests/contracts/test_hands_off.py::test_the_callers_modes_change_no_number_and_are_left_as_they_were[gpt2-{mode}]"
        for mode in ("grad disabled", "inference_mode", "default dtype")
    ),
    "tests/models/test_scorer.py::test_batches_are_halved_when_the_memory_runs_out[100-",
    "tests/attributions/test_parity.py::test_kernel_shap_is_shaps_exact_explainer",
    "tests/attributions/test_streaming.py::test_two_thousand_texts_leave_a_bounded_number_alive",
    "tests/metrics/test_generations.py::test_batches_prefixes_and_company_change_nothing[t5]",
    "tests/models/test_scorer.py::test_a_thousand_texts_hold_a_bounded_number_of_copies",
    "tests/test_guides.py::test_a_page_prints_what_it_shows[docs/guides/labels.md]",
    "tests/test_import.py::test_pythons_own_generator_is_left_alone",
    "tests/concepts/test_splitters.py::TestHandsOff::test_extractions_leave_no_tensors_behind",
    "tests/concepts/dictionaries/test_dictionaries.py::test_overcomplete_is_loaded_without_its_top_level",
    "tests/models/test_scorer.py::test_batches_are_halved_when_the_memory_runs_out[None-",
    "tests/concepts/pretrained/test_places.py::test_a_wrong_place",
    "tests/concepts/pretrained/test_places.py::test_what_a_block_is_given_is_what_the_one_before_gave[gpt2-nnsight]",
    "tests/concepts/pretrained/test_export.py::test_a_loaded_one_goes_through",
    "tests/metrics/test_generations.py::test_batches_prefixes_and_company_change_nothing[gpt2]",
    "tests/metrics/test_loops.py::test_soft_masks_of_uneven_weights",
    "tests/metrics/test_curves.py::TestLoopsOfTenLines::test_distinct_explanations_are_told_apart",
    "tests/attributions/test_attention.py::test_logits_and_later_gradients_are_bit_identical",
    "tests/concepts/solvers/test_solvers.py::test_codes_of_more_atoms_than_dimensions_are_optimal_and_each_row_s_own[44-40]",
    "tests/test_tiny.py::test_tokenizers_are_the_same_in_every_process",
    "tests/test_tiny.py::test_importing_the_zoo_imports_no_model",
    "tests/test_cli.py::test_every_method_explains",  # tests/test_registry.py reads all of them
    "tests/versions/",  # `make test-versions` runs them with the pinned release too
)


def is_slow(item: pytest.Item) -> bool:
    """Return True for the part of a full product of methods and families that pairs of them already cover, and for the rest."""
    if item.nodeid.startswith(HEAVY):
        return True
    for test, kept in LOOPS.items():
        if item.nodeid.startswith(test):
            return not item.nodeid.partition("[")[2].startswith(kept)
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    method, family = getattr(params.get("method"), "__name__", None), params.get("family")
    if params.get("name") == "one_pass":
        return family not in ONE_PASS
    if method in COSTLY and item.nodeid.startswith("tests/contracts/"):
        return True
    if method in SIBLINGS:
        return isinstance(family, str) and family != "bert"
    return method is not None and isinstance(family, str) and method not in ALL_FAMILIES and family not in ALL_METHODS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)
