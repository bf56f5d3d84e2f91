import gc
import subprocess
import sys
import threading
import warnings
from dataclasses import astuple
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel, T5EncoderModel

from interpreto.concepts.splitters import ActivationGranularity, ModelWithSplitPoints, SplitterForClassification
from interpreto.errors import InputError, ModelError, OptionError, TaskError, TokenizerError
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES, SEQ2SEQ, unigram

GRANULARITIES = ModelWithSplitPoints.activation_granularities


def t5_encoder():
    whole, tokenizer = SEQ2SEQ["t5"]()
    encoder = T5EncoderModel(whole.config).eval()
    encoder.load_state_dict(whole.state_dict(), strict=False)
    return encoder, tokenizer


FAMILIES = {
    "bert": (CLASSIFIERS["bert"], "bert.encoder.layer.0"),
    "roberta": (CLASSIFIERS["roberta"], "roberta.encoder.layer.0"),
    "modernbert": (CLASSIFIERS["modernbert"], "model.layers.0"),
    "albert": (CLASSIFIERS["albert"], "albert.encoder"),
    "deberta_v2": (CLASSIFIERS["deberta_v2"], "deberta.encoder.layer.1"),
    "t5_encoder": (t5_encoder, "encoder.block.0"),
    "gpt2": (CAUSAL_LMS["gpt2"], "transformer.h.0"),
    "llama": (CAUSAL_LMS["llama"], "model.layers.1"),
    "qwen3": (CAUSAL_LMS["qwen3"], "model.layers.0"),
    "gemma3_text": (CAUSAL_LMS["gemma3_text"], "model.layers.1"),
    "mixtral": (CAUSAL_LMS["mixtral"], "model.layers.0"),
}


def by_plain_hook(model, tokenizer, path, texts):
    """Activations of every token, special ones too, each text alone."""
    found = []
    hook = model.get_submodule(path).register_forward_hook(
        lambda module, args, output: found.append(output[0] if isinstance(output, tuple | list) else output)
    )
    with torch.no_grad():
        for text in texts:
            try:
                model(**tokenizer(text, return_tensors="pt"))
            except ValueError:  # T5's decoder has no inputs
                assert found
    hook.remove()
    found = [getattr(output, "last_hidden_state", output) for output in found]
    return torch.cat([output[0] for output in found])


def assert_close(one, other, tolerance=1e-5):
    """Equal to ``tolerance`` of the largest activation."""
    assert one.shape == other.shape
    assert (one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max()))


@pytest.fixture
def bert():
    model, tokenizer = CLASSIFIERS["bert"]()
    return SimpleNamespace(model=model, tokenizer=tokenizer, splitter=ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer))


