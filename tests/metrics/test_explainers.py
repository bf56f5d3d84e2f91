"""Metrics that explain again: while embeddings move, while weights are shuffled, for another target."""

from __future__ import annotations

import math
from types import SimpleNamespace

import captum.metrics
import pytest
import torch
from scipy.stats import spearmanr
from torch import Generator, nn

from interpreto import AttributionExplainer, InputXGradient, KernelShap, Occlusion, Saliency, demo
from interpreto.attributions.aggregations import OcclusionAggregator
from interpreto.attributions.perturbations import OcclusionPerturbator
from interpreto.errors import InputError, OptionError
from interpreto.metrics import AverageSensitivity, MaxSensitivity, ModelParameterRandomization, RandomLogit
from interpreto.metrics.attributions.randomization import kept_weights, layers_of, shuffle
from interpreto.metrics.attributions.robustness import embeddings_moved
from tests import tiny
from tests.problems import Additive

TEXTS = ["A gorgeous, moving film.", "The story is dull and far too long."]


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def hooks(model):
    return [hook for m in model.modules() for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]


class Deaf(AttributionExplainer):
    """Answers the same whatever the model says."""

    def __init__(self, model, tokenizer, **options):
        super().__init__(model, tokenizer, perturbator=OcclusionPerturbator(), aggregator=Numbers(), **options)


class Numbers(OcclusionAggregator):
    def aggregate(self, scores, variants):
        return torch.arange(variants.mask.shape[1], dtype=torch.float32).expand(scores.shape[1], -1)


class Scaled(nn.Module):
    """Adds up embeddings of one number, times positive factors: input times gradient ranks tokens as their embeddings do."""

    def __init__(self, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 1)
        self.blocks = nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
        self.head = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.randn(vocabulary, 1, generator=Generator().manual_seed(0)))
            for layer, factor in zip((*self.blocks, self.head), (0.5, 2.0, 3.0), strict=True):
                layer.weight.fill_(factor)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        hidden = self.embedding(input_ids) * attention_mask[..., None]
        for block in self.blocks:
            hidden = block(hidden)
        return SimpleNamespace(logits=self.head(hidden).sum(1))


class Fails(Numbers):
    calls = 0

    def aggregate(self, scores, variants):
        self.calls += 1
        if self.calls > 3:
            raise ZeroDivisionError
        return super().aggregate(scores, variants)


