"""What is shown of concepts is what they do; pages, figures and terminals hold these numbers, and texts are only texts."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.text import Text

from interpreto import demo
from interpreto.concepts import ICAConcepts, NMFConcepts, PCAConcepts, SemiNMFConcepts
from interpreto.concepts.interpretations import TopKInputs
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.concepts.summaries import global_concepts, local_concepts
from interpreto.errors import InputError, ModelError, OptionError, TargetError
from interpreto.inputs.targets import Contrast
from interpreto.visualizations.concepts import concepts_to_fragment, concepts_to_html, plot_concepts
from interpreto.visualizations.figures.concepts import signed_importances
from interpreto.visualizations.terminal.concepts import concepts_to_text
from tests.tiny import CAUSAL_LMS, SENTENCES
from tests.visualizations.concept_examples import ACTIVATIONS, EFFECTS, dataset, local
from tests.visualizations.examples import INJECTIONS
from tests.visualizations.test_html import Outline, numbers, payload

TEXTS = [sentence.text for sentence in demo.load_sentences()[:20]]


@pytest.fixture(scope="module", params=[ICAConcepts, NMFConcepts])
def explainer(request):
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
    rows = splitter.get_activations(TEXTS, "word")
    options = {"force_relu": True} if request.param is NMFConcepts else {}
    return request.param(splitter, nb_concepts=6, **options).fit(rows)


@pytest.fixture(scope="module")
def whole_texts():
    model, tokenizer = demo.load_classifier()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    return SemiNMFConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(TEXTS)[0])


@pytest.fixture(scope="module")
def writer():
    model, tokenizer = CAUSAL_LMS["gpt2"]()
    splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3)
    return PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(SENTENCES, "word"))


def codes_of(explainer, text, granularity):
    splitter = explainer.splitter
    return explainer.encode_activations(splitter.activations_of(splitter.samples(text, granularity)))


def close(one, other):
    return torch.allclose(one.float(), other.float(), atol=1e-5, rtol=1e-4)


class TestLocal:
    def test_numbers_are_those_of_the_explainer_and_of_the_model(self, explainer):
        found = local_concepts(explainer, TEXTS[0], k_concepts=3)
        (effects,) = explainer.concept_output_attribution(TEXTS[0], activation_granularity="word")
        assert close(found.effects, effects) and close(found.activations, codes_of(explainer, TEXTS[0], "word"))
        model, tokenizer = demo.load_classifier()
        with torch.no_grad():
            logits = model(**tokenizer(TEXTS[0], return_tensors="pt")).logits[0]
        assert close(found.scores, logits) and found.score_unit == found.about.unit == "logit"
        assert found.outputs == ("negative", "positive") and found.text == TEXTS[0]
        assert [found.text[a:b] for a, b in found.spans] == list(found.elements)
        order = effects.abs().sum(1).amax(0).argsort(descending=True)
        assert found.shown == tuple(order[:3].tolist())
        sizes, net = found.totals()
        assert close(sizes, effects.abs().sum(1)) and close(net, effects.sum(1))

    def test_labels_are_the_largest_units_of_the_text(self, explainer):
        found = local_concepts(explainer, TEXTS[0])
        for concept in found.shown:
            best = {}
            for name, value in zip(found.elements, found.activations[:, concept].tolist(), strict=True):
                best[name] = max(value, best.get(name, 0.0))
            largest = sorted((value for value in best.values() if value > 0), reverse=True)[:3]
            assert [value for _, value in found.labels[concept]] == pytest.approx(largest, abs=1e-5)
            assert all(best[name] == pytest.approx(value, abs=1e-5) for name, value in found.labels[concept])

    def test_targets_methods_and_names(self, explainer):
        found = local_concepts(explainer, TEXTS[0], [Contrast(1, 0), 1], method="ablation", class_names=["bad", "good"])
        (effects,) = explainer.concept_output_attribution(TEXTS[0], [[Contrast(1, 0), 1]], "ablation", None, "word")
        assert found.outputs == ("good − bad", "good") and close(found.effects, effects)
        both = local_concepts(explainer, TEXTS[0]).scores
        assert close(found.scores, torch.stack([both[1] - both[0], both[1]]))
        soft = local_concepts(explainer, TEXTS[0], inference_mode="softmax", method="gradient")
        assert soft.about.unit == "probability per unit of concept" and soft.score_unit == "probability"
        assert float(soft.scores.sum()) == pytest.approx(1)

    def test_a_text_that_is_one_unit_has_no_label_of_its_own(self, whole_texts):
        found = local_concepts(whole_texts, TEXTS[0])
        assert found.elements == (TEXTS[0],) and found.labels == {} and found.name(2) == "concept 2"
        rows, _ = whole_texts.splitter.get_activations([TEXTS[0]])
        assert close(found.activations, whole_texts.encode_activations(rows))
        assert found.about.scale == "|effect|"

    def test_an_answer_is_written_once(self, writer, monkeypatch):
        model, calls = writer.splitter.model, []
        generate = model.generate
        monkeypatch.setattr(model, "generate", lambda **options: calls.append(1) or generate(**options))
        local_concepts(writer, SENTENCES[1])
        assert len(calls) == 1
        global_concepts(writer, SENTENCES[:2])
        assert len(calls) <= 3  # prompts of one length are answered together

    def test_a_generation_is_named_by_its_tokens(self, writer):
        found = local_concepts(writer, SENTENCES[1])
        (sample,) = writer.splitter.samples(SENTENCES[1], "word")
        written = sample.input_ids[sample.prompt :]
        assert found.text == sample.text and len(found.outputs) == len(written) == 3
        (effects,) = writer.concept_output_attribution(SENTENCES[1], activation_granularity="word")
        assert close(found.effects, effects)
        with torch.no_grad():
            logits = writer.splitter.model(sample.input_ids[None]).logits[0].log_softmax(-1)
        expected = logits[sample.prompt - 1 : -1].gather(1, written[:, None])[:, 0]
        assert close(found.scores, expected) and found.score_unit == "log-probability (nats)"
        chosen = local_concepts(writer, SENTENCES[1], [" The film"])
        assert chosen.text == SENTENCES[1] + " The film" and chosen.outputs[1:] == ("The", " film")

    def test_several_texts_are_refused(self, explainer):
        with pytest.raises(InputError, match="`text`: got 2 texts; pass one, or use `global_concepts`"):
            local_concepts(explainer, TEXTS[:2])


class TestGlobal:
    @pytest.mark.parametrize("method", ["gradient_x_concept", "ablation"])
    def test_importances_are_means_of_sums(self, explainer, method):
        texts = [*TEXTS[:5], TEXTS[0]]
        found = global_concepts(explainer, texts, method=method, k_concepts=4)
        effects = explainer.concept_output_attribution(texts, None, method, activation_granularity="word")
        sizes = torch.stack([values.abs().sum(1) for values in effects]).mean(0)
        assert close(found.importances, sizes)
        assert close(found.effects, torch.stack([values.sum(1) for values in effects]).mean(0))
        assert bool((found.effects.abs() <= found.importances + 1e-6).all())
        assert found.shown == tuple(sizes.amax(0).argsort(descending=True)[:4].tolist())
        assert found.texts == 6 and found.counts == (6, 6) and found.outputs == ("negative", "positive")
        assert found.about.scale == "mean over 6 texts of the sum over words of |effect|"

    def test_parts_of_a_data_set_add_up(self, explainer, monkeypatch):
        whole = global_concepts(explainer, iter(TEXTS), 1)
        monkeypatch.setattr("interpreto.concepts.summary_call.WINDOW", 3)
        parts = global_concepts(explainer, TEXTS, 1)
        assert whole.outputs == parts.outputs == ("positive",) and whole.shown == parts.shown
        assert close(whole.importances, parts.importances) and close(whole.effects, parts.effects)
        assert list(whole.labels) == list(parts.labels)
        for concept in whole.shown:
            texts = [[passage.text for passage in found.passages(concept)] for found in (whole, parts)]
            assert texts[0] == texts[1]

    def test_targets_of_each_text_are_averaged_over_the_texts_that_have_them(self, explainer):
        found = global_concepts(explainer, TEXTS[:3], [["positive"], ["positive", "negative"], ["negative"]])
        effects = explainer.concept_output_attribution(TEXTS[:3], activation_granularity="word")
        assert found.outputs == ("negative", "positive") and found.counts == (2, 2)
        wanted = [(effects[1][0], effects[2][0]), (effects[0][1], effects[1][1])]
        for output, (one, other) in enumerate(wanted):
            assert close(found.importances[output], (one.abs().sum(0) + other.abs().sum(0)) / 2)

    def test_top_inputs_are_the_texts_with_the_largest_units(self, explainer):
        found = global_concepts(explainer, [*TEXTS, TEXTS[3]], k_inputs=3)
        peaks = torch.stack([codes_of(explainer, text, "word").amax(0) for text in TEXTS])
        for concept in found.shown:
            passages = found.passages(concept)
            assert len({passage.text for passage in passages}) == len(passages)
            largest = [value for value in peaks[:, concept].sort(descending=True).values[:3].tolist() if value > 0]
            assert [float(passage.activations.max()) for passage in passages] == pytest.approx(largest, abs=1e-4)
            for passage in passages:
                assert close(passage.activations, codes_of(explainer, passage.text, "word")[:, concept])
                assert float(passage.activations[passage.peak]) == float(passage.activations.max())

    def test_labels_are_those_of_top_k_inputs(self, explainer):
        rows = explainer.splitter.get_activations(TEXTS, "word")
        asked = TopKInputs(explainer, "word", k=5)
        reference = asked.interpret(TEXTS, rows)
        for interpretation, latent in ((None, None), (None, rows), (asked, None), (reference, None)):
            found = global_concepts(explainer, TEXTS, interpretation=interpretation, latent_activations=latent)
            for concept in found.shown:
                expected = reference[concept] or {}
                assert [value for _, value in found.labels[concept]] == pytest.approx(list(expected.values()), abs=1e-4)
                assert {text for text, _ in found.labels[concept]} == set(expected)

    def test_interpretations_of_other_texts(self, explainer):
        pairs = TopKInputs(explainer, "word", k=2, ngrams=2)
        tokens = TopKInputs(explainer, "token", k=2)
        for asked in (pairs, tokens):
            reference = asked.interpret(TEXTS[:4])
            found = global_concepts(explainer, iter(TEXTS[:4]), interpretation=asked)
            assert all({text for text, _ in found.labels[c]} == set(reference[c] or ()) for c in found.shown)
        named = global_concepts(explainer, TEXTS[:2], interpretation={0: "praise", 1: None})
        assert named.name(0) == "praise" and named.name(1) == "concept 1"

    def test_whole_texts_are_units_where_the_splitter_has_one_row_a_text(self, whole_texts):
        found = global_concepts(whole_texts, TEXTS, class_names={0: "bad", 1: "good"})
        rows, _ = whole_texts.splitter.get_activations(TEXTS)
        codes = whole_texts.encode_activations(rows)
        for concept in found.shown:
            largest = codes[:, concept].sort(descending=True)
            count = len(found.passages(concept))
            assert [TEXTS.index(passage.text) for passage in found.passages(concept)] == largest.indices[:count].tolist()
            assert [text for text, _ in found.labels[concept]] == [passage.text for passage in found.passages(concept)]
        assert found.outputs == ("bad", "good") and found.about.granularity == "text"
        assert found.about.scale == "mean over 20 texts of |effect|"

    def test_a_generation_has_a_column_for_every_token_and_the_frequent_ones(self, writer):
        found = global_concepts(writer, SENTENCES)
        effects = writer.concept_output_attribution(SENTENCES, activation_granularity="word")
        every = torch.cat([values.abs().sum(1) for values in effects])
        assert found.outputs[0] == "every token" and close(found.importances[0], every.mean(0))
        samples = writer.splitter.samples(SENTENCES, "word")
        ids = [i for sample in samples for i in sample.input_ids[sample.prompt :].tolist()]
        often = {i: count for i, count in Counter(ids).items() if count > 1}
        assert found.counts[0] == len(ids) and list(found.counts[1:]) == sorted(often.values(), reverse=True)[:9]
        assert found.counts[1] > 1
        rows = every[[i for i, token in enumerate(ids) if token == next(iter(sorted(often, key=lambda i: -often[i])))]]
        assert close(found.importances[1], rows.mean(0))
        assert found.about.output == "token" and found.about.scale.startswith("mean over tokens of the sum")
        chosen = global_concepts(writer, SENTENCES[:3], [" the", " a", " the"])
        assert chosen.outputs[0] == "every token" and chosen.counts[0] >= 3

    def test_what_cannot_be_shown_is_told(self, explainer, writer):
        with pytest.raises(InputError, match="`inputs`: there is nothing in it"):
            global_concepts(explainer, [])
        with pytest.raises(InputError, match="`inputs`: got int"):
            global_concepts(explainer, 3)
        with pytest.raises(OptionError, match="`k_concepts`: got 0; pass a whole number of at least 1"):
            global_concepts(explainer, TEXTS[:2], k_concepts=0)
        with pytest.raises(OptionError, match="`method`: got 'saliency'"):
            global_concepts(explainer, TEXTS[:2], method="saliency")
        with pytest.raises(TargetError, match="`targets`: got 1 for 2 inputs"):
            global_concepts(explainer, TEXTS[:2], [[1]])
        with pytest.raises(OptionError, match="`class_names`: has no name for class 1"):
            global_concepts(explainer, TEXTS[:2], class_names=["bad"])
        with pytest.raises(OptionError, match="`class_names`: got 'bad'"):
            global_concepts(explainer, TEXTS[:2], class_names="bad")
        with pytest.raises(OptionError, match=r"`class_names\[1\]`: got 7"):
            global_concepts(explainer, TEXTS[:2], class_names=["bad", 7])
        with pytest.raises(OptionError, match="a language model has tokens for outputs"):
            global_concepts(writer, SENTENCES[:2], class_names=["bad"])
        with pytest.raises(OptionError, match=r"`interpretation\[\d\]`: got 3"):
            global_concepts(explainer, TEXTS[:2], interpretation=dict.fromkeys(range(6), 3))
        with pytest.raises(OptionError, match="`interpretation`: got int"):
            global_concepts(explainer, TEXTS[:2], interpretation=3)
        with pytest.raises(OptionError, match="is of another concept explainer"):
            global_concepts(explainer, TEXTS[:2], interpretation=TopKInputs(writer))
        with pytest.raises(ModelError, match="not fitted"):
            local_concepts(PCAConcepts(explainer.splitter, nb_concepts=2), TEXTS[0])


class TestPlot:
    def test_a_text_shows_its_own_concepts_and_a_list_those_of_all(self, explainer, tmp_path, capsys):
        assert plot_concepts(explainer, TEXTS[0], path=tmp_path / "local.html") is None
        assert capsys.readouterr().out == f"{local_concepts(explainer, TEXTS[0])}\n"
        plot_concepts(explainer, TEXTS[:3], path=tmp_path / "global.html", backend="terminal")
        assert capsys.readouterr().out == f"{global_concepts(explainer, TEXTS[:3])}\n"
        found = [payload((tmp_path / name).read_text(encoding="utf-8"))["local"] for name in ("local.html", "global.html")]
        assert found == [True, False]
        figure = plot_concepts(explainer, TEXTS[0], path=tmp_path / "local.svg", backend="matplotlib")
        assert len(figure.axes) > 3 and (tmp_path / "local.svg").read_bytes().startswith(b"<?xml")

    def test_options_are_read_before_the_model_runs(self, explainer):
        with pytest.raises(OptionError, match="`backend`: got 'svg'; pass one of 'auto'"):
            plot_concepts(explainer, TEXTS[0], backend="svg")
        with pytest.raises(OptionError, match="`latent_activations`: are of a data set, and one text was given"):
            plot_concepts(explainer, TEXTS[0], latent_activations=torch.zeros(1, 128))


class TestPage:
    def test_the_numbers_are_in_the_page(self):
        found = payload(local().to_html())
        sizes, net = local().totals()
        assert np.array_equal(numbers(found["sizes"]), sizes[:, [1, 0, 2]].numpy())
        assert np.array_equal(numbers(found["effects"]), net[:, [1, 0, 2]].numpy())
        assert [concept["id"] for concept in found["concepts"]] == [1, 0, 2] and found["top"] == 1.25
        for concept in found["concepts"]:
            ((text, values),) = concept["passages"]
            assert text == 0 and np.array_equal(numbers([values])[0], ACTIVATIONS[:, concept["id"]].numpy())
            assert np.array_equal(numbers(concept["units"]), EFFECTS[:, :, concept["id"]].numpy())
        assert "".join(segment[0] for segment in found["passages"][0]["segments"]) == "lovely film"
        assert found["scores"] == [-1.5, 2.5] and found["concepts"][1]["label"] == [["joy", 2], ["happy", 1.5]]

    def test_a_text_of_several_concepts_is_sent_once(self):
        found = payload(dataset().to_html())
        assert [passage["elements"] for passage in found["passages"]] == [["dull", "film"], ["lovely", "film"]]
        assert [[text for text, _ in concept["passages"]] for concept in found["concepts"]] == [[0], [1, 0], []]
        assert np.array_equal(numbers(found["sizes"]), dataset().importances[:, [1, 0, 2]].numpy())

    def test_nothing_is_loaded_and_no_other_script_may_run(self, tmp_path):
        page = concepts_to_html(dataset(), tmp_path / "a.html", title="Two <b>")
        assert (tmp_path / "a.html").read_text(encoding="utf-8") == page and "Two &lt;b&gt;" in page
        assert not re.search(r"https?://|url\(|@import|\bsrc=|\bhref=", page)
        policy = next(dict(a)["content"] for tag, a in Outline(page).elements if tag == "meta" and "http-equiv" in dict(a))
        assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
        assert not re.search(r"\beval\(|innerHTML|insertAdjacentHTML|document\.write", page)

    @pytest.mark.parametrize("make", [local, dataset])
    @pytest.mark.parametrize("bad", INJECTIONS)
    def test_texts_make_no_elements_and_survive(self, make, bad):
        harmless = make()
        view = make((bad.replace(" ", "_"), "b"), (bad, "x"), bad, explainer=bad, split_point=bad, unit=bad, method=bad)
        for write in (concepts_to_html, concepts_to_fragment):
            wanted, found = Outline(write(harmless)), Outline(write(view))
            assert [e for e in found.elements if e[0] != "meta"] == [e for e in wanted.elements if e[0] != "meta"]
            assert found.scripts["script"] == wanted.scripts["script"]
            data = json.loads(found.scripts["application/json"])
            assert data["outputs"][0] == bad and data["concepts"][1]["label"][0][0] == bad
            assert not set("<>&\u2028\u2029") & set(found.scripts["application/json"])
            assert found.scripts["application/json"].isascii()

    def test_many_numbers_are_sent_compactly(self):
        view = local()
        rows = payload(view.to_html())["concepts"][0]["units"]
        assert len(base64.b64decode(rows[0])) == 4 * len(view.elements)


class TestTerminal:
    def test_bars_and_texts(self):
        shown = concepts_to_text(local(), width=80, color=False)
        first, *lines = shown.split("\n")
        assert first == "positive  2.50 logit"  # the prediction first
        assert lines[0].split() == ["1", "film", "█" * 10 + "░" * 6, "−0.750", "of", "1.25"]
        assert lines[1].split()[:4] == ["0", "joy", "·", "happy"] and "−0.400  of 0.600" in lines[1]
        assert "concept 1, activations up to 4.00" in shown and "lovely film[4.00]" in shown
        assert "sum over words of |effect|, in logit" in " ".join(shown.split())

    def test_colors_say_activations(self):
        shown = concepts_to_text(dataset(), width=80, color=True)
        assert "\x1b[" in shown and "[4.00]" not in shown
        assert str(dataset()).startswith("negative")

    @pytest.mark.parametrize("bad", INJECTIONS)
    def test_nothing_acts_on_the_terminal(self, bad):
        for make in (local, dataset):
            view = make((bad.replace(" ", "_"), "b"), (bad, "x"), bad, explainer=bad, unit=bad, scale=bad)
            shown = concepts_to_text(view, width=60, color=False)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)


class TestFigure:
    @pytest.fixture(autouse=True)
    def _own_settings(self):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            yield

    def axes(self, view) -> list[Axes]:
        return [axes for axes in view.plot(backend="matplotlib").axes if axes.get_label() != "<colorbar>"]

    def test_bars_are_importances_and_effects(self):
        positive, negative, *_ = self.axes(local())
        names = [label.get_text() for label in positive.get_yticklabels()]
        assert names == ["1 film", "0 joy · happy", "concept 2"]
        widths = [patch.get_width() for patch in positive.patches]
        assert widths == pytest.approx([-1.25, -0.6, 0.3, -0.75, -0.4, 0.3])  # pale, and then full
        assert [patch.get_alpha() for patch in positive.patches] == [0.3] * 3 + [None] * 3
        assert positive.get_title("left") == "positive: 2.50 logit"
        assert positive.get_xlabel() == "effect, logit\npale: importance"
        assert positive.get_xlim() == negative.get_xlim() == (-1.05 * 1.25, 1.05 * 1.25)

    def test_heat_maps_are_the_data(self):
        view = local()
        *_, outputs, text = self.axes(view)
        assert np.array_equal(outputs.images[0].get_array(), signed_importances(view).numpy())
        assert signed_importances(view)[0].tolist() == pytest.approx([1.25, -1.25])
        assert outputs.images[0].get_clim() == pytest.approx((-1.25, 1.25))
        assert [label.get_text() for label in outputs.get_xticklabels()] == ["negative", "positive"]
        assert (outputs.get_xlabel(), outputs.get_ylabel()) == ("class", "concept")
        assert np.array_equal(text.images[0].get_array(), ACTIVATIONS[:, [1, 0, 2]].T.numpy())
        assert text.images[0].get_clim() == (0.0, 4.0) and text.get_xlabel() == "word"
        assert [label.get_text() for label in text.get_xticklabels()] == ["lovely", "film"]

    def test_a_data_set_has_no_text(self):
        view = dataset()
        negative, positive, outputs = self.axes(view)
        assert negative.get_title("left") == "negative" and positive.get_title("left") == "positive"
        expected = [[1.0, 0.6], [-0.5, 0.8], [0.1, -0.2]]
        assert np.allclose(outputs.images[0].get_array(), expected)
        assert outputs.get_title("right").startswith("mean over 7 texts of the sum over words of |effect|")

    def test_texts_are_drawn_as_they_are(self, tmp_path):
        matplotlib.rcParams["text.usetex"] = True
        for bad in ("$\\frac{", "\\input{x}", INJECTIONS[0], "null\x00byte"):
            axes = local((bad.replace(" ", "_"), "b"), (bad, "x"), bad, unit=bad, scale=bad).plot(backend="matplotlib").axes
            texts = [text for one in axes for text in one.findobj(Text) if isinstance(text, Text) and text.get_text()]
            assert texts and not any(text.get_usetex() or text.get_parse_math() for text in texts)
        matplotlib.rcParams["text.usetex"] = False
        dataset((INJECTIONS[0].replace(" ", "_"), "b"), ("$x", "y"), INJECTIONS[1]).plot(
            tmp_path / "a.svg", backend="matplotlib"
        )
        written = (tmp_path / "a.svg").read_text(encoding="utf-8")
        assert "<script" not in written and "<img" not in written
