"""Owen values over a hierarchy: equal to the table's, exact at the full budget, complete at any."""

from __future__ import annotations

import pytest
import torch

from interpreto import BlackBox, Granularity, PartitionShap
from interpreto.attributions.games import indices
from interpreto.attributions.games.hierarchy import grouped, narrow, tree_of
from interpreto.errors import OptionError
from tests import problems, tiny
from tests.attributions.games.test_methods import game_explanation, random_table
from tests.contracts.zoo import GENERATORS

TREE = [[0, 1], [[2, 3, 4], 5]]


def of_words(text: str, granularity: str = "word"):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    return PartitionShap(model, tokenizer, granularity=granularity)(text, 0)[0].sample


@pytest.mark.parametrize("hierarchy", [lambda texts: TREE, "balanced"])
def test_at_the_full_budget_they_are_owen_values(hierarchy):
    table = random_table(6)
    tree = TREE if callable(hierarchy) else grouped(list(range(6)), [0] * 5)
    found = game_explanation(PartitionShap, table, 6, hierarchy=hierarchy)
    exact = indices.owen_values(table[:, None].double(), tree)[0].float()
    torch.testing.assert_close(found.attributions[0], exact, atol=1e-5, rtol=1e-5)
    assert found.standard_error is None and float(found.residual.abs()) < 1e-5


def test_a_flat_hierarchy_has_shapley_values():
    table = random_table(4)
    found = game_explanation(PartitionShap, table, 4, hierarchy=lambda texts: [0, 1, 2, 3])
    torch.testing.assert_close(
        found.attributions[0], indices.shapley_values(table[:, None].double())[0].float(), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("budget", [2, 3, 6, 10, 20])
def test_a_small_budget_is_kept_and_the_values_still_sum_to_the_gap(budget):
    table, asked = random_table(8, 2), []
    model = problems.Game(
        lambda present: (asked.append(len(present)), table.numpy()[(present @ 2 ** torch.arange(8).numpy()).astype(int)])[1], 8
    )
    explainer = PartitionShap(
        model, problems.GameTokenizer(8), granularity=Granularity.TOKEN, replacement="mask", n_perturbations=budget
    )
    found = explainer(torch.arange(8), 0)[0]
    rounds = len(asked)
    assert sum(asked) <= budget + rounds  # the untouched input is in each round
    assert float(found.residual.abs()) < 1e-5
    shared = found.standard_error[0].isnan()
    assert bool(shared.any()) and (budget > 3 or bool(shared.all()))
    if budget == 2:
        torch.testing.assert_close(found.attributions[0], ((table[-1] - table[0]) / 8).expand(8), atol=1e-5, rtol=1e-5)


def test_the_group_that_matters_is_opened_first():
    """The score depends on units 6 and 7 alone."""
    present = indices.all_coalitions(8)
    table = (3 * present[:, 6] - present[:, 7]).float()
    found = game_explanation(PartitionShap, table, 8, hierarchy="balanced", n_perturbations=16)
    torch.testing.assert_close(found.attributions[0], torch.tensor([0.0] * 6 + [3.0, -1.0]), atol=1e-5, rtol=1e-5)
    assert found.standard_error[0, 6:].tolist() == [0.0, 0.0] and bool(found.standard_error[0, :4].isnan().all())


def test_sentences_are_cut_before_clauses_and_clauses_before_words():
    sample = of_words("the film was good, the actor was not. a story!\nit was so")
    words = sample.units.texts
    tree = tree_of(sample, "auto", len(words))

    def texts(node):
        return words[node] if isinstance(node, int) else [texts(child) for child in node]

    first, second = tree
    assert [words[i] for i in indices.leaves(second)] == ["it", "was", "so"]
    one, other = first
    assert [words[i] for i in indices.leaves(other)] == ["a", "story", "!"]
    left, right = one
    assert [words[i] for i in indices.leaves(left)] == ["the", "film", "was", "good", ","]
    assert [words[i] for i in indices.leaves(right)] == ["the", "actor", "was", "not", "."]
    assert list(indices.leaves(tree)) == list(range(len(words))) and texts(tree)


def test_wide_nodes_are_cut():
    def widest(node):
        return 0 if isinstance(node, int) else max(len(node), *map(widest, node))

    tree = narrow(list(range(37)))
    assert widest(tree) <= 4 and list(indices.leaves(tree)) == list(range(37)) and narrow([[3]]) == 3


def test_a_wrong_hierarchy_is_refused():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with pytest.raises(OptionError, match="`hierarchy`: got 'words'"):
        PartitionShap(model, tokenizer, hierarchy="words")
    for wrong in ([0, 1], [0, 0, 1, 2], "abc"):
        with pytest.raises(OptionError, match="`hierarchy`"):
            PartitionShap(model, tokenizer, hierarchy=lambda texts, wrong=wrong: wrong)("the film was", 0)


def test_tokens_of_a_generation_and_black_boxes():
    model, tokenizer = GENERATORS["gpt2"]()
    found = PartitionShap(model, tokenizer)("the film was", " good and")[0]
    assert float(found.residual.abs().max()) < 1e-4
    box = BlackBox(lambda texts: [[float("good" in text), float("film" in text)] for text in texts])
    found = PartitionShap(box)("a good film", [0, 1])[0]
    torch.testing.assert_close(found.attributions, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), atol=1e-6, rtol=0)


def test_the_rounds_of_several_texts_share_batches():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    texts, passes = ["the film was not good", "a story so dull", "it was great"], []
    counting = model.register_forward_hook(lambda *_: passes.append(1))

    def counted(call):
        passes.clear()
        return [one.attributions for one in call()], len(passes)

    explainer = PartitionShap(model, tokenizer)
    explainer(texts, 0)  # the first call measures the model
    together, shared = counted(lambda: explainer(texts, 0))
    alone, own = counted(lambda: [explainer(text, 0)[0] for text in texts])
    counting.remove()
    assert shared < own
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