class TestSensitivity:
    def test_of_a_gradient_times_input_it_is_that_of_the_moves(self):
        """φ is linear in the embeddings, so each draw is known; captum finds the same of the same moves."""
        tokenizer = tiny.wordpiece()
        model = Additive(len(tokenizer))
        explainer = InputXGradient(model, tokenizer, granularity="all_tokens")
        (output,) = explainer(TEXTS[:1], 0)
        metric = MaxSensitivity(explainer, n_perturbations=4, radius=0.2)
        result = metric.run([output])
        ids = output.sample.input_ids
        size = 0.2 * float(model.embedding.weight.detach().std(correction=0))  # of the whole table, whatever the text
        layer, moves = model.embedding, []
        for draw in range(4):
            with embeddings_moved([layer], ids.unique(), [size], f"0/{draw}"), torch.no_grad():
                moves.append(layer(ids) - layer.weight[ids])
        assert all(float(move.abs().max()) <= size for move in moves)
        assert abs(float(torch.stack(moves).mean())) < 0.1 * size  # to both sides
        weight, embeddings = model.head.weight[0].detach(), model.embedding(ids).detach()
        lengths = [float((move @ weight).norm() / (embeddings @ weight).norm()) for move in moves]
        assert result.details["moves"][0][0].tolist() == pytest.approx(lengths, rel=1e-4)
        assert float(result) == pytest.approx(max(lengths), rel=1e-4)
        average = AverageSensitivity(explainer, n_perturbations=4, radius=0.2).run([output])
        assert float(average) == pytest.approx(sum(lengths) / 4, rel=1e-4)
        theirs = captum.metrics.sensitivity_max(
            lambda x: ((x[0] if isinstance(x, tuple) else x) @ weight,),
            embeddings[None],
            perturb_func=lambda x: x + torch.stack(moves),
            n_perturb_samples=4,
            norm_ord="fro",
        )
        assert float(theirs) == pytest.approx(max(lengths), rel=1e-4)

    def test_company_changes_nothing(self):
        explainer = Occlusion(*demo.load_classifier())
        outputs = explainer(TEXTS)
        for metric in (MaxSensitivity(explainer, 2), AverageSensitivity(explainer, 2)):
            alone = torch.cat([metric.run([output]).per_sample for output in outputs])
            torch.testing.assert_close(alone, metric.run(outputs[::-1]).per_sample.flip(0), atol=1e-5, rtol=1e-4)

    def test_explanations_of_another_method_or_of_other_options_are_refused(self):
        model, tokenizer = demo.load_classifier()
        saliency, occlusion = Saliency(model, tokenizer), Occlusion(model, tokenizer)
        for metric in (MaxSensitivity(saliency, 1), ModelParameterRandomization(saliency), RandomLogit(saliency)):
            with pytest.raises(InputError, match="Occlusion of logits made it, and the explainer is Saliency of logits"):
                metric.run(occlusion(TEXTS))
        with pytest.raises(InputError, match="Occlusion of softmax made it"):
            MaxSensitivity(occlusion, 1).run(Occlusion(model, tokenizer, inference_mode="softmax")(TEXTS))
        for metric in (MaxSensitivity, ModelParameterRandomization):
            with pytest.raises(InputError, match="returns other attributions"):
                metric(Occlusion(model, tokenizer, replacement="drop")).run(occlusion(TEXTS))

    def test_a_generator_of_explanations_is_read_once(self):
        explainer = Occlusion(*demo.load_classifier())
        outputs = explainer(TEXTS)
        for metric in (MaxSensitivity(explainer, 1), ModelParameterRandomization(explainer), RandomLogit(explainer)):
            assert torch.equal(metric.run(output for output in outputs).per_sample, metric.run(outputs).per_sample)

    def test_what_does_not_hear_the_model_does_not_move(self):
        assert float(MaxSensitivity(Deaf(*demo.load_classifier())).run(TEXTS)) == 0

    @pytest.mark.parametrize(("method", "options"), [(Occlusion, {}), (Saliency, {}), (KernelShap, {"n_perturbations": 40})])
    def test_every_method_moves_more_when_embeddings_do(self, method, options):
        model, tokenizer = demo.load_classifier()
        before, explainer = snapshot(model), method(model, tokenizer, **options)
        small, large = (float(MaxSensitivity(explainer, 2, radius=radius).run(TEXTS)) for radius in (0.01, 0.3))
        assert 0 < small < large
        assert float(MaxSensitivity(explainer, 2, radius=0.01).run(TEXTS)) == small
        assert same(model, before)
        assert not hooks(model)

    def test_a_generation_is_explained_for_the_text_that_it_was(self):
        model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
        outputs = Occlusion(model, tokenizer)(["The film was great, and"], ["the actors were wonderful"])
        result = AverageSensitivity(Occlusion(model, tokenizer), 2, radius=0.05).run(outputs)
        assert len(result.details["per_target"][0]) == len(outputs[0].target_labels)
        assert float(result) > 0

    def test_both_embeddings_of_an_encoder_decoder_move_and_are_back_after_an_error(self):
        model, tokenizer = tiny.SEQ2SEQ["bart"]()
        explainer = Occlusion(model, tokenizer)
        ids = torch.arange(5)
        layers = [explainer.forward.embeddings.first, explainer.forward.embeddings.decoder]
        before = [layer(ids) for layer in layers]
        with embeddings_moved(layers, ids[:3], [0.1, 0.1], "0"):
            for layer, table in zip(layers, before, strict=True):
                moved = (layer(ids) - table).abs().sum(1)
                assert bool((moved[:3] > 0).all())
                assert bool((moved[3:] == 0).all())
        with pytest.raises(IndexError), embeddings_moved(layers, ids + 10**6, [0.1, 0.1], "0"):
            pass
        assert all(torch.equal(layer(ids), table) for layer, table in zip(layers, before, strict=True))

    def test_options_that_cannot_be(self):
        explainer = Occlusion(*demo.load_classifier())
        for make in (
            lambda: MaxSensitivity(explainer, radius=0),
            lambda: MaxSensitivity(explainer, 0),
            lambda: MaxSensitivity("x"),
        ):
            with pytest.raises(Exception, match=r"radius|n_perturbations|explainer"):
                make()


