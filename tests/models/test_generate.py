"""One writer of texts: in the budget, each as if alone, and as the caller says."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from interpreto.models.batching import Budget
from interpreto.models.forward import Forward
from interpreto.models.generate import LONGEST, write
from tests import tiny

SPECIAL = (0, 1, 2)


def lm(family="gpt2", ends=None):
    """A language model that writes other tokens after other prompts."""
    model, _ = (tiny.CAUSAL_LMS if family == "gpt2" else tiny.SEQ2SEQ)[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    model.generation_config.eos_token_id = model.config.eos_token_id = ends
    return model


def prompts(n=40, length=5):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, 60, (length + i % 2,), generator=generator) for i in range(n)]


def written(model, given, budget=None, **options):
    forward, state = Forward(model), options.pop("random_state", 0)
    with forward.session():
        return write(forward, given, options, special_ids=SPECIAL, budget=budget or Budget(None, 2048), random_state=state)


def loop(model, prompt, **options):
    with torch.no_grad():
        ids = prompt[None]
        return model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options)[0, len(prompt) :].tolist()


def rows_of(model):
    seen = []
    model.register_forward_pre_hook(lambda _m, _a, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    return seen


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_passes_hold_so_many_prompts(rows):
    model = lm()
    seen, given = rows_of(model), prompts()
    found = written(model, given, Budget(rows, 2048), max_new_tokens=3)
    assert max(seen) == rows
    assert [list(each.ids) for each in found] == [loop(model, p, max_new_tokens=3, do_sample=False) for p in given]


def test_a_token_budget_counts_what_is_written():
    model = lm()
    seen = rows_of(model)
    written(model, prompts(40, 6), Budget(None, 60), max_new_tokens=4)
    assert max(seen) == 60 // 10


def test_batches_are_halved_when_the_memory_runs_out():
    model, given = lm(), prompts(12)
    wanted, seen = written(model, given, max_new_tokens=3), []

    def full(_module, _args, inputs):
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("full")
        seen.append(len(inputs["input_ids"]))

    model.register_forward_pre_hook(full, with_kwargs=True)
    assert written(model, given, max_new_tokens=3) == wanted and max(seen) <= 2


def test_the_end_of_the_call_ends_every_text():
    """Fillers of texts that end before others of their batch are no part of them."""
    model, given = lm(), prompts(20)
    alone = [loop(model, p, max_new_tokens=8, do_sample=False) for p in given]
    end = next(token for row in alone for token in row[1:4])
    found = written(model, given, max_new_tokens=8, eos_token_id=end)
    for row, each in zip(alone, found, strict=True):
        stop = row.index(end) if end in row else len(row)
        assert list(each.ids) == row[:stop] and each.end == ((end,) if end in row else ())
    config = GenerationConfig(max_new_tokens=8, eos_token_id=[end], do_sample=False)
    assert written(model, given, generation_config=config) == found
    assert config.pad_token_id is None  # the caller's own stays as it is


@pytest.mark.parametrize(
    "options", [{"max_length": 9}, {"generation_config": GenerationConfig(max_length=9)}, {"max_new_tokens": 4}]
)
def test_the_callers_length_wins(options):
    model, given = lm(), [prompts(2)[0]]
    assert len(written(model, given, **options)[0].ids) == 4
    assert len(written(model, given)[0].ids) == LONGEST


class After(StoppingCriteria):
    """Stop after as many tokens as a prompt's first id says."""

    def __call__(self, input_ids, scores, **kwargs):
        return torch.tensor([len(row) >= 6 + int(row[0]) % 3 * 40 for row in input_ids])


def test_criteria_of_the_caller_stop_each_text_by_itself():
    model, given = lm(), [torch.tensor([start, 7, 8, 9, 10]) for start in (30, 31, 32)]
    found = written(model, given, stopping_criteria=StoppingCriteriaList([After()]))
    assert [len(each.ids) for each in found] == [1, 41, 81]  # the last beyond our own default


def test_draws_depend_on_the_seed_alone():
    model, given = lm(), prompts(6)
    before = torch.get_rng_state()
    options = {"do_sample": True, "max_new_tokens": 5}
    together = written(model, given, **options)
    assert together == [written(model, [p], **options)[0] for p in given]
    assert together != written(model, given, random_state=1, **options)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_decoder_of_its_own_has_what_it_begins_with(family):
    model = lm(family)
    found = written(model, prompts(4), max_new_tokens=3)
    assert all(each.lead and each.lead[0] == model.config.decoder_start_token_id for each in found)
    assert len({each.ids for each in found}) > 1 or all(len(each.ids) <= 3 for each in found)
