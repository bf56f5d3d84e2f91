"""One model, several threads: sessions take turns, the numbers are those of one thread, and the model is left as it was."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from interpreto import IntegratedGradients, ModelWithSplitPoints, Occlusion, SmoothGrad, SplitterForClassification
from interpreto.models.forward import Forward
from interpreto.models.session import lock_of
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
TEXTS = ["The film was terrible.", "I loved this movie, but I didn't like the ending."]


class Wrapper(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner = model


def breathing(model):
    """The model, which lets other threads run in the middle of each pass."""
    model.register_forward_pre_hook(lambda *_: time.sleep(0.003))
    return model


def calls(model, tokenizer, classifies):
    """One number-valued call per kind of engine use."""
    target = 0 if classifies else "is"

    def explained(method, text, **options):
        return lambda: method(model, tokenizer, **options)(text, target)[0].attributions

    found = [
        explained(Occlusion, TEXTS[0], replacement="mean"),
        explained(IntegratedGradients, TEXTS[1], n_perturbations=3),
        explained(SmoothGrad, TEXTS[1], n_perturbations=3),
        lambda: next(iter(ModelWithSplitPoints(model, 0, tokenizer=tokenizer).get_activations(TEXTS).values())),
    ]
    if classifies:
        found.append(lambda: SplitterForClassification(model, None, tokenizer).get_activations(TEXTS)[0])
    return found


def state(model):
    return [module.training for module in model.modules()], model.config.pad_token_id, len(model._forward_hooks)


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt2-lm"])
@pytest.mark.parametrize("way", ["threads", "to_thread"])
def test_threads_get_the_numbers_of_one_thread(family, way):
    classifies = not family.endswith("-lm")
    model, tokenizer = tiny.CLASSIFIERS[family]() if classifies else tiny.CAUSAL_LMS["gpt2"]()
    every = calls(model, tokenizer, classifies)
    model.train()  # dropout must stay off in every thread until the last is done
    wanted, before = [call() for call in every], state(model)
    breathing(model)
    if way == "threads":
        with ThreadPoolExecutor(len(every)) as pool:
            got = list(pool.map(lambda call: call(), every))
    else:

        async def together():
            return await asyncio.gather(*[asyncio.to_thread(call) for call in every])

        got = asyncio.run(together())
    assert state(model) == before
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_a_session_is_one_threads_and_nests_within_it():
    model, _ = tiny.CLASSIFIERS["bert"]()
    entered, order = threading.Event(), []

    def other():
        with Forward(model).session():
            order.append("other")
        entered.set()

    with Forward(model).session():
        thread = threading.Thread(target=other)
        thread.start()
        with Forward(model).session():  # the same thread may enter again
            assert not entered.wait(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_the_lock_is_found_through_wrappers():
    model, _ = tiny.CLASSIFIERS["bert"]()
    another, _ = tiny.CLASSIFIERS["bert"]()
    wrapped = [Wrapper(model), Wrapper(Wrapper(model)), torch.nn.DataParallel(model)]
    peft = pytest.importorskip("peft")
    importlib.import_module("torch.distributed.tensor")  # peft needs it, and with transformers 4.46 nothing else imports it
    wrapped.append(peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query"])))
    assert all(lock_of(each) is lock_of(model) for each in wrapped)
    assert lock_of(another) is not lock_of(model)
    bare = torch.nn.Module()  # without weights
    assert lock_of(bare) is lock_of(bare)
