"""Prefix sharing is active, and changes no number, on every release of transformers that is supported.

`make test-versions` runs this file with the lowest, the pinned and the newest release, and with two in between.
"""

from __future__ import annotations

import pytest
import torch

from interpreto import Occlusion
from interpreto.models import EngineOptions
from tests.versions.families import LANGUAGE_MODELS

PROMPT, TARGET = "A long and dull story with no end in sight, she said", " but the film was so good"


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_the_prefix_is_shared_by(family):
    model, tokenizer = LANGUAGE_MODELS[family]()
    asked = []
    model.register_forward_hook(lambda _, __, given, output: asked.append(given["input_ids"].numel()), with_kwargs=True)
    values, tokens = {}, {}
    for prefix in (True, False):
        asked.clear()
        explainer = Occlusion(model, tokenizer, batch_size=6, shortcuts=EngineOptions(prefix=prefix))
        values[prefix] = explainer(PROMPT, TARGET)[0].attributions.nan_to_num()
        tokens[prefix] = sum(asked)
        assert bool(explainer.report()["prefix"]) is prefix, explainer.report()["prefix"].reason
        assert explainer.report()["kept_logits"] and explainer.report()["one_pass"]
    assert tokens[True] < 0.95 * tokens[False]
    bound = 1e-4 * max(1.0, float(values[False].abs().max()))
    torch.testing.assert_close(values[True], values[False], rtol=0, atol=bound)
