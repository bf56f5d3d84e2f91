"""Explanations come one by one: as those of a list, with the model as it was between them, in bounded memory."""

from __future__ import annotations

import gc
import inspect
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
import torch

from interpreto import BlackBox, InputXGradient, KernelShap, Occlusion
from interpreto.attributions import base
from interpreto.errors import InputError, TargetError
from interpreto.inputs.samples import Sample
from tests import tiny

TEXTS = list(tiny.SENTENCES)


@pytest.fixture
def setting():
    return tiny.CLASSIFIERS["bert"]()


@pytest.mark.parametrize("method", [Occlusion, InputXGradient], ids=lambda m: m.__name__)
def test_a_stream_gives_what_a_list_gives(setting, method):
    explainer = method(*setting)
    targets = [i % 3 for i in range(len(TEXTS))]
    for own in (None, 1, targets):
        listed = explainer(TEXTS, own)
        streamed = list(explainer.stream(iter(TEXTS), own if own is not targets else iter(targets)))
        assert len(listed) == len(streamed) == len(TEXTS)
        for a, b in zip(listed, streamed, strict=True):
            assert a.text == b.text and a.target_labels == b.target_labels
            torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-4, atol=1e-5)


def test_two_thousand_texts_leave_a_bounded_number_alive(setting, monkeypatch):
    alive, most, made = weakref.WeakSet(), [0], []
    create = Sample.__init__

    def noted(self, *arguments, **options):
        create(self, *arguments, **options)
        alive.add(self)
        most[0] = max(most[0], len(alive))

    monkeypatch.setattr(Sample, "__init__", noted)

    def texts():
        for i in range(2000):
            made.append(i)
            yield f"The film was {'not ' if i % 2 else ''}good"

    count, ahead = 0, 0
    for _ in Occlusion(*setting).stream(texts(), 1):
        count += 1
        ahead = max(ahead, len(made) - count)
    gc.collect()
    assert count == 2000 and ahead < 400 and most[0] < 800
    assert len(alive) < 10


def test_the_model_is_as_it_was_between_two_explanations(setting):
    model, tokenizer = setting
    model.train()
    before = model.config.pad_token_id
    stream = Occlusion(model, tokenizer).stream(iter(TEXTS * 50), 0)
    for _ in islice(stream, 3):
        assert model.training and model.config.pad_token_id == before and not torch.is_inference_mode_enabled()
    stream.close()
    assert model.training


def state(model):
    """Return what a session changes of a model."""
    return (
        [module.training for module in model.modules()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        model.config.pad_token_id,
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()),
    )


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("way", ["one thread", "a thread for each item", "two threads at once"])
def test_interleaved_streams_give_the_numbers_of_separate_calls(family, way, monkeypatch):
    """Windows are of two samples here, so that each stream is left in the middle while the other runs the model."""
    if way == "two threads at once" and tiny.RELEASE < (5,):
        pytest.skip("its tokenizers serve one thread: they raise 'Already borrowed'")
    monkeypatch.setattr(base, "SAMPLES_TOGETHER", 2)
    model, tokenizer = tiny.CLASSIFIERS[family]()
    explainer, other = Occlusion(model, tokenizer, replacement="mean"), InputXGradient(model, tokenizer)
    wanted = explainer(TEXTS, 0), other(TEXTS, 1)
    model.train()  # dropout must be off in every window, and on between them
    before, passes = state(model), []
    handle = model.register_forward_pre_hook(lambda *_: passes.append(model.training))
    streams = explainer.stream(iter(TEXTS), 0), other.stream(iter(TEXTS), 1)
    if way == "two threads at once":
        with ThreadPoolExecutor(2) as pool:
            found = [*pool.map(list, streams)]
    else:
        found = [[], []]
        with ThreadPoolExecutor(1) as pool:
            for i in range(len(TEXTS)):
                found[0].append(next(streams[0]))
                seen = len(passes)
                found[1].append(next(streams[1]) if way == "one thread" else pool.submit(next, streams[1]).result())
                assert i % 2 or len(passes) > seen  # a new window: the other stream ran in between
                assert model.training
            assert not [*streams[0], *streams[1]]
    handle.remove()
    assert state(model) == before and passes and not any(passes)
    for own, right in zip(found, wanted, strict=True):
        for a, b in zip(own, right, strict=True):
            assert a.text == b.text and a.target_labels == b.target_labels
            torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_stream_that_is_left_in_the_middle_keeps_nobody_out(setting):
    """Its session is over: another thread may run the model."""
    explainer = Occlusion(*setting)
    stream = explainer.stream(iter(TEXTS * 50), 0)
    first = next(stream)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(explainer, TEXTS[0], 0).result(timeout=60)[0]
    torch.testing.assert_close(again.attributions, first.attributions, rtol=1e-4, atol=1e-5)
    second = next(stream)
    assert second.text == explainer(TEXTS[1], 0)[0].text


def test_targets_of_a_stream_are_counted(setting):
    explainer = Occlusion(*setting)
    with pytest.raises(TargetError, match="`targets`: got 2 for 3 inputs"):
        list(explainer.stream(iter(TEXTS[:3]), [0, 1]))
    with pytest.raises(TargetError, match="`targets`: got more than 3, for 3 inputs"):
        list(explainer.stream(iter(TEXTS[:3]), [0, 1, 0, 1]))
    with pytest.raises(InputError, match="got nothing to explain"):
        list(explainer.stream(iter(()), 0))


def test_inputs_are_counted_through_in_messages():
    with pytest.raises(InputError, match=r"`inputs\[99\]`: the text is empty"):
        Occlusion(BlackBox(lambda texts: [len(text) for text in texts]))([*["a film"] * 99, " "])
    with pytest.raises(InputError, match=r"`inputs\[99\]`: the text is empty"):
        Occlusion(*tiny.CLASSIFIERS["bert"]())([*["a film"] * 99, " "], 0)


@pytest.mark.parametrize("method", [Occlusion, KernelShap], ids=lambda m: m.__name__)
def test_at_most_eight_frames_of_ours_reach_the_model(method):
    """From `explain` to the call of the model, both included."""
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    depths = []

    def depth(_module, _inputs):
        frames = [frame for frame in inspect.stack() if "/interpreto/" in frame.filename.replace("\\", "/")]
        own = [frame.function for frame in frames if "/tests/" not in frame.filename]
        depths.append(len(own[: own.index("explain") + 1]))

    handle = model.register_forward_pre_hook(depth)
    method(model, tokenizer)(TEXTS[1], 0)
    handle.remove()
    assert depths and max(depths) <= 8
