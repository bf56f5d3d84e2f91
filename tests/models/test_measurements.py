"""Models that are not what their class says are refused by name; those that are, are not."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from interpreto import InputXGradient, KernelShap, Occlusion, Saliency
from interpreto.errors import ModelError, OptionError
from interpreto.models.lengths import longest_input
from tests import tiny

BERT_LM = partial(tiny._build, "BertLMHeadModel", tiny.wordpiece)
XLNET_LM = partial(tiny._build, "XLNetLMHeadModel", tiny.xlnet_unigram, tiny._XLNET)
RWKV = partial(
    tiny._build,
    "RwkvForCausalLM",
    tiny.byte_bpe,
    {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 128},
)
FNET = partial(
    tiny._build,
    "FNetForSequenceClassification",
    tiny.wordpiece,
    {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "max_position_embeddings": 128},
)
TEXT, TARGET = "The film was great and the story is", " a mess"
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


@pytest.mark.parametrize("method", [Occlusion, KernelShap, Saliency])
@pytest.mark.parametrize("build", [XLNET_LM, partial(BERT_LM, tiny._DENSE)], ids=["xlnet", "bert"])
def test_a_language_model_that_looks_ahead_is_refused(build, method):
    model, tokenizer = build()
    with pytest.raises(ModelError, match=rf"`model`: {type(model).__name__} reads the tokens that follow"):
        method(model, tokenizer)(TEXT, TARGET)


@pytest.mark.parametrize("family", tiny.CAUSAL_LMS)
def test_a_causal_language_model_is_measured_once(family):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    counts = []
    for _ in range(2):
        calls.clear()
        Saliency(model, tokenizer)(TEXT, TARGET)
        counts.append(len(calls))
    assert counts[0] == counts[1] + 4  # two runs for what follows, two for the ids


def test_a_decoder_among_encoders_is_causal():
    model, tokenizer = BERT_LM(tiny._DENSE | {"is_decoder": True})
    assert Occlusion(model, tokenizer)(TEXT, TARGET)[0].attributions.isfinite().any()


class Twice(torch.nn.Module):
    """A classifier that looks its ids up a second time, as Gemma 3n does in every layer."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config, self.get_input_embeddings = inner, inner.config, inner.get_input_embeddings
        self.table = torch.nn.Embedding(inner.get_input_embeddings().num_embeddings, 3)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        logits = self.inner(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits
        return logits + (self.table(input_ids) * torch.arange(input_ids.shape[1])[:, None]).sum(1)


@pytest.mark.parametrize(("method", "options"), [(Occlusion, {"replacement": "zero"}), (InputXGradient, {})])
def test_ids_that_are_looked_up_twice_are_not_replaced_once(method, options):
    bert, tokenizer = tiny.CLASSIFIERS["bert"]()
    model = Twice(bert)
    with pytest.raises(ModelError, match=r"Twice looks token ids up a second time"):
        method(model, tokenizer, **options)(TEXT, [0])
    assert Occlusion(model, tokenizer)(TEXT, [0])[0].attributions.abs().min() > 0


@pytest.mark.parametrize(("build", "target"), [(FNET, [0]), (RWKV, TARGET)], ids=["fnet", "rwkv"])
def test_attention_that_hides_nothing_is_refused(build, target):
    model, tokenizer = build()
    with pytest.raises(OptionError, match=r"`replacement`: 'attention' (hides nothing|does not hide)"):
        Occlusion(model, tokenizer, replacement="attention")(TEXT, target)
    assert Occlusion(model, tokenizer, replacement="drop")(TEXT, target)[0].attributions.nan_to_num().abs().max() > 0


@pytest.mark.parametrize("family", [*tiny.CLASSIFIERS, *tiny.SEQ2SEQ_CLASSIFIERS])
def test_attention_hides_from_every_other_classifier(family):
    model, tokenizer = {**tiny.CLASSIFIERS, **tiny.SEQ2SEQ_CLASSIFIERS}[family]()
    assert Occlusion(model, tokenizer, replacement="attention")(TEXT, [0])[0].attributions.isfinite().all()


def test_models_of_pictures_are_refused():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    model.main_input_name = "pixel_values"
    with pytest.raises(ModelError, match="reads `pixel_values`; interpreto explains models that read text"):
        Occlusion(model, tokenizer)


def test_every_name_of_the_longest_input_is_known():
    led = {key: value for key, value in tiny._BART.items() if key != "max_position_embeddings"}
    led |= {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 16, "attention_window": [4, 4]}
    mpt = {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 48}
    for build, longest in (
        (partial(tiny._build, "LEDForConditionalGeneration", tiny.roberta_bpe, led), 64),
        (partial(tiny._build, "MptForCausalLM", tiny.byte_bpe, mpt), 48),
    ):
        model, tokenizer = build()
        assert longest_input(model, tokenizer) == longest
        with pytest.raises(ValueError, match=f"the model takes {longest}"):
            Occlusion(model, tokenizer)("a film " * 40, TARGET)
    model, tokenizer = tiny._build("LEDForConditionalGeneration", tiny.roberta_bpe, led)
    with pytest.raises(ValueError, match="the model takes 16"):
        Occlusion(model, tokenizer)("a film", " great" * 20)
