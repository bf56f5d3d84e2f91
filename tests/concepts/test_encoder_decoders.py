"""Concepts of models whose encoder reads the text and whose decoder writes the answer."""

import pytest
import torch

from interpreto import plot_concepts
from interpreto.concepts import NeuronsAsConcepts, PCAConcepts
from interpreto.concepts.interpretations import TopKInputs
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForGeneration
from interpreto.errors import InputError, ModelError, OptionError, TaskError
from interpreto.metrics.concepts import ConceptDeletion, LossRecovered
from interpreto.metrics.concepts.perturbation_curves import ConceptScores
from tests.tiny import CLASSIFIERS, SENTENCES, SEQ2SEQ

POINTS = {
    "t5": ("encoder.block.0", "decoder.block.0"),
    "bart": ("model.encoder.layers.0", "model.decoder.layers.0"),
}
EVERY = [(family, stack) for family in POINTS for stack in (0, 1)]
FEW = SENTENCES[1:4]


def writing(family):
    """A model that writes what it reads of, and not its padding."""
    model, tokenizer = SEQ2SEQ[family]()
    model.generation_config.suppress_tokens = sorted(set(tokenizer.all_special_ids) - {tokenizer.eos_token_id})
    return model, tokenizer


def split(family, stack, **options):
    model, tokenizer = writing(family)
    return SplitterForGeneration(model, POINTS[family][stack], tokenizer, **{"max_new_tokens": 5, **options})


