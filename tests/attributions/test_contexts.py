"""Answers about contexts: sparse regression over sources, documents as inputs, refinement of what matters."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from interpreto import BlackBox, ContextCite, Documents, KernelShap, Occlusion, Saliency
from interpreto.attributions.aggregations.lasso import LassoAggregator, lasso, sparse_errors, sparse_fit, tokens_of
from interpreto.attributions.links import log_odds
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator
from interpreto.errors import InputError, OptionError
from interpreto.inputs.samples import MaskVariants
from tests import tiny

SENTENCES = [f"The {thing} is {color}." for thing in ("film", "story", "cast", "end") for color in ("good", "bad", "long")]
CONTEXT = " ".join(SENTENCES)
WEIGHTS = {"The film is good.": 3.0, "The cast is long.": -2.0}


def sparse(texts):
    """An additive game with two players."""
    return np.array([sum(weight for part, weight in WEIGHTS.items() if part in text) for text in texts])


# --- The lasso


@pytest.mark.parametrize(("rows", "columns"), [(64, 12), (40, 90)])
@pytest.mark.parametrize("l1", [0.003, 0.05, 10.0])
def test_the_lasso_is_scikit_learns(rows, columns, l1):
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    present = (torch.rand(rows, columns, generator=generator) < 0.5).double()
    present[:, 3] = 1.0  # never removed: scikit-learn's scaler leaves such a column alone
    scores = present[:, :2] @ torch.tensor([[1.0], [-0.5]]).double() + 0.1 * torch.randn(rows, 1, generator=generator).double()
    spread = present.std(0, unbiased=False).where(present.std(0) > 0, torch.tensor(1.0).double())
    theirs = linear_model.Lasso(alpha=l1, tol=1e-14, max_iter=1_000_000)
    theirs.fit(((present - present.mean(0)) / spread).numpy(), scores[:, 0].numpy())
    ours = sparse_fit(present, scores, l1)[0][:, 0]
    torch.testing.assert_close(ours, torch.from_numpy(theirs.coef_) / spread, rtol=0, atol=1e-8)
    assert ours[3] == 0


def test_the_lasso_satisfies_its_conditions():
    generator = np.random.default_rng(0)
    design = generator.normal(size=(30, 50))
    gram, moment, l1 = design.T @ design / 30, design.T @ generator.normal(size=30) / 30, 0.1
    found = lasso(gram, moment, l1)
    slope = moment - gram @ found
    assert 0 < (found != 0).sum() < 30
    np.testing.assert_allclose(slope[found != 0], l1 * np.sign(found[found != 0]), atol=1e-10)
    assert np.abs(slope).max() <= l1 + 1e-10


@pytest.mark.parametrize("rows", [64, pytest.param(256, marks=pytest.mark.slow)])
def test_the_errors_of_the_lasso_are_calibrated(rows):
    """The truth is the lasso on all masks; coefficients that are zero there are within their intervals more often."""
    l1, units, inside, zeros = 0.05, 8, [], []
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * units)
    for game in range(6):
        draws = torch.Generator().manual_seed(game)
        weights = torch.randn(units, generator=draws).double() * (torch.rand(units, generator=draws) < 0.5)
        pairs = torch.randn(units, units, generator=draws).double().triu(1) / 4

        def play(present, weights=weights, pairs=pairs):
            return (present @ weights + torch.einsum("ri,ij,rj->r", present, pairs, present))[:, None]

        truth = sparse_fit(every, play(every), l1)[0]
        for _ in range(25):
            present = (torch.rand(rows, units, generator=draws) < 0.5).double()
            found, error = sparse_fit(present, play(present), l1)
            within = (found - truth).abs() <= 1.96 * error + 1e-9
            inside.append(within[truth != 0])
            zeros.append(within[truth == 0])
    assert 0.9 <= float(torch.cat(inside).double().mean()) <= 0.99
    assert float(torch.cat(zeros).double().mean()) >= 0.95


def test_the_errors_of_a_lasso_are_those_of_least_squares_where_there_is_no_penalty():
    draws = np.random.default_rng(0)
    design = draws.normal(size=(500, 4))
    design = (design - design.mean(0)) / design.std(0)
    scores = design @ [2.0, -1.0, 0.5, 3.0] + draws.normal(size=500) * (1 + np.abs(design[:, 0]))
    scores -= scores.mean()
    found, *_ = np.linalg.lstsq(design, scores, rcond=None)
    inverse, residuals = np.linalg.inv(design.T @ design), scores - design @ found
    borne = 1 / 500 + np.einsum("pk,kl,pl->p", design, inverse, design)
    robust = inverse @ (design.T * (residuals / (1 - borne)) ** 2) @ design @ inverse  # as MacKinnon and White's HC3
    np.testing.assert_allclose(sparse_errors(design, scores, found, 1e-12), np.sqrt(np.diag(robust)), rtol=1e-3)


def test_a_coefficient_that_no_more_masks_would_move_has_no_error():
    present = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 5).repeat(4, 1)
    found, error = sparse_fit(present, 3 * present[:, :1], 0.1)
    assert (found[1:] == 0).all() and (error[1:] == 0).all()
    none, sure = sparse_fit(present, torch.zeros(len(present), 1).double(), 0.1)
    assert not none.any() and not sure.any()
    doubtful = sparse_fit(present[:32], present[:32, :1] + 0.19 * present[:32, 1:2], 0.1)  # a pull of 0.095
    assert doubtful[0][1] == 0 and doubtful[1][1] > 0


def test_sources_are_drawn_until_a_tolerance_is_met():
    found = ContextCite(BlackBox(sparse), tolerance=0.1)(CONTEXT, 0)[0]
    assert found.stopped == "tolerance reached after 64 rows"  # those of the first round
    assert float(1.96 * found.standard_error.max()) <= 0.1 * abs(sum(WEIGHTS.values()))
    noisy = BlackBox(lambda texts: [zlib.crc32(text.encode()) % 7 for text in texts])
    explanation = ContextCite(noisy, tolerance=1e-3, n_perturbations=100)(CONTEXT, 0)[0]
    assert explanation.stopped.startswith("budget ended")
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    explainer = ContextCite(model, tokenizer, replacement="mean", tolerance=0.5)
    answered = explainer(CONTEXT, " was good")[0]
    assert answered.inference_mode == "log_odds" and "after" in answered.stopped and explainer.report()["tolerance"]


def test_each_answer_is_penalized_by_the_token():
    """Twice the tokens and twice the score: twice the values."""
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    sample = ContextCite(model, tokenizer, replacement="mean")("The film. A dog.", " was was", aggregate="token")[0].sample
    assert tokens_of(sample.targets).tolist() == [1, 1]
    assert tokens_of(sample.targets.summed(sample.text)).tolist() == [2]


def test_without_a_penalty_it_is_least_squares_with_standard_errors():
    free = ContextCite(BlackBox(sparse), l1=0.0)(CONTEXT, 0)[0]
    assert free.standard_error is not None
    wanted = torch.tensor([WEIGHTS.get(sentence, 0.0) for sentence in SENTENCES])
    torch.testing.assert_close(free.attributions[0], wanted, rtol=0, atol=1e-5)


def test_the_sources_of_a_sparse_game_are_found_and_no_others():
    explanation = ContextCite(BlackBox(sparse), n_perturbations=48)(CONTEXT, 0)[0]
    assert explanation.elements == SENTENCES
    values = dict(zip(explanation.elements, explanation.attributions[0].tolist(), strict=True))
    assert {sentence for sentence, value in values.items() if value} == set(WEIGHTS)
    for sentence, weight in WEIGHTS.items():
        assert values[sentence] == pytest.approx(weight, abs=0.05)  # shrunk by the penalty
        assert abs(values[sentence]) < abs(weight)


def test_many_sources_take_no_more_passes():
    asked = []

    def watched(texts):
        asked.extend(texts)
        return [float("story 77 " in text) for text in texts]

    text = " ".join(f"This is story {i} of them." for i in range(200))
    explanation = ContextCite(BlackBox(watched))(text, 0)[0]
    assert len(explanation.elements) == 200 and len(asked) == 64
    assert explanation.top(1)[0][0] == "This is story 77 of them."


def test_an_option_out_of_range_is_refused():
    for options in ({"l1": -1.0}, {"l1": float("nan")}, {"keep_probability": 0.0}, {"n_perturbations": 1}):
        with pytest.raises(OptionError, match=next(iter(options))):
            ContextCite(BlackBox(sparse), **options)


# --- Answers


def test_an_answer_is_explained_as_a_whole_by_its_log_odds():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    explainer = ContextCite(model, tokenizer, n_perturbations=12, replacement="mean")
    found = explainer(CONTEXT, " was good")[0]
    assert found.elements == SENTENCES and found.target_labels == ["was good"] and found.inference_mode == "log_odds"
    plain = Occlusion(model, tokenizer)(CONTEXT, " was good", aggregate="sequence", attribute_targets=False)[0]
    torch.testing.assert_close(found.base_scores, log_odds(plain.base_scores).float(), rtol=1e-5, atol=1e-5)
    tokens = explainer(CONTEXT, " was good", aggregate="token")[0]
    assert "".join(tokens.target_labels) == " was good"
    logits = ContextCite(model, tokenizer, n_perturbations=12, replacement="mean", inference_mode="logits")
    assert logits(CONTEXT, " was good")[0].inference_mode == "logits"


def test_the_values_are_those_of_the_lasso_on_the_same_masks():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    explainer = ContextCite(model, tokenizer, n_perturbations=20, replacement="mean", random_state=3)
    found = explainer(CONTEXT, " was good")[0]
    mask = RandomMaskedTokenPerturbator(20, 0.5).masks(len(SENTENCES), torch.Generator().manual_seed(3))
    scored = Occlusion(model, tokenizer, granularity="sentence", replacement="mean").model
    with scored.session():
        sample = found.sample
        ((_, outputs),) = scored.configured(explainer.task.read, replacement=explainer.replacement).scores(
            [MaskVariants(sample, mask)]
        )
    wanted = LassoAggregator().aggregate(log_odds(outputs[1:]), MaskVariants(sample, mask)).values
    torch.testing.assert_close(found.attributions.double(), wanted, rtol=1e-4, atol=1e-4)


# --- Documents


DOCUMENTS = Documents("Was it good?", {"report": "The film was good. We saw it.", "weather": "The rain fell on the city."})


def test_documents_are_read_with_names_and_a_question():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    whole = Occlusion(model, tokenizer, granularity="document")(DOCUMENTS, " was")[0]
    assert whole.elements[:2] == list(DOCUMENTS.documents)
    assert whole.text.startswith("[1] report\nThe film") and "Question: Was it good?\nAnswer: was" in whole.text
    sentences = Occlusion(model, tokenizer, granularity="sentence")([DOCUMENTS], " was", attribute_targets=False)[0]
    assert sentences.elements == ["The film was good.", "We saw it.", "The rain fell on the city."]
    assert [sentences.text[a:b] for a, b in DOCUMENTS.places(sentences.text)] == list(DOCUMENTS.documents)
    asked = []
    box = BlackBox(lambda texts: [asked.append(text) or float("good" in text) for text in texts])
    assert Occlusion(box, granularity="sentence")(DOCUMENTS, 0)[0].elements == sentences.elements
    assert all("Question: Was it good?" in text and "[2] weather" in text for text in asked)


def test_documents_are_a_message_where_there_is_a_chat_template():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    whole = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    tokenizer.chat_template = whole + "{% if add_generation_prompt %}<assistant>{% endif %}"
    found = Occlusion(model, tokenizer, granularity="document", replacement="mean")(DOCUMENTS, "was", attribute_targets=False)[
        0
    ]
    assert found.text.startswith("<user>[1] report") and found.text.endswith("Question: Was it good?<assistant>was")
    assert found.elements == list(DOCUMENTS.documents)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("Why?", []), "documents"),
        (("Why?", "one text"), "documents"),
        (("", ["a"]), "question"),
        (("Why?", ["a", " "]), "documents\\[1\\]"),
        (("Why?", ["a"], ["x", "y"]), "names"),
        (("Why?", {"x": "a"}, ["x"]), "names"),
    ],
)
def test_documents_that_cannot_be_asked_about_are_refused(arguments, what):
    with pytest.raises(InputError, match=what):
        Documents(*arguments)


# --- Refinement


def test_only_the_strongest_units_are_cut_and_the_rest_stays():
    asked = []

    def watched(texts):
        asked.extend(texts)
        return sparse(texts)

    explainer = Occlusion(BlackBox(watched), granularity="sentence")
    coarse = explainer(CONTEXT, 0)
    asked.clear()
    found = explainer.refine(coarse, "word", top=2)[0]
    assert found.elements == ["The", "film", "is", "good", ".", "The", "cast", "is", "long", "."]
    assert found.granularity == "word" and found.text == CONTEXT and len(asked) == 11
    assert found.attributions[0].tolist() == [3.0] * 5 + [-2.0] * 5
    others = [sentence for sentence in SENTENCES if sentence not in WEIGHTS]
    assert all(sentence in text for text in asked for sentence in others)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_refined_text_is_the_text_with_these_units(family):
    """The parts of one sentence are explained as its words would be if they alone were units."""
    model, tokenizer = tiny.CLASSIFIERS[family]()
    text = "Great music. The film was terrible."
    explainer = KernelShap(model, tokenizer, granularity="sentence", replacement="mean")
    found = explainer.refine(explainer(text, 1), "word", top=1)[0]
    start, end = found.spans[0][0], found.spans[-1][1]
    assert text[start:end] in ("Great music.", "The film was terrible.")
    wanted = KernelShap(model, tokenizer, replacement="mean")(text, 1, spans=found.spans)[0]
    assert found.elements == wanted.elements
    torch.testing.assert_close(found.attributions, wanted.attributions, rtol=1e-5, atol=1e-5)
    gap = found.base_scores - found.reference_scores
    torch.testing.assert_close(found.attributions.sum(1), gap, rtol=1e-4, atol=1e-4)


def test_documents_are_refined_to_sentences_and_these_to_words():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    explainer = ContextCite(model, tokenizer, granularity="document", replacement="mean", n_perturbations=8)
    coarse = explainer(DOCUMENTS, " was good")
    sentences = explainer.refine(coarse, "sentence", top=2)
    assert sentences[0].elements == ["The film was good.", "We saw it.", "The rain fell on the city."]
    words = Occlusion(model, tokenizer).refine(sentences, "word", top=1)[0]
    assert "".join(words.elements) in [text.replace(" ", "") for text in sentences[0].elements]
    assert words.target_labels == coarse[0].target_labels


def test_what_cannot_be_refined_is_refused(tmp_path):
    explainer = Occlusion(BlackBox(sparse), granularity="sentence")
    coarse = explainer(CONTEXT, 0)
    with pytest.raises(InputError, match="outputs"):
        explainer.refine(CONTEXT)
    with pytest.raises(OptionError, match="top"):
        explainer.refine(coarse, top=0)
    with pytest.raises(OptionError, match="all_tokens"):
        explainer.refine(coarse, "all_tokens")
    coarse[0].save(tmp_path / "explanation")
    loaded = type(coarse[0]).load(tmp_path / "explanation")
    assert explainer.refine(loaded)[0].elements == explainer.refine(coarse)[0].elements
    old = replace(loaded, sample=replace(loaded.sample, offsets=()))  # as files of 0.1
    with pytest.raises(InputError, match="file"):
        explainer.refine(old)
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with pytest.raises(OptionError, match="passes"):
        Saliency(model, tokenizer).refine(coarse)