class TestRandomisedModels:
    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_what_does_not_hear_the_model_is_the_same_at_every_layer(self, mode):
        result = ModelParameterRandomization(Deaf(*demo.load_classifier()), mode).run(TEXTS)
        assert set(result.details["by_layer"][0][0]) == {1.0}
        assert result.details["layers"][0] == "behind the blocks"
        assert result.details["layers"][-1] == "before the blocks"

    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_what_does_changes_and_the_weights_are_as_before_bit_by_bit(self, mode):
        model, tokenizer = demo.load_classifier()
        before = snapshot(model)
        texts = [sentence.text for sentence in demo.load_sentences()[:3]]
        result = ModelParameterRandomization(Occlusion(model, tokenizer), mode, absolute=False).run(texts)
        assert same(model, before)
        assert float(result) < 1
        again = ModelParameterRandomization(Occlusion(model, tokenizer), mode, absolute=False).run(texts)
        assert torch.equal(again.per_sample, result.per_sample)

    @pytest.mark.parametrize("absolute", [False, True])
    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_of_blocks_that_scale_it_is_the_rank_correlation_of_the_embeddings_before_and_after(self, mode, absolute):
        """A block has one weight, which no shuffle moves: ρ is 1 down to the embeddings, and there that of two draws."""
        tokenizer = tiny.wordpiece()
        model = Scaled(len(tokenizer))
        explainer = InputXGradient(model, tokenizer, granularity="all_tokens")
        (output,) = outputs = explainer(TEXTS[:1], 0)
        result = ModelParameterRandomization(explainer, mode, absolute=absolute, random_state=3).run(outputs)
        before = model.embedding.weight.detach()[output.sample.input_ids, 0]
        generator = Generator().manual_seed(3)
        for layer in (model.head, *model.blocks):  # from the output down, each of one number
            shuffle(list(layer.parameters()), generator)
        with kept_weights([model.embedding.weight]):
            shuffle([model.embedding.weight], generator)
            after = model.embedding.weight.detach()[output.sample.input_ids, 0]
        rho = float(spearmanr(before.abs(), after.abs()).statistic if absolute else spearmanr(before, after).statistic)
        assert result.details["layers"] == ["behind the blocks", "blocks.1", "blocks.0", "before the blocks"]
        assert result.details["means"] == pytest.approx([1, 1, 1, rho]) and abs(rho) < 1
        assert float(result) == pytest.approx((3 + rho) / 4)

    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_the_weights_are_as_before_after_an_error_too(self, mode):
        model, tokenizer = demo.load_classifier()
        before = snapshot(model)
        explainer = AttributionExplainer(model, tokenizer, perturbator=OcclusionPerturbator(), aggregator=Fails())
        with pytest.raises(ZeroDivisionError):
            ModelParameterRandomization(explainer, mode).run(TEXTS)
        assert same(model, before)

    def test_layers_from_the_input_up_and_shared_weights_once(self):
        model, _ = tiny.CAUSAL_LMS["gpt2"]()
        groups = layers_of(model)
        assert list(groups) == ["before the blocks", "transformer.h.0", "transformer.h.1", "behind the blocks"]
        every = [id(p) for group in groups.values() for p in group]
        assert len(every) == len(set(every)) == len(list(model.parameters()))
        assert any(p is model.lm_head.weight for p in groups["before the blocks"])  # tied to the embeddings

    @pytest.mark.parametrize(
        ("family", "stacks"), [("t5", ("encoder.block", "decoder.block")), ("bart", ("encoder.layers", "decoder.layers"))]
    )
    def test_both_stacks_of_an_encoder_decoder_are_layers_the_decoder_on_top(self, family, stacks):
        model, _ = tiny.SEQ2SEQ[family]()
        names = list(layers_of(model))
        blocks = [name for name in names if "block" not in name.split(" ") and name.rpartition(".")[2].isdigit()]
        assert [name.rpartition(".")[0].removeprefix("model.") for name in blocks] == [stacks[0]] * 2 + [stacks[1]] * 2
        every = [id(p) for group in layers_of(model).values() for p in group]
        assert len(every) == len(set(every)) == len(list(model.parameters()))

    def test_a_model_without_blocks_has_one_layer(self):
        assert list(layers_of(nn.Linear(2, 2))) == ["behind the blocks"]

    def test_a_shuffle_keeps_the_numbers_and_moves_them(self):
        layer = nn.Linear(8, 8)
        before = layer.weight.detach().clone()
        with kept_weights(list(layer.parameters())):
            shuffle(list(layer.parameters()), Generator().manual_seed(0))
            assert torch.equal(layer.weight.flatten().sort().values, before.flatten().sort().values)
            assert not torch.equal(layer.weight, before)
        assert torch.equal(layer.weight, before)

    def test_a_mode_that_cannot_be(self):
        with pytest.raises(OptionError, match="`mode`: got 'top'"):
            ModelParameterRandomization(Deaf(*demo.load_classifier()), "top")