def run(splitter, sample, change=None):
    """Activations of one sample at a split point and the model's logits, by a plain hook and the model's own arguments."""
    found = []

    def hook(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden if change is None else change(hidden)
        found.append(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = splitter.model.get_submodule(splitter.split_points[0]).register_forward_hook(hook)
    ids = sample.input_ids[None]
    logits = splitter.model(input_ids=ids[:, : sample.source], decoder_input_ids=ids[:, sample.source :]).logits
    handle.remove()
    return found[0][0], logits[0]


def own(splitter, sample):
    """The tokens of the split point's stack."""
    return slice(0, sample.source) if "encoder" in splitter.split_points[0] else slice(sample.source, len(sample))


def close(one, other, tolerance=1e-5):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_activations_are_those_of_the_text_or_of_what_the_model_writes(family, stack, backend):
    splitter = split(family, stack, backend=backend)
    samples, (rows,) = splitter.samples(SENTENCES, "all_tokens"), splitter.get_activations(SENTENCES, "all_tokens").values()
    expected = []
    for text, sample in zip(SENTENCES, samples, strict=True):
        prompt = splitter.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        written = splitter.model.generate(**prompt, max_new_tokens=5, do_sample=False)
        assert sample.input_ids.tolist() == prompt["input_ids"][0].tolist() + written[0].tolist()
        assert sample.text.startswith(text)
        with torch.no_grad():
            expected.append(run(splitter, sample)[0])
        assert sample.units.free.nonzero()[:, 0].tolist() == list(range(len(sample)))[own(splitter, sample)]
    close(rows, torch.cat(expected))
    close(splitter.activations_of(samples), rows)
    alone = torch.cat([splitter.activations_of([sample]) for sample in samples])
    close(alone, rows)


@pytest.mark.parametrize(("family", "stack"), EVERY)
@pytest.mark.parametrize("granularity", ["token", "word", "sentence", "sample"])
def test_units_are_of_one_side_and_read_as_text(family, stack, granularity):
    splitter = split(family, stack)
    samples = splitter.samples(SENTENCES, granularity)
    (rows,) = splitter.get_activations(SENTENCES, granularity).values()
    everything = splitter.activations_of(splitter.samples(SENTENCES, "all_tokens"))
    (tokens,) = splitter.get_activations(SENTENCES, "all_tokens").values()
    assert torch.equal(tokens, everything)
    expected, start = [], 0
    for text, sample in zip(SENTENCES, samples, strict=True):
        part = own(splitter, sample)
        length = part.stop - part.start
        index = sample.units.index[part]
        assert int(sample.units.free.sum()) == int((index >= 0).sum())
        expected += [tokens[start : start + length][index == unit].mean(0) for unit in range(len(sample.units))]
        start += length
        for unit, (a, b) in zip(sample.units.texts, sample.units.spans, strict=True):
            assert sample.text[a:b] == unit or not sample.text[a:b].strip()  # which is shown as the vocabulary spells it
            assert b <= len(text) if stack == 0 else a > len(text)
    close(rows, torch.stack(expected))


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_the_model_runs_on_from_activations_and_from_edited_ones(family, stack, backend):
    splitter = split(family, stack, backend=backend)
    samples = splitter.samples(SENTENCES[:4])
    step = torch.randn(32, generator=torch.Generator().manual_seed(0))
    hidden = splitter.batch_activations(samples)
    assert hidden.shape == (4, max(map(len, samples)), 32)
    same, moved = splitter.outputs_from(samples, hidden), splitter.edited_outputs(samples, lambda h: h + step)
    for i, sample in enumerate(samples):
        written = len(sample) - sample.source
        with torch.no_grad():
            activations, logits = run(splitter, sample)
            close(hidden[i, own(splitter, sample)], activations)
            close(same[i, :written], logits)
            close(moved[i, :written], run(splitter, sample, lambda h: h + step)[1], 1e-4)
    assert (moved - same).abs().max() > 1e-2


@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_what_an_edit_does_to_the_other_stack_s_tokens_is_not_read(family, stack):
    splitter = split(family, stack)
    samples = splitter.samples(FEW)
    outside = torch.ones(len(samples), max(map(len, samples)), 1)
    for i, sample in enumerate(samples):
        outside[i, own(splitter, sample)] = 0.0
    same = splitter.edited_outputs(samples, lambda h: h)
    assert torch.equal(splitter.edited_outputs(samples, lambda h: h + 7 * outside), same)


@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_gradients_are_those_of_full_backpropagation(family, stack):
    splitter = split(family, stack)
    explainer = NeuronsAsConcepts(splitter).fit(splitter.get_activations(FEW, "all_tokens"))
    plain = {"activation_granularity": "all_tokens", "concepts_x_gradients": False, "normalization": False}
    found = explainer.concept_output_gradient(FEW, **plain)
    assert all(parameter.grad is None for parameter in splitter.model.parameters())
    samples = splitter.samples(FEW, "all_tokens")
    for sample, gradients in zip(samples, found, strict=True):
        kept = []
        logits = run(splitter, sample, lambda h, kept=kept: kept.append(h) or h)[1]
        targets = sample.input_ids[sample.prompt :]
        at = torch.arange(sample.prompt - 1, len(sample) - 1) - sample.source
        scores = logits.log_softmax(-1)[at, targets]
        expected = torch.stack([torch.autograd.grad(score, kept[0], retain_graph=True)[0][0] for score in scores])
        close(gradients, expected, 1e-4)
        assert gradients.abs().sum() > 0
    if family == "bart":
        return  # a text of BART begins with its own mark, which this model has not learned to write
    (given,) = explainer.concept_output_gradient(FEW[0], samples[0].input_ids[samples[0].prompt :], **plain)
    close(given, found[0], 1e-4)


@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_attributions_of_a_given_target(family, stack):
    splitter = split(family, stack)
    explainer = PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(SENTENCES))
    targets = ["it is good", "no"]
    options = {"method": "ablation", "activation_granularity": "word"}
    together = explainer.concept_output_attribution(FEW[:2], targets, **options)
    for text, target, values in zip(FEW, targets, together, strict=False):
        (alone,) = explainer.concept_output_attribution(text, target, **options)
        close(values, alone, 1e-4)
        ids = splitter.tokenizer(target, add_special_tokens=False)["input_ids"]
        assert values.shape[0] == len(ids)
        if stack == 1:  # a token of the answer is written before the words behind it are read
            assert values[0].abs().max() == 0
    steps = explainer.concept_output_attribution(FEW[:2], targets, method="integrated_gradients", n_steps=16)
    assert [value.shape[0] for value in steps] == [value.shape[0] for value in together]


@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_ablation_is_what_the_answer_loses_without_one_concept_of_one_word(family, stack):
    splitter = split(family, stack)
    explainer = PCAConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(SENTENCES, "word"))
    (sample,) = splitter.samples(FEW[0], "word")
    options = {"method": "ablation", "activation_granularity": "word"}
    (values,) = explainer.concept_output_attribution(FEW[0], **options)
    codes = explainer.encode_activations(splitter.activations_of([sample]))
    at, targets = torch.arange(sample.prompt - 1, len(sample) - 1) - sample.source, sample.input_ids[sample.prompt :]
    index = sample.units.index[own(splitter, sample)]
    with torch.no_grad():
        whole = run(splitter, sample)[1].log_softmax(-1)[at, targets]
        for unit, concept in ((0, 0), (len(codes) - 1, 2), (0, 1)):
            less = codes.clone()
            less[unit, concept] = 0.0
            gone = (explainer.decode_concepts(less) - explainer.decode_concepts(codes))[unit]
            moved = run(splitter, sample, lambda h, where=index == unit, gone=gone: h + where[None, :, None] * gone)[1]
            close(values[:, unit, concept], whole - moved.log_softmax(-1)[at, targets], 1e-4)
    assert values.abs().max() > 1e-3