class TestEquality:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_activations_are_those_of_plain_hooks_whatever_the_batch(self, family):
        factory, path = FAMILIES[family]
        model, tokenizer = factory()
        reference = by_plain_hook(model, tokenizer, path, SENTENCES)
        for size in (None, 1, 3):
            splitter = ModelWithSplitPoints(model, path, tokenizer=tokenizer, batch_size=size)
            assert_close(splitter.get_activations(SENTENCES, GRANULARITIES.ALL_TOKENS)[path], reference)

    @pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
    def test_padding_side_of_the_tokenizer_changes_nothing(self, family):
        factory, path = FAMILIES[family]
        model, tokenizer = factory()
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        rows = []
        for side in ("right", "left"):
            tokenizer.padding_side = side
            splitter = ModelWithSplitPoints(model, path, tokenizer=tokenizer)
            rows += [
                splitter.get_activations(inputs)[path]
                for inputs in (SENTENCES, tokenizer(SENTENCES, padding=True, return_tensors="pt"))
            ]
            assert tokenizer.padding_side == side
        for other in rows[1:]:
            assert_close(other, rows[0])

    def test_order_of_inputs_is_kept(self, bert):
        whole = bert.splitter.get_activations(SENTENCES, GRANULARITIES.SAMPLE)
        back = bert.splitter.get_activations(SENTENCES[::-1], GRANULARITIES.SAMPLE)
        for name in whole:
            assert_close(back[name].flip(0), whole[name])

    def test_several_split_points_are_read_in_one_pass_in_any_order(self, bert):
        passes = []
        hook = bert.model.bert.embeddings.register_forward_hook(lambda *_: passes.append(1))
        both = ModelWithSplitPoints(bert.model, [1, "bert.embeddings", 0], tokenizer=bert.tokenizer, batch_size=64)
        both.get_activations(SENTENCES)  # the first call looks at how the modules lay activations out
        passes.clear()
        found = both.get_activations([SENTENCES[3]] * 8)
        hook.remove()
        assert len(passes) == 1
        assert list(found) == ["bert.encoder.layer.1", "bert.embeddings", "bert.encoder.layer.0"]
        for name, rows in found.items():
            alone = ModelWithSplitPoints(bert.model, name, tokenizer=bert.tokenizer)
            assert_close(alone.get_activations([SENTENCES[3]] * 8)[name], rows)

    def test_nothing_runs_after_the_last_split_point(self, bert):
        splitter = ModelWithSplitPoints(bert.model, 0, tokenizer=bert.tokenizer)
        splitter.get_activations(SENTENCES)  # the first call tries padding out on the whole model
        hook = bert.model.bert.encoder.layer[1].register_forward_pre_hook(lambda *_: pytest.fail("block 1 ran"))
        splitter.get_activations(SENTENCES)
        hook.remove()

    def test_a_block_that_puts_tokens_first_is_read_as_others_are(self):
        model, tokenizer = CLASSIFIERS["xlnet"]()
        splitter = ModelWithSplitPoints(model, "transformer.layer.1", tokenizer=tokenizer)
        rows = splitter.get_activations(SENTENCES, GRANULARITIES.ALL_TOKENS)["transformer.layer.1"]
        found = []
        hook = model.transformer.layer[1].register_forward_hook(lambda m, a, output: found.append(output[0]))
        for text in SENTENCES:
            model(**tokenizer(text, return_tensors="pt"))
        hook.remove()
        assert_close(rows, torch.cat([each[:, 0] for each in found]).detach())

    def test_a_pooler_has_one_row_a_text(self, bert):
        splitter = ModelWithSplitPoints(bert.model, "bert.pooler", tokenizer=bert.tokenizer)
        rows = splitter.get_activations(SENTENCES, GRANULARITIES.SAMPLE)["bert.pooler"]
        reference = [bert.model.bert(**bert.tokenizer(text, return_tensors="pt")).pooler_output[0] for text in SENTENCES]
        assert_close(rows, torch.stack(reference).detach())
        with pytest.raises(OptionError, match="one vector per text"):
            splitter.get_activations(SENTENCES, GRANULARITIES.TOKEN)

    def test_predicted_classes_come_from_the_same_pass(self, bert):
        activations, classes = bert.splitter.get_activations(SENTENCES, include_predicted_classes=True)
        expected = [int(bert.model(**bert.tokenizer(text, return_tensors="pt")).logits.argmax()) for text in SENTENCES]
        assert classes.tolist() == expected
        for name, rows in bert.splitter.get_activations(SENTENCES).items():
            assert_close(activations[name], rows)

    def test_a_model_without_a_head_will_do(self, bert):
        headless = AutoModel.from_config(bert.model.config).eval()
        headless.load_state_dict(bert.model.bert.state_dict())
        splitter = ModelWithSplitPoints(headless, "encoder.layer.1", tokenizer=bert.tokenizer)
        (rows,) = splitter.get_activations(SENTENCES).values()
        assert_close(rows, bert.splitter.get_activations(SENTENCES)["bert.encoder.layer.1"])

    def test_a_repository_s_folder_is_loaded_with_its_own_class(self, bert, tmp_path):
        bert.model.save_pretrained(tmp_path)
        bert.tokenizer.save_pretrained(tmp_path)
        splitter = ModelWithSplitPoints(str(tmp_path), 1)
        assert type(splitter.model) is type(bert.model)
        (rows,) = splitter.get_activations(SENTENCES).values()
        assert_close(rows, bert.splitter.get_activations(SENTENCES)["bert.encoder.layer.1"])

    def test_dtype_is_kept_or_chosen(self):
        model, tokenizer = CLASSIFIERS["bert"]()
        splitter = ModelWithSplitPoints(model.bfloat16(), 0, tokenizer=tokenizer)
        for granularity in (GRANULARITIES.TOKEN, GRANULARITIES.WORD):
            (rows,) = splitter.get_activations(SENTENCES, granularity).values()
            assert rows.dtype is torch.bfloat16
        (rows,) = splitter.get_activations(SENTENCES, dtype=torch.float32).values()
        assert rows.dtype is torch.float32


