"""Token classification: entities as pipelines group them, targets in every form, tokens that know nothing of each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import nn

from interpreto import Contrast, InputXGradient, Occlusion
from interpreto.errors import OptionError, TargetError
from interpreto.metrics import Deletion
from interpreto.models.tasks import TokenClassification
from interpreto.models.tasks.token_classification import entities
from tests import tiny
from tests.contracts.zoo import ATTENTION_METHODS, METHODS
from tests.tiny_tasks import TAGGERS, TAGS

TEXT = "Paris is the capital of France, and Rome is not."
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


class PerToken(nn.Module):
    """Logits of each token that depend on this token alone, linearly."""

    def __init__(self, vocabulary, tags=5):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding, self.head = nn.Embedding(vocabulary, 6), nn.Linear(6, tags)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.config = SimpleNamespace(id2label=dict(enumerate(TAGS)))

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.head(self.embedding(input_ids)))


@pytest.fixture(scope="module")
def bert():
    return TAGGERS["bert"]()


NOISY = (
    "Sobol",
    "Banzhaf",
    "Rise",
    "LimeWithPrior",
    "ContextCite",
    "ReAGent",
)  # few draws of others' scores, a penalty, shares
PER_TOKEN = [m for m in METHODS if m.__name__ not in NOISY and m not in ATTENTION_METHODS]  # the model has no attention


@pytest.mark.parametrize("method", PER_TOKEN, ids=lambda m: m.__name__)
def test_a_word_that_tags_itself_owes_nothing_to_the_others(method):
    tokenizer = tiny.wordpiece()
    model = PerToken(len(tokenizer))
    targets = [(position, "B-PER") for position in range(1, 8)]
    explainer = method(model, tokenizer, task="token-classification", granularity="token", **METHODS[method])
    values = explainer("the old man walks", targets)[0].attributions
    own = torch.eye(*values.shape).bool()
    if method.__name__ in ("Lime", "KernelShap"):  # fitted
        bound = 1e-3 * values.abs().max()
    elif explainer.signed or method.__name__ in ("Saliency", "SquareGrad"):
        bound = 1e-6
    else:
        bound = 1e-4 * values.abs().max() + 1e-6
    assert (values[~own].abs() <= bound).all()
    if method.__name__ != "VarGrad":  # the gradient of a linear model does not vary
        assert values[own].abs().min() > 1e-3


def test_values_of_a_linear_model_are_its_logits():
    tokenizer = tiny.wordpiece()
    model = PerToken(len(tokenizer))
    found = InputXGradient(model, tokenizer, task="token-classification", granularity="token")(
        "the old", [(1, 3), (2, "I-PER")]
    )
    ids = tokenizer("the old", add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    wanted = torch.stack([model.embedding(ids[0]) @ model.head.weight[3], model.embedding(ids[1]) @ model.head.weight[2]])
    torch.testing.assert_close(found[0].attributions.diagonal(), wanted.detach())
    assert found[0].targets.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ("B-PER I-PER O I-PER", [("PER", [0, 1]), ("PER", [3])]),
        ("B-PER B-PER I-LOC", [("PER", [0]), ("PER", [1]), ("LOC", [2])]),
        ("I-LOC I-LOC B-LOC", [("LOC", [0, 1]), ("LOC", [2])]),
        ("NOUN NOUN VERB", [("NOUN", [0, 1]), ("VERB", [2])]),
        ("O O", []),
    ],
)
def test_tags_are_grouped_with_and_without_prefixes(labels, groups):
    labels = labels.split()
    assert entities(labels, [False] * len(labels)) == groups


def test_special_tokens_part_entities():
    assert entities(["B-PER", "I-PER", "I-PER"], [False, True, False]) == [("PER", [0]), ("PER", [2])]


@pytest.mark.parametrize("family", TAGGERS)
def test_without_targets_the_entities_of_the_pipeline_are_explained(family):
    model, tokenizer = TAGGERS[family]()
    pipeline = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
    texts = [text for text in tiny.CORPUS[:20] if pipeline(text)]
    assert len(texts) > 5 and sum(len(pipeline(text)) > 1 for text in texts) > 3
    for text, explanation in zip(texts, Occlusion(model, tokenizer, inference_mode="softmax")(texts), strict=True):
        wanted = pipeline(text)
        kinds = [label.rsplit(": ", 1)[1] for label in explanation.target_labels]
        assert kinds == [entity["entity_group"] for entity in wanted]
        for span, entity in zip(explanation.target_spans, wanted, strict=True):
            assert span == (entity["start"] + (text[entity["start"]] == " "), entity["end"])
        scores = torch.tensor([float(entity["score"]) for entity in wanted])
        torch.testing.assert_close(explanation.base_scores, scores, rtol=1e-5, atol=1e-6)
        again = Occlusion(model, tokenizer, inference_mode="softmax")(text, wanted)[0]  # what a pipeline returns is a target
        assert again.target_spans == explanation.target_spans


def test_places_and_tags_in_every_form(bert):
    model, tokenizer = bert
    explainer = Occlusion(model, tokenizer)
    paris = ("Paris", "LOC")
    wanted = explainer(TEXT, paris)[0]
    assert wanted.target_labels == ["Paris: LOC"] and wanted.target_spans == [(0, 5)]
    for same in ([paris], ((0, 5), "LOC"), (1, "B-LOC"), (1, 3), {"start": 0, "end": 5, "entity_group": "LOC"}):
        found = explainer(TEXT, same)[0]
        torch.testing.assert_close(found.attributions, wanted.attributions)
    both = explainer([TEXT, "Paris in France"], [[paris, ("France", "PER")], paris])
    assert [found.target_labels for found in both] == [["Paris: LOC", "France: PER"], ["Paris: LOC"]]
    assert [len(found.target_labels) for found in explainer([TEXT, "Paris in France"], paris)] == [1, 1]
    alike = explainer([TEXT, "Paris"], iter([paris, paris]))
    assert len(alike) == 2


def test_an_entity_of_several_tokens_is_the_mean_of_its_tags(bert):
    model, tokenizer = bert
    found = Occlusion(model, tokenizer)(TEXT, [("France", "LOC"), ("France", "I-LOC"), ("Rome", Contrast("LOC", "PER"))])[0]
    with torch.no_grad():
        logits = model(**tokenizer(TEXT, return_tensors="pt")).logits[0]
    names = tokenizer.convert_ids_to_tokens(found.sample.input_ids.tolist())
    at = names.index("f")
    assert names[at : at + 4] == ["f", "##r", "##an", "##ce"]
    mixed = (logits[at, 3] + logits[at + 1 : at + 4, 4].sum()) / 4
    inside = logits[at : at + 4, 4].mean()
    r = names.index("r", at + 4)
    contrast = ((logits[r, 3] - logits[r, 1]) + (logits[r + 1, 4] - logits[r + 1, 2])) / 2
    torch.testing.assert_close(found.base_scores, torch.stack([mixed, inside, contrast]))
    assert found.target_labels[2] == "Rome: LOC − PER"


def test_a_model_without_prefixes(bert):
    model, tokenizer = bert
    task = TokenClassification(Occlusion(model, tokenizer).task.mode, dict(enumerate(["O", "PER", "LOC", "NOUN", "VERB"])))
    found = Occlusion(model, tokenizer, task=task)(TEXT, ("France", "LOC"))[0]
    with torch.no_grad():
        logits = model(**tokenizer(TEXT, return_tensors="pt")).logits[0]
    at = found.sample.targets.readouts[0].positions
    torch.testing.assert_close(found.base_scores[0], logits[at, 2].mean())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (("Berlin", "LOC"), "'Berlin' does not occur"),
        (("is", "LOC"), r"'is' occurs 2 times, at the characters \(6, 8\), \(41, 43\)"),
        (("Paris", "LOCK"), "no tag is called 'LOCK'; there are 'LOC', 'O', 'PER'. Did you mean 'LOC'"),
        ((99, "LOC"), "token 99 is not in 0..17"),
        (((3, 90), "LOC"), r"got the characters \(3, 90\) of a text of 48"),
        (("Paris", 9), r"class 9 is not in 0..4"),
        (("Paris", Contrast("LOC", "LOC")), "between 'LOC' and itself"),
        ("LOC", "pass None"),
        ([["Paris"]], "pass None"),
        ({"start": 0, "end": 5}, "must have 'entity' or 'tag'"),
        ({"entity": "LOC"}, "must have 'start' and 'end'"),
        ([], "pass None"),
    ],
)
def test_targets_that_are_none(bert, target, said):
    with pytest.raises(TargetError, match=said):
        Occlusion(*bert)(TEXT, target)


def test_a_text_without_entities_says_so():
    model, tokenizer = TAGGERS["bert"]()
    with torch.no_grad():
        model.classifier.bias[0] += 100
    with pytest.raises(TargetError, match=r"the model finds no entity in .* \(every token is 'O'\); pass a target"):
        Occlusion(model, tokenizer)(TEXT)


def test_options_of_generations_are_refused(bert):
    with pytest.raises(OptionError, match="`aggregate`: got 'unit'; only generations have it"):
        Occlusion(*bert)(TEXT, aggregate="unit")


def test_rows_of_entities_are_no_sequence(bert):
    with pytest.raises(OptionError, match="rows of a token classification are no sequence"):
        Occlusion(*bert)(TEXT, [("Paris", "LOC"), ("Rome", "LOC")])[0].sequence()


def test_an_adapter_around_a_tagger_is_a_tagger(bert):
    peft = pytest.importorskip("peft")
    model, tokenizer = TAGGERS["bert"]()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], task_type="TOKEN_CLS"))
    explanation = Occlusion(wrapped, tokenizer)(TEXT, ("Paris", "LOC"))[0]
    assert explanation.model_task == "token classification"


def test_deletion_begins_at_the_probability_of_the_tag(bert):
    model, tokenizer = bert
    curve = Deletion(model, tokenizer).run(Occlusion(model, tokenizer)(TEXT, ("Paris", "LOC")))
    with torch.no_grad():
        logits = model(**tokenizer(TEXT, return_tensors="pt")).logits[0]
    assert float(curve.details["curves"][0][0][0]) == pytest.approx(float(logits[1].softmax(-1)[3]), abs=1e-5)
