"""Splitters for classification and for generation."""

import pytest
import torch

from interpreto import demo
from interpreto.concepts import PCAConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import InputError, ModelError, OptionError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES, chat_lm


def logits_of(model, tokenizer, texts):
    with torch.no_grad():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])


class TestClassification:
    @pytest.mark.parametrize("family", CLASSIFIERS)
    def test_the_logits_follow_from_the_activations(self, family):
        model, tokenizer = CLASSIFIERS[family]()
        expected = logits_of(model, tokenizer, SENTENCES)
        for size in (None, 3):
            splitter = SplitterForClassification(model, tokenizer=tokenizer, batch_size=size)
            activations = splitter.inputs_to_activations(SENTENCES)
            assert activations.shape == (len(SENTENCES), 32)
            outputs = splitter.activations_to_outputs(activations)
            assert (outputs - expected).abs().max() <= 1e-5
            rows, classes = splitter.get_activations(SENTENCES)
            assert (rows - activations).abs().max() <= 1e-5
            assert torch.equal(classes, expected.argmax(-1))

    @pytest.mark.parametrize(
        ("family", "split_point", "read"),
        [
            ("bert", "classifier", lambda m, e: m.bert(**e).pooler_output),
            ("bert", "bert.pooler", lambda m, e: m.bert(**e).pooler_output),
            ("bert", -1, lambda m, e: m.bert(**e).last_hidden_state[:, 0]),
            ("roberta", None, lambda m, e: m.roberta(**e).last_hidden_state[:, 0]),
            ("distilbert", "pre_classifier", lambda m, e: m.pre_classifier(m.distilbert(**e).last_hidden_state[:, 0])),
            ("gpt2", None, lambda m, e: m.transformer(**e).last_hidden_state[:, -1]),
            ("llama", "model.norm", lambda m, e: m.model(**e).last_hidden_state[:, -1]),
        ],
    )
    def test_what_is_read(self, family, split_point, read):
        model, tokenizer = CLASSIFIERS[family]()
        splitter = SplitterForClassification(model, split_point, tokenizer)
        with torch.no_grad():
            expected = torch.cat([read(model, tokenizer(text, return_tensors="pt")) for text in SENTENCES])
        assert (splitter.inputs_to_activations(SENTENCES) - expected).abs().max() <= 1e-5
        outputs = splitter.activations_to_outputs(expected)
        assert (outputs - logits_of(model, tokenizer, SENTENCES)).abs().max() <= 1e-5

    def test_a_split_point_that_one_vector_does_not_decide(self):
        for family, split_point in (("bert", 0), ("gpt2", "transformer.h.0"), ("bert", "bert.embeddings")):
            model, tokenizer = CLASSIFIERS[family]()
            with pytest.raises(ModelError, match="do not follow from one vector per text"):
                SplitterForClassification(model, split_point, tokenizer)

    @pytest.mark.parametrize(
        ("family", "split_point"), [("bert", None), ("roberta", None), ("distilbert", "pre_classifier"), ("gpt2", None)]
    )
    def test_gradients_are_those_of_autograd_and_reach_no_parameter(self, family, split_point):
        model, tokenizer = CLASSIFIERS[family]()
        splitter = SplitterForClassification(model, split_point, tokenizer)
        activations = splitter.inputs_to_activations(SENTENCES).double().float().requires_grad_()
        (gradients,) = torch.autograd.grad(splitter.activations_to_outputs(activations)[:, 2].sum(), activations)
        step = 1e-2 * torch.randn(activations.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            up, down = (splitter.activations_to_outputs(activations + sign * step)[:, 2] for sign in (1, -1))
        assert torch.allclose((gradients * step).sum(-1), (up - down) / 2, atol=1e-4)
        splitter.activations_to_outputs(activations).sum().backward()
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_edits_and_the_upper_half(self):
        model, tokenizer = CLASSIFIERS["gpt2"]()
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        samples = splitter.samples(SENTENCES)
        hidden = splitter.batch_activations(samples)
        expected = model.score(2 * hidden).detach()
        assert torch.allclose(splitter.edited_outputs(SENTENCES, lambda given: 2 * given), expected, atol=1e-5)
        assert torch.allclose(splitter.outputs_from(samples, 2 * hidden), expected, atol=1e-5)
        assert [sample.units.texts for sample in samples] == [(text,) for text in SENTENCES]

    def test_a_wrapped_head_and_a_compiled_model(self):
        model, tokenizer = CLASSIFIERS["bert"]()
        expected = logits_of(model, tokenizer, SENTENCES)
        compiled = torch.compile(model, backend="eager")
        model.classifier = torch.nn.Sequential(torch.nn.Sequential(model.classifier), torch.nn.Identity())
        splitter = SplitterForClassification(compiled, tokenizer=tokenizer)
        assert splitter.split_points == ["classifier"]
        outputs = splitter.activations_to_outputs(splitter.inputs_to_activations(SENTENCES))
        assert (outputs - expected).abs().max() <= 1e-5

    def test_low_precision(self):
        model, tokenizer = CLASSIFIERS["bert"]()
        splitter = SplitterForClassification(model.bfloat16(), tokenizer=tokenizer)
        rows, classes = splitter.get_activations(SENTENCES)
        assert rows.dtype is torch.bfloat16
        assert splitter.get_activations(SENTENCES, dtype=torch.float32)[0].dtype is torch.float32
        assert torch.equal(classes, logits_of(model, tokenizer, SENTENCES).argmax(-1))

    def test_the_embedded_classifier(self):
        model, tokenizer = demo.load_classifier()
        texts = [sentence.text for sentence in demo.load_sentences()[:200]]
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        rows, classes = splitter.get_activations(text for text in texts)
        expected = logits_of(model, tokenizer, texts)
        assert (splitter.activations_to_outputs(rows) - expected).abs().max() <= 1e-5
        assert torch.equal(classes, expected.argmax(-1))

    def test_what_is_refused(self):
        model, tokenizer = CLASSIFIERS["bert"]()
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        with pytest.raises(OptionError, match="one row per text"):
            splitter.samples(SENTENCES, "word")
        with pytest.raises(OptionError, match=r"`activations`: got shape \(32,\)"):
            splitter.activations_to_outputs(torch.zeros(32))
        with pytest.raises(OptionError, match=r"got shape \(2, 31\); pass \(n, 32\)"):
            splitter.activations_to_outputs(torch.zeros(2, 31))
        with pytest.raises(OptionError, match="`hidden`: got 1 rows for 8 samples"):
            splitter.outputs_from(splitter.samples(SENTENCES), torch.zeros(1, 32))
        lm, lm_tokenizer = CAUSAL_LMS["gpt2"]()
        with pytest.raises(ModelError, match="classification head"):
            SplitterForClassification(lm, tokenizer=lm_tokenizer)


class TestGeneration:
    @pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gemma3_text", "mamba"])
    def test_activations_of_a_text_and_of_what_the_model_writes(self, family):
        model, tokenizer = CAUSAL_LMS[family]()
        splitter = SplitterForGeneration(model, -1, tokenizer, max_new_tokens=5)
        samples = splitter.samples(SENTENCES[:3], "all_tokens")
        (rows,) = splitter.get_activations(SENTENCES[:3], "all_tokens").values()
        found = []
        for text, sample in zip(SENTENCES[:3], samples, strict=True):
            prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            written = model.generate(**prompt, max_new_tokens=5, do_sample=False, pad_token_id=tokenizer.eos_token_id)
            assert sample.input_ids.tolist() == written[0].tolist()
            assert sample.prompt == prompt["input_ids"].shape[1]
            assert sample.text.startswith(text)
            with torch.no_grad():
                hook = model.get_submodule(splitter.split_points[0]).register_forward_hook(
                    lambda m, a, output: found.append((output[0] if isinstance(output, tuple) else output)[0])
                )
                model(written)
                hook.remove()
        expected = torch.cat(found)
        assert rows.shape == expected.shape
        assert (rows - expected).abs().max() <= 1e-5 * max(1, float(expected.abs().max()))

    @pytest.mark.parametrize("granularity", ["token", "all_tokens", "word", "sample"])
    def test_parts_make_the_whole(self, granularity):
        model, tokenizer = CAUSAL_LMS["llama"]()
        counts, rows = {}, {}
        for part in ("all", "prompt", "generated"):
            splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3, part=part)
            samples = splitter.samples(SENTENCES[:3], granularity)
            counts[part] = [len(sample.units) for sample in samples]
            rows[part] = splitter.activations_of(samples).split(counts[part])
        if granularity == "sample":
            assert counts["all"] == counts["prompt"] == counts["generated"] == [1, 1, 1]
            return
        assert counts["all"] == [a + b for a, b in zip(counts["prompt"], counts["generated"], strict=True)]
        for whole, prompt, generated in zip(rows["all"], rows["prompt"], rows["generated"], strict=True):
            assert torch.allclose(whole, torch.cat([prompt, generated]), atol=1e-5)

    def test_a_part_s_text_is_pooled_over_its_own_tokens(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        for part in ("prompt", "generated"):
            splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3, part=part)
            (tokens,), (whole,) = (splitter.get_activations(SENTENCES[:1], g).values() for g in ("token", "sample"))
            assert torch.allclose(whole[0], tokens.mean(0), atol=1e-6)
            (sample,) = splitter.samples(SENTENCES[0], "sample")
            assert sample.units.texts == ((SENTENCES[0],) if part == "prompt" else (sample.text[len(SENTENCES[0]) :],))

    def test_special_tokens_in_or_out(self):
        model, tokenizer = CAUSAL_LMS["llama"]()
        model.generation_config.eos_token_id = int(
            SplitterForGeneration(model, 0, tokenizer, max_new_tokens=32).samples(SENTENCES[1])[0].input_ids[-30]
        )
        splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3)
        inside, outside = (splitter.samples(SENTENCES[0], unit)[0] for unit in ("all_tokens", "token"))
        assert len(inside.units) == len(inside)
        special = sum(int(i) in tokenizer.all_special_ids for i in inside.input_ids)
        assert special >= 1
        assert len(outside.units) == len(inside) - special

    def test_what_follows_the_end_is_cut(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        free = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=6).samples(SENTENCES[1])[0]
        answer = free.input_ids[free.prompt :].tolist()
        end = answer[2]
        model.generation_config.eos_token_id = [end]
        texts = [SENTENCES[1], SENTENCES[1] + ""] * 2
        for sample in SplitterForGeneration(model, 0, tokenizer, max_new_tokens=6).samples(texts):
            assert sample.input_ids[sample.prompt :].tolist() == answer[: answer.index(end) + 1]

    def test_no_new_tokens_is_reading(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        rows = SplitterForGeneration(model, 1, tokenizer, max_new_tokens=0).get_activations(SENTENCES)
        expected = ModelWithSplitPoints(model, 1, tokenizer=tokenizer).get_activations(SENTENCES)
        assert torch.equal(rows["transformer.h.1"], expected["transformer.h.1"])

    def test_draws_have_their_own_seed(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        before = torch.get_rng_state()
        options = {"do_sample": True, "temperature": 2.0}

        def draw(seed, texts):
            splitter = SplitterForGeneration(
                model, 0, tokenizer, max_new_tokens=6, generation_kwargs=options, random_state=seed
            )
            return [sample.input_ids.tolist() for sample in splitter.samples(texts)]

        assert draw(0, SENTENCES[:3]) == draw(0, SENTENCES[:3])
        assert draw(0, SENTENCES[:3])[1] == draw(0, SENTENCES[1:2])[0]  # whatever the company
        assert draw(0, SENTENCES[:3]) != draw(1, SENTENCES[:3])
        assert torch.equal(before, torch.get_rng_state())

    def test_the_answer_to_a_chat_begins_where_the_template_says(self):
        model, tokenizer = chat_lm()
        chat = [{"role": "user", "content": "Is it good?"}]
        (sample,) = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3).samples([chat])
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert sample.text.startswith(prompt)
        assert sample.prompt == len(tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def test_steering_moves_the_next_token(self):
        model, tokenizer = CAUSAL_LMS["qwen2"]()
        splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=2)
        samples = splitter.samples(SENTENCES)
        hidden = splitter.batch_activations(samples)
        plain, turned = splitter.outputs_from(samples, hidden), splitter.outputs_from(samples, hidden.flip(-1))
        assert plain.shape == (8, max(map(len, samples)), len(tokenizer))
        assert (plain - turned).abs().max() > 1e-2

    def test_nothing_of_the_user_s_is_changed(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        model.train()
        before = model.generation_config.to_dict(), model.config.to_dict(), tokenizer.pad_token
        SplitterForGeneration(model, 0, tokenizer, max_new_tokens=2).get_activations(SENTENCES)
        assert before == (model.generation_config.to_dict(), model.config.to_dict(), tokenizer.pad_token)
        assert model.training

    def test_prompts_are_cut_so_that_answer_and_targets_find_room(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        long = " ".join(SENTENCES) * 9
        with pytest.raises(InputError, match=r"`inputs\[1\]`: \d+ tokens, and the model takes 128; .*truncation=True"):
            SplitterForGeneration(model, 0, tokenizer, max_new_tokens=5).samples([SENTENCES[0], long])
        splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=5, truncation=True)
        short, cut = splitter.samples([SENTENCES[0], long])
        assert cut.prompt == 123
        assert cut.input_ids[:123].tolist() == tokenizer(long, truncation=True, max_length=123)["input_ids"]
        assert short.input_ids.tolist()[: short.prompt] == tokenizer(SENTENCES[0])["input_ids"]
        explainer = PCAConcepts(splitter, 2).fit(splitter.get_activations(SENTENCES))
        (found,) = explainer.concept_output_gradient([long], targets=[" yes"])
        assert found.shape[1:] == (123 + len(tokenizer(" yes")["input_ids"]), 2)

    def test_what_is_refused(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        with pytest.raises(OptionError, match="`max_new_tokens`"):
            SplitterForGeneration(model, 0, tokenizer, max_new_tokens=-1)
        with pytest.raises(OptionError, match="'num_return_sequences' is not for it"):
            SplitterForGeneration(model, 0, tokenizer, generation_kwargs={"num_return_sequences": 2})
        with pytest.raises(InputError, match=r"`inputs\[7\]`: .* `max_new_tokens=120` are more than the 128"):
            SplitterForGeneration(model, 0, tokenizer, max_new_tokens=120).samples(SENTENCES)


def test_texts_are_read_and_not_continued_unless_asked():
    model, tokenizer = CAUSAL_LMS["gpt2"]()
    read = SplitterForGeneration(model, 0, tokenizer)
    (rows,) = read.get_activations(SENTENCES).values()
    (others,) = ModelWithSplitPoints(model, 0, tokenizer=tokenizer).get_activations(SENTENCES).values()
    torch.testing.assert_close(rows, others)
    with pytest.raises(OptionError, match="pass `max_new_tokens` too"):
        SplitterForGeneration(model, 0, tokenizer, part="generated")