def test_integrated_gradients_are_complete():
    splitter = split("bart", 0)
    explainer = PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(SENTENCES))
    (sample,) = splitter.samples(FEW[0])
    (values,) = explainer.concept_output_attribution(FEW[0], method="integrated_gradients", n_steps=64)
    codes = explainer.encode_activations(splitter.activations_of([sample]))
    gone = explainer.decode_concepts(torch.zeros_like(codes)) - explainer.decode_concepts(codes)

    def without(hidden):
        hidden = hidden.clone()
        hidden[0, sample.units.free[: sample.source]] += gone
        return hidden

    at, targets = torch.arange(sample.prompt - 1, len(sample) - 1) - sample.source, sample.input_ids[sample.prompt :]
    with torch.no_grad():
        whole, removed = (run(splitter, sample, change)[1].log_softmax(-1)[at, targets] for change in (None, without))
    close(values.sum((1, 2)), whole - removed, 1e-3)


@pytest.mark.parametrize("family", POINTS)
def test_what_the_encoder_reads_does_not_wait_for_an_answer(family, monkeypatch, tmp_path):
    splitter = split(family, 0)
    (rows,) = splitter.get_activations(SENTENCES).values()
    expected = splitter.activations_of(splitter.samples(SENTENCES))
    monkeypatch.setattr(splitter.model, "generate", lambda **_: pytest.fail("the model wrote"))
    assert torch.equal(splitter.get_activations(SENTENCES)[splitter.split_points[0]], rows)
    close(rows, expected)
    close(splitter.store_activations(SENTENCES, tmp_path).read(), rows)
    explainer = NeuronsAsConcepts(splitter).fit(rows)
    given = TopKInputs(explainer, "token", k=2).interpret(inputs=SENTENCES, latent_activations=rows)
    found = TopKInputs(explainer, "token", k=2).interpret(inputs=SENTENCES)
    assert all(found[concept] == pytest.approx(best, rel=1e-4) for concept, best in given.items())
    plain = ModelWithSplitPoints(splitter.model, splitter.split_points, tokenizer=splitter.tokenizer)
    close(plain.get_activations(SENTENCES)[splitter.split_points[0]], rows)