class TestGranularities:
    @pytest.mark.parametrize("granularity", ["token", "word", "sentence", "sample"])
    def test_pooling_of_a_batch_is_that_of_each_text(self, bert, granularity):
        splitter, texts = ModelWithSplitPoints(bert.model, 0, tokenizer=bert.tokenizer), SENTENCES[2:]
        (tokens,) = splitter.get_activations(texts, GRANULARITIES.ALL_TOKENS).values()
        samples = splitter.samples(texts, granularity)
        hidden = tokens.split([len(sample) for sample in samples])
        for strategy in GranularityAggregationStrategy:
            (rows,) = splitter.get_activations(texts, granularity, strategy).values()
            expected = [sample.units.pool(each.T, strategy).T for sample, each in zip(samples, hidden, strict=True)]
            assert_close(rows, torch.cat(expected))

    def test_class_token(self, bert):
        rows = bert.splitter.get_activations(SENTENCES, GRANULARITIES.CLS_TOKEN)["bert.encoder.layer.1"]
        alone = [by_plain_hook(bert.model, bert.tokenizer, "bert.encoder.layer.1", [text])[0] for text in SENTENCES]
        assert_close(rows, torch.stack(alone))

    def test_class_token_that_stands_last(self):
        model, tokenizer = CLASSIFIERS["xlnet"]()
        (sample,) = ModelWithSplitPoints(model, 0, tokenizer=tokenizer).samples("Great film", "cls_token")
        assert sample.units.index.tolist() == [-1] * (len(sample) - 1) + [0]

    def test_special_tokens_are_left_out_and_unknown_words_kept(self, bert):
        text = "A шедевр, she said"
        ids = bert.tokenizer(text)["input_ids"]
        assert bert.tokenizer.unk_token_id in ids
        (sample,) = bert.splitter.samples(text)
        assert len(sample.units) == len(ids) - 2
        assert "шедевр" in sample.units.texts
        assert len(bert.splitter.get_activations(text)["bert.encoder.layer.0"]) == len(ids) - 2
        assert len(bert.splitter.get_activations(text, GRANULARITIES.ALL_TOKENS)["bert.encoder.layer.0"]) == len(ids)

    def test_padding_that_is_the_end_token_is_left_out_by_its_mask(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        tokenizer.pad_token = tokenizer.eos_token
        splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
        batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
        for granularity in (GRANULARITIES.TOKEN, GRANULARITIES.ALL_TOKENS):
            (rows,) = splitter.get_activations(batch, granularity).values()
            assert len(rows) == int(batch["attention_mask"].sum())

    def test_rows_answer_to_the_samples_units(self, bert):
        for granularity in [
            *GRANULARITIES,
            Granularity.PARAGRAPH,
            lambda text: [(0, len(text) // 2), (len(text) // 2, len(text))],
        ]:
            samples = bert.splitter.samples(SENTENCES, granularity)
            rows = bert.splitter.get_activations(SENTENCES, granularity)["bert.encoder.layer.0"]
            assert len(rows) == sum(len(sample.units) for sample in samples)

    def test_units_read_as_the_text_does(self, bert):
        (sample,) = bert.splitter.samples("It's not a bad film.", "word")
        assert sample.units.texts == ("It's", "not", "a", "bad", "film", ".")
        (sample,) = bert.splitter.samples("An unbelievable film", "token")
        assert not any("##" in text for text in sample.units.texts)

    def test_attribution_granularities_mean_the_same(self, bert):
        for granularity in (Granularity.WORD, "WORD", "word", ActivationGranularity.WORD):
            assert len(bert.splitter.samples("A bad film", granularity)[0].units) == 3


class TestInputs:
    def test_every_form_of_input_gives_the_same_rows(self, bert):
        texts = SENTENCES[:4]
        reference = bert.splitter.get_activations(texts)["bert.encoder.layer.1"]
        encoded = bert.tokenizer(texts, padding=True, return_tensors="pt")
        forms = {
            "generator": (text for text in texts),
            "column": SimpleColumn(texts),
            "batch": encoded,
            "dictionary": dict(encoded),
            "ids": [torch.tensor(bert.tokenizer(text)["input_ids"]) for text in texts],
            "mixed": [texts[0], encoded["input_ids"][1][encoded["attention_mask"][1].bool()], texts[2], texts[3]],
        }
        for name, form in forms.items():
            rows = bert.splitter.get_activations(form)["bert.encoder.layer.1"]
            assert rows.shape == reference.shape, name
            assert_close(rows, reference)
        with pytest.raises(InputError, match="got a tuple of 4 texts, and a tuple of two is a pair"):
            bert.splitter.get_activations(tuple(texts))

    def test_forty_rows_in_forty_out(self, bert):
        batch = bert.tokenizer(SENTENCES * 5, padding=True, return_tensors="pt")
        rows, classes = bert.splitter.get_activations(batch, GRANULARITIES.SAMPLE, include_predicted_classes=True)
        assert len(rows["bert.encoder.layer.0"]) == len(classes) == 40

    def test_generators_are_read_as_they_go(self, bert):
        splitter = ModelWithSplitPoints(bert.model, 0, tokenizer=bert.tokenizer, batch_size=2)
        taken, seen = 0, []

        def texts():
            nonlocal taken
            for i in range(2000):
                taken += 1
                yield SENTENCES[i % 8]

        for sample in splitter.iter_samples(texts(), "token"):
            seen.append(sample)
            if len(seen) == 300:
                break
        assert taken <= 600

    def test_texts_tokenized_together_are_as_those_tokenized_alone(self):
        from interpreto.inputs.streaming import encodings

        for factory in CLASSIFIERS.values():
            model, tokenizer = factory()
            encoder = ModelWithSplitPoints(model, 0, tokenizer=tokenizer).reader
            texts = [*SENTENCES, " two  spaces ", "A\n\nB"]
            for one, other in zip(encodings(encoder, texts), encoder(texts), strict=True):
                assert astuple(one.tokens) == astuple(other.tokens)
                assert torch.equal(one.input_ids, other.input_ids)
                assert {k: v.tolist() for k, v in one.extras.items()} == {k: v.tolist() for k, v in other.extras.items()}


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_long_texts_are_read_up_to_the_models_limit_where_that_is_asked_for(family):
    model, tokenizer = CLASSIFIERS[family]()
    long, limit = " ".join(SENTENCES) * 9, 128
    cut = tokenizer(long, truncation=True, max_length=limit, return_tensors="pt")
    for kind, options in ((ModelWithSplitPoints, {"split_points": [1]}), (SplitterForClassification, {})):
        with pytest.raises(InputError, match=r"`inputs\[1\]`: \d+ tokens, and the model takes 128; .*truncation=True"):
            kind(model, tokenizer=tokenizer, **options).get_activations([SENTENCES[0], long])
        splitter = kind(model, tokenizer=tokenizer, truncation=True, **options)
        (sample,) = splitter.samples([long])
        assert torch.equal(sample.input_ids, cut["input_ids"][0])
        whole, alone = splitter.get_activations([SENTENCES[0], long]), splitter.get_activations([cut["input_ids"][0]])
        whole, alone = (next(iter(a.values())) if isinstance(a, dict) else a[0] for a in (whole, alone))
        torch.testing.assert_close(whole[-len(alone) :], alone, atol=1e-5, rtol=1e-5)


class SimpleColumn:
    """As a column of a data set: an iterable with a length that is no list."""

    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __iter__(self):
        return iter(self.texts)


def state(model, tokenizer):
    return {
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), sorted(m.__dict__)) for m in model.modules()],
        "training": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [p.grad is None for p in model.parameters()],
        "weights": [p.detach().clone() for p in model.parameters()],
        "config": model.config.to_dict(),
        "tokenizer": (len(tokenizer), tokenizer.pad_token, tokenizer.padding_side, tokenizer.backend_tokenizer.to_str()),
        "random": torch.get_rng_state(),
        "gradients": torch.is_grad_enabled(),
    }