class TestOtherTargets:
    def test_what_does_not_hear_the_target_is_the_same(self):
        assert float(RandomLogit(Deaf(*tiny.CLASSIFIERS["bert"]())).run(TEXTS)) == pytest.approx(1.0)

    def test_another_class_is_drawn_and_compared(self):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        explainer = Occlusion(model, tokenizer)
        outputs = explainer(TEXTS, [[0, 1, 2]] * 2)
        result = RandomLogit(explainer).run(outputs)
        every = explainer(TEXTS, [[0, 1, 2]] * 2)
        for e, others in enumerate(result.details["others"]):
            for t, label in enumerate(others):
                assert label != tiny.LABELS[t]
                expected = every[e].attributions[tiny.LABELS.index(label)]
                torch.testing.assert_close(result.details["other"][e][t], expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("family", ["bert", "gpt2"])
    def test_company_changes_nothing(self, family):
        model, tokenizer = (tiny.CLASSIFIERS | tiny.CAUSAL_LMS)[family]()
        explainer = Occlusion(model, tokenizer)
        given = (["The film was", "What a"], [" great fun", " story"]) if family == "gpt2" else (TEXTS, None)
        outputs = explainer(*given)
        together = RandomLogit(explainer).run(outputs)
        for i, output in enumerate(outputs):
            alone = RandomLogit(explainer).run([output])
            assert alone.details["others"][0] == together.details["others"][i]
            assert float(alone) == pytest.approx(float(together.per_sample[i]), abs=1e-4)
        seeds = [RandomLogit(explainer, random_state=seed).run(outputs).details["others"] for seed in range(6)]
        assert any(other != seeds[0] for other in seeds)

    def test_two_classes_that_mirror_each_other_say_nothing(self):
        model, tokenizer = demo.load_classifier()
        explainer = Occlusion(model, tokenizer, inference_mode="softmax")
        assert float(RandomLogit(explainer).run(TEXTS)) == pytest.approx(-1.0, abs=1e-6)
        assert float(RandomLogit(explainer, absolute=True).run(TEXTS)) == pytest.approx(1.0, abs=1e-6)

    @pytest.mark.parametrize("family", ["gpt2", "t5"])
    def test_of_a_generation_other_probable_tokens_are_drawn(self, family):
        model, tokenizer = (tiny.CAUSAL_LMS | tiny.SEQ2SEQ)[family]()
        explainer = Occlusion(model, tokenizer)
        outputs = explainer(["The film was great, and"], ["the actors were wonderful"])
        result = RandomLogit(explainer).run(outputs)
        assert result.details["others"][0] != outputs[0].target_labels
        assert len(result.details["per_target"][0]) == len(outputs[0].target_labels)
        assert -1 <= float(result) < 1
        assert float(RandomLogit(explainer).run(outputs)) == float(result)

    def test_a_contrast_and_a_single_output_have_no_other_target(self):
        from interpreto import Contrast

        explainer = Occlusion(*tiny.CLASSIFIERS["bert"]())
        with pytest.raises(OptionError, match="contrast"):
            RandomLogit(explainer).run(explainer(TEXTS, Contrast("positive", "negative")))


def test_values_that_are_all_the_same_are_skipped():
    class Flat(Numbers):
        def aggregate(self, scores, variants):
            return torch.zeros(scores.shape[1], variants.mask.shape[1])

    model, tokenizer = demo.load_classifier()
    explainer = AttributionExplainer(model, tokenizer, perturbator=OcclusionPerturbator(), aggregator=Flat())
    for metric in (MaxSensitivity(explainer, 1), ModelParameterRandomization(explainer), RandomLogit(explainer)):
        result = metric.run(TEXTS)
        assert math.isnan(float(result))
        assert result.n_skipped == 2