@pytest.mark.parametrize("family", POINTS)
def test_a_model_that_writes_nothing(family):
    model, tokenizer = writing(family)
    model.generation_config.suppress_tokens = [i for i in range(len(tokenizer)) if i != tokenizer.eos_token_id]
    splitter = SplitterForGeneration(model, POINTS[family][1], tokenizer, max_new_tokens=4)
    (sample,) = splitter.samples("A charming film.")
    assert len(sample.units) == 0
    assert sample.input_ids[-1] == tokenizer.eos_token_id
    readout = SplitterForGeneration(model, POINTS[family][0], tokenizer, max_new_tokens=0)
    (sample,) = readout.samples("A charming film.")
    assert sample.input_ids[sample.source :].tolist()[:1] == [model.config.decoder_start_token_id]
    explainer = PCAConcepts(readout, 2).fit(readout.get_activations(SENTENCES))
    with pytest.raises(InputError, match=r"`inputs\[0\]`: the model writes nothing after 'A charming film"):
        explainer.concept_output_gradient("A charming film.")
    (found,) = explainer.concept_output_gradient("A charming film.", "good")
    assert found.abs().sum() > 0


@pytest.mark.parametrize(("family", "stack"), EVERY)
def test_a_store_interpretations_and_metrics(family, stack, tmp_path):
    splitter = split(family, stack)
    store = splitter.store_activations(SENTENCES, tmp_path, "word")
    samples = splitter.samples(SENTENCES, "word")
    assert [unit.text for unit in store.units()] == [text for sample in samples for text in sample.units.texts]
    explainer = NeuronsAsConcepts(splitter).fit(store)
    top = TopKInputs(explainer, "word", k=3).interpret(latent_activations=store)
    words = {text for sample in samples for text in sample.units.texts}
    assert all(set(found) <= words for found in top.values() if found)
    recovered = LossRecovered(explainer, activation_granularity="word").run(FEW)
    assert recovered.details["kl"]["reconstructed"] == pytest.approx(0, abs=1e-6)  # neurons reconstruct everything
    assert recovered.details["kl"]["ablated"] > 1e-4
    few = PCAConcepts(splitter, 3).fit(store)
    effects = few.concept_output_attribution(FEW, method="ablation", activation_granularity="word")
    importances = torch.stack([values.sum((0, 1)) for values in effects])
    curve = ConceptDeletion(few, activation_granularity="word").run(FEW, importances)
    assert 0 < curve.score < 1
    plot_concepts(few, FEW[0], activation_granularity="word", path=tmp_path / "page.html")
    assert FEW[0].split()[0] in (tmp_path / "page.html").read_text()


def test_a_curve_begins_at_the_answer_s_own_probability():
    splitter = split("bart", 0)
    explainer = PCAConcepts(splitter, 3).fit(splitter.get_activations(SENTENCES))
    scores = ConceptScores(explainer)
    (text,) = scores.read(FEW[0], torch.ones(3), None)
    (sample,) = splitter.samples(FEW[0])
    at, targets = torch.arange(sample.prompt - 1, len(sample) - 1) - sample.source, sample.input_ids[sample.prompt :]
    with torch.no_grad():
        expected = run(splitter, sample)[1].softmax(-1)[at, targets]
    found = scores(text, torch.zeros(1, len(text.present), dtype=torch.bool))
    assert float(found) == pytest.approx(float(expected.mean()), rel=1e-5)


def test_the_first_tokens_of_a_loss_are_the_decoder_s():
    splitter = split("bart", 1)
    samples = splitter.samples(FEW, "all_tokens")
    explainer = NeuronsAsConcepts(splitter).fit(splitter.get_activations(FEW, "all_tokens"))
    losses = []
    for sample in samples:
        ids = sample.input_ids[sample.source :]
        with torch.no_grad():
            losses.append(torch.nn.functional.cross_entropy(run(splitter, sample)[1][:-1].double(), ids[1:], reduction="none"))
    found = LossRecovered(explainer, activation_granularity="all_tokens").run(FEW).details["cross_entropy"]
    assert found["original"] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)