def assert_same(before, after):
    for key in ("weights", "random"):
        one, other = before.pop(key), after.pop(key)
        assert (
            torch.equal(torch.cat([p.flatten() for p in one]), torch.cat([p.flatten() for p in other]))
            if key == "weights"
            else torch.equal(one, other)
        )
    assert before == after


class TestHandsOff:
    @pytest.mark.parametrize("family", ["bert", "gpt2"])
    def test_nothing_of_the_user_s_is_changed(self, family):
        model, tokenizer = CLASSIFIERS[family]()
        model.train()
        tokenizer.backend_tokenizer.enable_truncation(7)
        before = state(model, tokenizer)
        splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
        splitter.get_activations(SENTENCES, GRANULARITIES.WORD, include_predicted_classes=True)
        samples = splitter.samples(SENTENCES)
        name = splitter.split_points[0]
        hidden = splitter.batch_activations(samples, name)
        splitter.outputs_from(samples, hidden.requires_grad_(), name).sum().backward()
        splitter.edited_outputs(SENTENCES, lambda x: x, name)
        assert_same(before, state(model, tokenizer))

    def test_nothing_is_changed_by_a_call_that_fails(self, bert):
        before = state(bert.model, bert.tokenizer)

        def fail(hidden):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            bert.splitter.edited_outputs(SENTENCES, fail, "bert.encoder.layer.0")
        with pytest.raises(InputError):
            bert.splitter.get_activations([*SENTENCES, ""])
        assert_same(before, state(bert.model, bert.tokenizer))

    def test_extractions_leave_no_tensors_behind_and_do_not_slow_down(self, bert):
        def live():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

        splitter = ModelWithSplitPoints(bert.model, 0, tokenizer=bert.tokenizer)
        splitter.get_activations(SENTENCES)
        samples = splitter.samples(SENTENCES)
        splitter.outputs_from(samples, splitter.batch_activations(samples))
        gc.collect()
        gc.disable()
        try:
            before = live()
            for _ in range(200):
                splitter.get_activations(SENTENCES[0])
            for _ in range(5):
                splitter.edited_outputs(samples, lambda x: x + 0)
                splitter.outputs_from(samples, splitter.batch_activations(samples))
            assert live() == before
        finally:
            gc.enable()

    def test_threads_do_not_disturb_each_other_nor_a_plain_pass(self, bert):
        splitters = [ModelWithSplitPoints(bert.model, i, tokenizer=bert.tokenizer) for i in (0, 1)]
        expected = [next(iter(splitter.get_activations(SENTENCES).values())) for splitter in splitters]
        batch = bert.tokenizer(SENTENCES, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = bert.model(**batch).logits
        wrong = []

        def read(i):
            for _ in range(15):
                (rows,) = splitters[i].get_activations(SENTENCES).values()
                if not torch.equal(rows, expected[i]):
                    wrong.append(i)

        def run():
            for _ in range(15):
                with torch.no_grad():
                    if not torch.equal(bert.model(**batch).logits, logits):
                        wrong.append("plain")

        threads = [
            threading.Thread(target=read, args=(0,)),
            threading.Thread(target=read, args=(1,)),
            threading.Thread(target=run),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_hooks_and_other_tracers_of_the_user_stay_at_work(self, bert):
        import nnsight

        expected = bert.splitter.get_activations(SENTENCES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = nnsight.NNsight(bert.model)
        seen = []
        hook = bert.model.bert.encoder.layer[0].register_forward_hook(lambda *_: seen.append(1))
        for name, rows in bert.splitter.get_activations(SENTENCES).items():
            assert_close(rows, expected[name])
        samples = bert.splitter.samples(SENTENCES)
        hidden = bert.splitter.batch_activations(samples, "bert.encoder.layer.1")
        bert.splitter.outputs_from(samples, hidden, "bert.encoder.layer.1")
        hook.remove()
        assert seen
        assert "forward" in vars(bert.model.bert.encoder.layer[0])  # nnsight's own, put back
        assert net is not None


class TestNNsight:
    """The same by nnsight's traces."""

    def test_no_optional_package_is_loaded_before_it_is_asked_for(self):
        code = """
import sys
import interpreto.concepts
from interpreto.concepts import PCAConcepts, TopKSAEConcepts, load_concepts
def loaded():
    return {"nnsight", "overcomplete", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
assert not loaded(), loaded()
from interpreto import demo
from interpreto.concepts.splitters import ModelWithSplitPoints
model, tokenizer = demo.load_classifier()
ModelWithSplitPoints(model, 0, tokenizer=tokenizer).get_activations("Fine.")
assert not {"nnsight", "overcomplete"} & loaded(), loaded()
assert not hasattr(object(), "save")
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    @pytest.mark.parametrize("family", ["bert", "gpt2", "xlnet"])
    def test_both_backends_read_and_edit_alike(self, family):
        model, tokenizer = CLASSIFIERS[family]()
        hooks, traces = (ModelWithSplitPoints(model, [1, 0], tokenizer=tokenizer, backend=b) for b in ("hooks", "nnsight"))
        for granularity in (GRANULARITIES.TOKEN, GRANULARITIES.SAMPLE):
            expected = hooks.get_activations(SENTENCES, granularity, include_predicted_classes=True)
            found = traces.get_activations(SENTENCES, granularity, include_predicted_classes=True)
            assert torch.equal(found[1], expected[1])
            early = traces.get_activations(SENTENCES, granularity)
            for name in hooks.split_points:
                assert_close(found[0][name], expected[0][name])
                assert_close(early[name], expected[0][name])
        samples, name = hooks.samples(SENTENCES[3]), hooks.split_points[1]
        gradients = []
        for splitter in (hooks, traces):
            hidden = splitter.batch_activations(samples, name).requires_grad_()
            outputs = splitter.outputs_from(samples, hidden, name)
            gradients.append(torch.autograd.grad(outputs[:, 0].sum(), hidden)[0])
            edited = splitter.edited_outputs(samples, lambda x: 0 * x, name)
            assert (edited - outputs).abs().max() > 1e-3
        assert_close(gradients[1], gradients[0])
        assert gradients[0].abs().max() > 0

    def test_the_held_model_traces(self, bert):
        import nnsight

        net = bert.splitter.nnsight_model
        assert bert.splitter.nnsight is net
        batch = bert.tokenizer(SENTENCES[0], return_tensors="pt")
        with torch.no_grad(), net.trace(**batch):
            hidden = nnsight.save(net.bert.encoder.layer[0].output)
        rows = bert.splitter.get_activations(SENTENCES[0], GRANULARITIES.ALL_TOKENS)["bert.encoder.layer.0"]
        assert_close(rows, hidden[0])


class TestErrors:
    def test_unknown_split_point_lists_its_neighbors(self, bert):
        with pytest.raises(
            OptionError, match=r"no module 'bert.encoder.layer.7'. Under 'bert.encoder.layer' it has: .*layer.0.*layer.1"
        ):
            ModelWithSplitPoints(bert.model, "bert.encoder.layer.7", tokenizer=bert.tokenizer)
        with pytest.raises(OptionError, match=r"At its root it has: 'bert', 'dropout', 'classifier'"):
            ModelWithSplitPoints(bert.model, "brt.encoder", tokenizer=bert.tokenizer)

    @pytest.mark.parametrize(
        ("points", "message"), [(2, "got block 2.*-2 to 1"), ([], "empty list"), ([True], "got True"), ("", "no module ''")]
    )
    def test_split_points_that_are_none(self, bert, points, message):
        with pytest.raises(OptionError, match=message):
            ModelWithSplitPoints(bert.model, points, tokenizer=bert.tokenizer)

    def test_blocks_by_number_count_from_either_end(self, bert):
        assert ModelWithSplitPoints(bert.model, [-1, 0, 1], tokenizer=bert.tokenizer).split_points == [
            "bert.encoder.layer.1",
            "bert.encoder.layer.0",
        ]

    def test_a_number_where_there_are_two_stacks_of_blocks(self):
        model, tokenizer = SEQ2SEQ["bart"]()
        with pytest.raises(OptionError, match=r"several stacks of blocks.*encoder.layers.*decoder.layers"):
            ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
        with pytest.raises(ModelError, match="in the decoder"):
            ModelWithSplitPoints(model, "model.decoder.layers.0", tokenizer=tokenizer)

    @pytest.mark.parametrize("family", SEQ2SEQ)
    def test_the_encoder_of_an_encoder_decoder(self, family):
        model, tokenizer = SEQ2SEQ[family]()
        path = {"t5": "encoder.block.1", "bart": "model.encoder.layers.1"}[family]
        splitter = ModelWithSplitPoints(model, path, tokenizer=tokenizer)
        assert_close(splitter.get_activations(SENTENCES, "all_tokens")[path], by_plain_hook(model, tokenizer, path, SENTENCES))
        samples = splitter.samples(SENTENCES)
        hidden = splitter.batch_activations(samples)
        assert_close(splitter.outputs_from(samples, hidden), splitter.edited_outputs(samples, lambda x: x))

    def test_options(self, bert):
        make = ModelWithSplitPoints
        with pytest.raises(TokenizerError, match="`tokenizer`: got None"):
            make(bert.model, 0)
        with pytest.raises(TokenizerError, match="`tokenizer`: got int"):
            make(bert.model, 0, tokenizer=3)
        with pytest.raises(OptionError, match="`batch_size`: got 0"):
            make(bert.model, 0, tokenizer=bert.tokenizer, batch_size=0)
        with pytest.raises(OptionError, match="`device_map`"):
            make(bert.model, 0, tokenizer=bert.tokenizer, device_map="meta")
        with pytest.raises(OptionError, match="`model_or_repo_id`: got dict"):
            make({}, 0, tokenizer=bert.tokenizer)
        with pytest.raises(OptionError, match="`backend`: got 'magic'"):
            make(bert.model, 0, tokenizer=bert.tokenizer, backend="magic")
        with pytest.raises(OptionError, match="`activation_granularity`: got 'phrase'"):
            bert.splitter.get_activations(SENTENCES, "phrase")
        with pytest.raises(OptionError, match="`aggregation_strategy`: got 'median'"):
            bert.splitter.get_activations(SENTENCES, "word", "median")
        with pytest.raises(OptionError, match=r"`split_point`: got None; pass one of 'bert.encoder.layer.0'"):
            bert.splitter.batch_activations(bert.splitter.samples(SENTENCES))

    def test_inputs(self, bert):
        for inputs, message in (
            ([], "nothing in it"),
            (5, "got int"),
            ([*SENTENCES, "  "], r"`inputs\[8\]`: the text is empty"),
            (["word " * 500], r"`inputs\[0\]`: .* tokens, and the model takes 128"),
            ([{"text": "no ids"}], "without 'input_ids'"),
            ([torch.tensor([bert.tokenizer.cls_token_id, bert.tokenizer.sep_token_id])], "no unit: all its tokens are special"),
        ):
            with pytest.raises(InputError, match=message):
                bert.splitter.get_activations(inputs)

    def test_class_token_where_there_is_none(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        with pytest.raises(TokenizerError, match="no class token"):
            ModelWithSplitPoints(model, 0, tokenizer=tokenizer).get_activations(SENTENCES, GRANULARITIES.CLS_TOKEN)

    def test_classes_of_a_language_model(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        with pytest.raises(TaskError, match="only a classifier"):
            ModelWithSplitPoints(model, 0, tokenizer=tokenizer).get_activations(SENTENCES, include_predicted_classes=True)

    def test_a_module_that_does_not_run(self, bert):
        bert.model.spare = torch.nn.Linear(2, 2)
        with pytest.raises(ModelError, match="'spare' does not run"):
            ModelWithSplitPoints(bert.model, "spare", tokenizer=bert.tokenizer).get_activations(SENTENCES)

    def test_activations_that_are_not_finite(self, bert):
        bert.model.bert.encoder.layer[0].output.LayerNorm.bias.data[3] = float("nan")
        with pytest.raises(ModelError, match=r"'bert.encoder.layer.0' are not finite"):
            bert.splitter.get_activations(SENTENCES)

    def test_tokenizer_of_slow_kind_takes_ids_only(self):
        assert unigram().is_fast  # texts need one; ids do not: see test_encoding


def test_a_window_holds_few_activations_of_a_wide_model(monkeypatch):
    model, tokenizer = CLASSIFIERS["bert"]()
    split = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)._recorder
    tokens = split.budget.tokens
    assert split._window() == 64 * tokens
    monkeypatch.setattr(model.config, "hidden_size", 2**13)
    assert split._window() == 2**29 // (4 * 2**13 * 2)
    monkeypatch.setattr(model.config, "hidden_size", 2**20)
    assert split._window() == 4 * tokens
    assert ModelWithSplitPoints(model, [0], tokenizer=tokenizer, batch_size=3)._recorder._window() == 48