class TestRefusals:
    def test_what_splitters_refuse(self):
        model, tokenizer = writing("bart")
        encoder, decoder = POINTS["bart"]
        with pytest.raises(OptionError, match=r"reads the text and 'model.decoder.layers.0' the answer"):
            SplitterForGeneration(model, [decoder, encoder], tokenizer)
        with pytest.raises(OptionError, match=r"`part`: got 'generated', and 'model.encoder.layers.0' reads the text"):
            SplitterForGeneration(model, encoder, tokenizer, part="generated")
        with pytest.raises(OptionError, match=r"`part`: got 'prompt', and 'model.decoder.layers.0' reads the answer"):
            SplitterForGeneration(model, decoder, tokenizer, part="prompt")
        with pytest.raises(OptionError, match="several stacks of blocks"):
            SplitterForGeneration(model, -1, tokenizer)
        with pytest.raises(OptionError, match=r"`max_new_tokens`: got 200, and the decoder takes 12\d at most"):
            SplitterForGeneration(model, decoder, tokenizer, max_new_tokens=200).samples("A film")
        with pytest.raises(ModelError, match=r"in the decoder of .* SplitterForGeneration"):
            ModelWithSplitPoints(model, decoder, tokenizer=tokenizer)
        classifier, other = CLASSIFIERS["bert"]()
        with pytest.raises(TaskError, match="BertForSequenceClassification does not write"):
            SplitterForGeneration(classifier, 0, other)

    def test_concepts_of_an_answer_do_not_follow_from_a_text(self):
        splitter = split("t5", 1)
        explainer = PCAConcepts(splitter, 2).fit(splitter.get_activations(SENTENCES))
        with pytest.raises(ModelError, match="do not follow from a text alone"):
            explainer.get_inputs_to_concepts_model()
        with pytest.raises(ModelError, match="read by the encoder alone"):
            TopKInputs(explainer, use_vocab=True).interpret()

    def test_a_splitter_that_does_not_run_the_decoder(self):
        model, tokenizer = writing("t5")
        splitter = ModelWithSplitPoints(model, POINTS["t5"][0], tokenizer=tokenizer)
        explainer = PCAConcepts(splitter, 2).fit(splitter.get_activations(SENTENCES))
        with pytest.raises(TaskError, match="use SplitterForGeneration"):
            explainer.concept_output_gradient(FEW)


@pytest.mark.parametrize("family", POINTS)
def test_the_bridge_from_texts_to_concepts_of_the_encoder(family):
    splitter = split(family, 0)
    explainer = PCAConcepts(splitter, 3).fit(splitter.get_activations(SENTENCES))
    bridge = explainer.get_inputs_to_concepts_model()
    (rows,) = splitter.get_activations(FEW[0]).values()
    encoded = splitter.tokenizer(FEW[0], return_tensors="pt")
    close(bridge(encoded["input_ids"], encoded["attention_mask"]).logits[0], explainer.encode_activations(rows).mean(0))


def test_a_folder_is_loaded_as_what_it_is(tmp_path):
    model, tokenizer = writing("t5")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    splitter = SplitterForGeneration(str(tmp_path), POINTS["t5"][1], max_new_tokens=4)
    assert type(splitter.model) is type(model)
    expected = SplitterForGeneration(model, POINTS["t5"][1], tokenizer, max_new_tokens=4).get_activations(FEW)
    close(splitter.get_activations(FEW)[POINTS["t5"][1]], expected[POINTS["t5"][1]])


def test_nothing_of_the_user_s_is_changed():
    model, tokenizer = writing("bart")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = (model.generation_config.to_dict(), model.config.to_dict())
    model.train()
    splitter = SplitterForGeneration(model, POINTS["bart"][1], tokenizer, max_new_tokens=4)
    explainer = PCAConcepts(splitter, 2).fit(splitter.get_activations(SENTENCES))
    explainer.concept_output_gradient(FEW)
    assert model.training
    assert settings == (model.generation_config.to_dict(), model.config.to_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
