"""What cannot be explained is refused with an error that names the argument, what was got and what is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from interpreto import (
    AttributionOutput,
    GradientShap,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
    VarGrad,
)
from interpreto.errors import (
    FileError,
    InputError,
    InterpretoError,
    ModelError,
    OptionError,
    TargetError,
    TaskError,
    TokenizerError,
)
from tests import tiny

TEXT = "The film was terrible."
WORDS = 5


@cache
def bert() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    return tiny.CLASSIFIERS["bert"]()


def explain(inputs: Any, targets: Any = None, *, spans: Any = None, **options: Any) -> Any:
    """Occlusion of a tiny BERT."""
    return Occlusion(*bert(), **options)(inputs, targets, spans=spans)


def explain_many_classes(target: str, name: Callable[[int], str] = "intent {}".format) -> Any:
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    model.config.id2label = {i: name(i) for i in range(1000)}
    return Occlusion(model, tokenizer)(TEXT, target)


def headed(name: str) -> PreTrainedModel:
    """A tiny BERT with another head."""
    return getattr(transformers, name)(tiny.CLASSIFIERS["bert"]()[0].config).eval()


def ids(*values: int) -> Tensor:
    return torch.tensor(values)


def of_kind(kind: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    model.config.problem_type = kind
    return model, tokenizer


def without(name: str) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer without one of its special tokens."""
    tokenizer = tiny.wordpiece()
    setattr(tokenizer, name, None)
    return tokenizer


class Bare(nn.Module):
    """Answers whatever it is told to; it has no embeddings, no config and no parameters."""

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        return self.answer(input_ids)


def answering(*shape: int, value: float = 0.0) -> Bare:
    return Bare(lambda input_ids: SimpleNamespace(logits=torch.full((len(input_ids), *shape), value)))


def bare(model: nn.Module, method: Any = Occlusion, inputs: Any = TEXT, targets: Any = None, **options: Any) -> Any:
    return method(model, tiny.wordpiece(), **options)(inputs, targets)


def load(content: bytes | dict[str, str] | None) -> AttributionOutput:
    """Load a file of these bytes, a safetensors file of these metadata, or none."""
    path = Path("explanation.safetensors")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file({"a": torch.zeros(1)}, str(path), metadata=content)
    return AttributionOutput.load(path)


Case = tuple[type[InterpretoError], str, Callable[[], Any]]

INPUTS: dict[str, Case] = {
    "nothing": (InputError, r"`inputs`: got nothing to explain \(\[\]\); pass a text", lambda: explain([])),
    "empty text": (InputError, r"`inputs`: the text is empty \(''\)", lambda: explain("")),
    "white space": (InputError, r"`inputs\[1\]`: the text is empty \(' \\n'\)", lambda: explain([TEXT, " \n"])),
    "half a pair": (InputError, r"`inputs`: the text is empty \(\('', 'b'\)\)", lambda: explain(("", "b"))),
    "only special tokens": (
        InputError,
        r"`inputs\[0\]`: '\[CLS\] \[SEP\]' has no unit to explain: .*ALL_TOKENS explains special tokens",
        lambda: explain(ids(2, 3)),
    ),
    "an integer": (InputError, r"`inputs`: got int; pass a text, a \(text, text\) pair, a chat", lambda: explain(3)),
    "none": (InputError, r"`inputs`: got NoneType; pass a text", lambda: explain(None)),
    "bytes": (InputError, r"`inputs`: got bytes; pass a text", lambda: explain(b"a film")),
    "none in a list": (InputError, r"`inputs\[1\]`: got None; pass a text", lambda: explain([TEXT, None])),
    "ids in a list": (InputError, r"`inputs\[0\]`: got 5; pass .*1-D or 2-D tensor of ids", lambda: explain([5, 6])),
    "mapping without ids": (
        InputError,
        r"`inputs`: got a mapping without 'input_ids' \(\['text'\]\); pass",
        lambda: explain({"text": TEXT}),
    ),
    "ragged ids": (
        InputError,
        r"`inputs`\['input_ids'\]: no tensor can be made of it .*padding=True",
        lambda: explain({"input_ids": [[5, 6], [7]]}),
    ),
    "mask of another shape": (
        InputError,
        r"`inputs`\['attention_mask'\]: got shape \(1, 3\), but 'input_ids' has 1 rows of 2",
        lambda: explain({"input_ids": ids(5, 6)[None], "attention_mask": torch.ones(1, 3)}),
    ),
    "mask of nothing": (
        InputError,
        r"`inputs`: there are no tokens",
        lambda: explain({"input_ids": ids(5, 6), "attention_mask": ids(0, 0)}),
    ),
    "float ids": (InputError, r"`inputs`: got torch.float32 values; token ids are integers", lambda: explain(torch.ones(3))),
    "id beyond": (InputError, r"`inputs`: token id 9999 is not in 0\.\.\d+", lambda: explain(ids(5, 9999))),
    "negative id": (InputError, r"`inputs`: token id -1 is not in 0\.\.\d+", lambda: explain(ids(5, -1))),
    "3-D ids": (
        InputError,
        r"`inputs`: got a tensor of 3 dimensions; ids have one \(a text\) or two \(a batch\)",
        lambda: explain(torch.ones(1, 1, 2).long()),
    ),
    "batch of nothing": (InputError, r"`inputs`: got a batch of shape \(0, 4\)", lambda: explain(torch.zeros(0, 4).long())),
    "unknown inputs": (
        InputError,
        r"`inputs`: cannot explain with the inputs \['pixel_values'\]; it takes \['attention_mask'",
        lambda: explain({"input_ids": ids(5, 6), "pixel_values": torch.zeros(1)}),
    ),
    "chat without template": (
        TokenizerError,
        r"`inputs`: got a chat, but the tokenizer has no chat template; pass a text",
        lambda: explain([{"role": "user", "content": TEXT}]),
    ),
    "message without content": (
        InputError,
        r"`inputs`: no message has text in 'content' \(\[\{'role': 'user'\}\]\)",
        lambda: Occlusion(tiny.CLASSIFIERS["gpt2"]()[0], tiny.chat())([{"role": "user"}]),
    ),
    "too long": (
        InputError,
        r"`inputs\[1\]`: \d+ tokens, and the model takes 128; .*truncation=True",
        lambda: explain([TEXT, TEXT * 50]),
    ),
    "overlapping spans": (
        InputError,
        r"`spans`: \(2, 8\) begins before the previous span ends; sort them, without overlap",
        lambda: explain(TEXT, spans=[(0, 3), (2, 8)]),
    ),
    "span beyond": (
        InputError,
        r"`spans`: got \(4, 99\) for a text of 22 characters; .* <= 22",
        lambda: explain(TEXT, spans=[(4, 99)]),
    ),
    "span of no token": (
        InputError,
        r"`spans`: no token begins in \(5, 7\) \('il'\)",
        lambda: explain(TEXT, spans=[(0, 3), (5, 7)]),
    ),
    "a tuple of three texts": (
        InputError,
        r"`inputs`: got a tuple of 3 texts, and a tuple of two is a pair, one input; pass a list",
        lambda: explain((TEXT, TEXT, TEXT)),
    ),
    "a set of texts": (InputError, r"`inputs`: got a set, whose order is easily lost; pass a list", lambda: explain({TEXT})),
    "values of a dictionary": (
        InputError,
        r"`inputs`: got a dict_values, whose order is easily lost; pass a list",
        lambda: explain({"a": TEXT}.values()),
    ),
    "a table": (
        InputError,
        r"`inputs`: got a DataFrame with the columns \['review', 'stars'\]; pass one column, as in table\['review'\]",
        lambda: explain(pandas.DataFrame({"review": [TEXT], "stars": [5]})),
    ),
    "a data set": (
        InputError,
        r"`inputs`: got a Dataset with the columns \['text'\]; pass one column, as in table\['text'\]",
        lambda: explain(type("Dataset", (), {"column_names": ["text"]})()),
    ),
    "an array of pairs": (
        InputError,
        r"`inputs`: got an array of texts of shape \(1, 2\); pass a column of it, or a list of pairs",
        lambda: explain(np.array([[TEXT, TEXT]])),
    ),
    "half a surrogate pair": (
        InputError,
        r"`inputs\[1\]`: '\\ud83d' at character 4 is half a surrogate pair",
        lambda: explain([TEXT, "bad \ud83d film"]),
    ),
    "half a surrogate pair in the second text of a pair": (
        InputError,
        r"`inputs`: '\\udfff' at character 0 is half a surrogate pair",
        lambda: explain((TEXT, "\udfff")),
    ),
    "a message that is a number": (
        InputError,
        r"`inputs`: the message \{'role': 'user', 'content': 5\} has no text in 'content'; pass a text or a list of parts",
        lambda: Occlusion(tiny.CLASSIFIERS["gpt2"]()[0], tiny.chat())([{"role": "user", "content": 5}]),
    ),
    "a message that is a picture": (
        InputError,
        r"`inputs`: the parts \['image'\] of a message hold no text",
        lambda: Occlusion(tiny.CLASSIFIERS["gpt2"]()[0], tiny.chat())(
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "url": "b"}]}]
        ),
    ),
    "spans of floats": (
        InputError,
        r"`spans`: got \(0\.5, 3\); pass pairs of whole numbers",
        lambda: explain([TEXT], spans=[[(0.5, 3)]]),
    ),
    "spans for another count": (
        InputError,
        r"`spans`: got 1 lists for 2 inputs; pass one list of \(start, end\) for each",
        lambda: explain([TEXT, TEXT], spans=[[(0, 3)]]),
    ),
}
TARGETS: dict[str, Case] = {
    "too few": (TargetError, r"`targets`: got 1 for 2 inputs; pass one per input", lambda: explain([TEXT] * 2, [1])),
    "rows of another count": (
        TargetError,
        r"`targets`: got 3 for 2 inputs; pass one per input",
        lambda: explain([TEXT] * 2, torch.zeros(3, 2).long()),
    ),
    "unknown name": (
        TargetError,
        r"`targets`: no class is called 'postive'; there are 'negative', 'neutral', 'positive'\. Did you mean 'positive'\?",
        lambda: explain(TEXT, "postive"),
    ),
    "class beyond": (TargetError, r"`targets`: class 3 is not in 0\.\.2", lambda: explain(TEXT, 3)),
    "negative class": (TargetError, r"`targets\[1\]`: class -1 is not in 0\.\.2", lambda: explain([TEXT] * 2, [0, -1])),
    "class beyond unnamed ones": (
        TargetError,
        r"`targets`: class 2 is not in 0\.\.1",
        lambda: bare(answering(2), targets=2, replacement="mask"),
    ),
    "negative unnamed class": (
        TargetError,
        r"`targets`: class -1 is negative; classes begin at 0",
        lambda: bare(answering(2), targets=-1, replacement="mask"),
    ),
    "float": (TargetError, r"`targets`: got float; pass None \(the prediction\), a class id", lambda: explain(TEXT, 1.0)),
    "floats": (
        TargetError,
        r"`targets`: got torch.float32 values; class ids are integers",
        lambda: explain(TEXT, torch.tensor([1.0])),
    ),
    "boolean": (TargetError, r"`targets`: got True; pass None \(the prediction\), a class id", lambda: explain(TEXT, True)),
    "empty list": (TargetError, r"`targets`: names no class; pass None", lambda: explain(TEXT, [])),
    "many names": (
        TargetError,
        r"`targets`: no class is called 'intent 7x'; there are .*'intent 9', … \(1,000 names\)\. Did you mean .*'\?$",
        lambda: explain_many_classes("intent 7x"),
    ),
    "two classes of one name": (
        TargetError,
        r"`targets`: 1000 classes are called 'other' \(\[0, 1, .*; pass the id of one",
        lambda: explain_many_classes("other", lambda i: "other"),
    ),
    "a set of classes": (
        TargetError,
        r"`targets`: got a set, whose order is easily lost; pass a list",
        lambda: explain(TEXT, {1}),
    ),
    "a table of classes": (
        TargetError,
        r"`targets`: got a DataFrame; pass one of its columns",
        lambda: explain(TEXT, pandas.DataFrame({"label": [1]})),
    ),
    "a column with a missing class": (
        TargetError,
        r"`targets\[0\]`: got 1\.0; pass None",
        lambda: explain([TEXT] * 2, pandas.Series([1.0, None])),
    ),
    "an array with a missing class": (
        TargetError,
        r"`targets`: got float64 values; class ids are integers \(a missing value makes a column floats\)",
        lambda: explain([TEXT] * 2, np.array([1.0, np.nan])),
    ),
    "3-D": (
        TargetError,
        r"`targets`: got a tensor of 3 dimensions; ids have one or two",
        lambda: explain(TEXT, torch.zeros(1, 1, 1).long()),
    ),
}
OPTIONS: dict[str, Case] = {
    "unknown": (
        OptionError,
        r"`granularty`: Occlusion has no such option; those of every method are granularity, .*Did you mean `granularity`\?",
        lambda: explain(TEXT, granularty="word"),
    ),
    "granularity": (
        OptionError,
        r"`granularity`: got 'syllable'; pass a Granularity or one of 'all_tokens', 'token', 'word', 'sentence', 'paragraph'",
        lambda: explain(TEXT, granularity="syllable"),
    ),
    "granularity_aggregation_strategy": (
        OptionError,
        r"`granularity_aggregation_strategy`: got 'median'; pass .* 'mean', 'max', .*'last'",
        lambda: Saliency(*bert(), granularity_aggregation_strategy="median"),
    ),
    "inference_mode": (
        OptionError,
        r"`inference_mode`: got 'hardmax'; pass an? InferenceModes or one of 'logits', 'softmax', 'log_softmax', 'sigmoid'",
        lambda: explain(TEXT, inference_mode="hardmax"),
    ),
    "inference_mode of another shape": (
        OptionError,
        r"`inference_mode`: first turned logits \(\d+, 3\) into \(\d+, 1\); it must keep their shape",
        lambda: explain(TEXT, 0, inference_mode=first),
    ),
    "softmax of many labels": (
        OptionError,
        r"`inference_mode`: a softmax over the outputs of a multi-label model has no meaning; use 'logits' or 'sigmoid'",
        lambda: Occlusion(*of_kind("multi_label_classification"), inference_mode="softmax"),
    ),
    "log-softmax of a regression": (
        OptionError,
        r"`inference_mode`: a softmax over the outputs of a regression model has no meaning; use 'logits'",
        lambda: Occlusion(*of_kind("regression"), inference_mode="log_softmax"),
    ),
    "task": (
        OptionError,
        r"`task`: got 'translation'; pass 'classification', 'single-label', 'multi-label', 'regression', .* or None",
        lambda: explain(TEXT, task="translation"),
    ),
    "mask without mask token": (
        TokenizerError,
        r"`replacement`: the tokenizer has no mask token; use 'mean', 'zero' or a token id",
        lambda: Occlusion(bert()[0], without("mask_token"), replacement="mask"),
    ),
    "replacement id beyond": (
        OptionError,
        r"`replacement`: token id 9999 is not in 0\.\.\d+",
        lambda: explain(TEXT, replacement=9999),
    ),
    "replacement": (
        OptionError,
        r"`replacement`: got 'blank'; pass one of 'auto', 'mask', .*'attention' or a token id",
        lambda: explain(TEXT, replacement="blank"),
    ),
    "drop of everything": (
        OptionError,
        r"`replacement`: 'drop' leaves no token .*; use 'mean', 'attention' or a token",
        lambda: Occlusion(*tiny.CLASSIFIERS["gpt2"](), replacement="drop")("Great"),
    ),
    "baseline": (
        OptionError,
        r"`baseline`: got 'black'; pass one of 'auto', 'zero', 'pad', .*, a number or a tensor",
        lambda: IntegratedGradients(*bert(), baseline="black"),
    ),
    "baseline of another shape": (
        OptionError,
        r"`baseline`: got shape \(7,\); pass a number, \(32,\) or \(\d+, 32\)",
        lambda: IntegratedGradients(*bert(), baseline=torch.zeros(7))(TEXT),
    ),
    "baseline without its token": (
        TokenizerError,
        r"`baseline`: the tokenizer has no pad token; use 'mean', 'zero'",
        lambda: GradientShap(bert()[0], without("pad_token"), baseline="pad"),
    ),
    "batch_size": (
        OptionError,
        r"`batch_size`: got 0; pass a whole number of at least 1",
        lambda: explain(TEXT, batch_size=0),
    ),
    "device": (
        OptionError,
        r"`device`: got 'gpu', which is the name of no device; .*'cuda'",
        lambda: explain(TEXT, device="gpu"),
    ),
    "n_perturbations": (
        OptionError,
        r"`n_perturbations`: got 0; pass a whole number of at least 1",
        lambda: IntegratedGradients(*bert(), n_perturbations=0),
    ),
    "n_perturbations of a variance": (
        OptionError,
        r"`n_perturbations`: got 1; pass a whole number of at least 2",
        lambda: VarGrad(*bert(), n_perturbations=1),
    ),
    "n_perturbations of Kernel SHAP": (
        OptionError,
        rf"`n_perturbations`: 8 coalitions cannot rank {WORDS} units; pass at least {2 * WORDS}",
        lambda: KernelShap(*bert(), n_perturbations=8)(TEXT),
    ),
    "n_perturbations of LIME": (
        OptionError,
        rf"`n_perturbations`: 4 perturbed inputs do not determine {WORDS + 1} coefficients .*; pass at least {4 * (WORDS + 1)}",
        lambda: Lime(*bert(), n_perturbations=4)(TEXT),
    ),
    "n_token_perturbations": (
        OptionError,
        r"`n_token_perturbations`: got 0; pass a whole number of at least",
        lambda: Sobol(*bert(), n_token_perturbations=0),
    ),
    "noise_std": (
        OptionError,
        r"`noise_std`: got -0\.5; pass a number of at least 0",
        lambda: SmoothGrad(*bert(), noise_std=-0.5),
    ),
    "perturb_probability": (
        OptionError,
        r"`perturb_probability`: got 1\.5; pass a probability between 0 and 1",
        lambda: Lime(*bert(), perturb_probability=1.5),
    ),
    "kernel_width": (OptionError, r"`kernel_width`: got 0\.0; pass a number above 0", lambda: Lime(*bert(), kernel_width=0.0)),
    "distance_function": (
        OptionError,
        r"`distance_function`: got 'taxi'; pass .*'cosine'",
        lambda: Lime(*bert(), distance_function="taxi"),
    ),
    "random_state": (
        OptionError,
        r"`random_state`: got -1; pass a whole number from 0 to",
        lambda: Lime(*bert(), random_state=-1),
    ),
}
MODELS: dict[str, Case] = {
    "not finite": (
        ModelError,
        r"`model`: its output for 'The film was terrible\.' is not finite",
        lambda: bare(answering(3, value=float("nan")), replacement="mask"),
    ),
    "no embeddings": (
        ModelError,
        r"`model`: Bare has no embedding layer \(get_input_embeddings\); .*mask method with a token as `replacement`",
        lambda: bare(answering(3), Saliency),
    ),
    "no embeddings for a mean": (
        ModelError,
        r"`model`: Bare has no embedding layer",
        lambda: bare(answering(3), replacement="mean"),
    ),
    "a classifier called a language model": (
        TaskError,
        r"`model`: returned logits of shape \(\d+, 3\); a model that is read at tokens returns \(batch, tokens, outputs\)",
        lambda: explain(TEXT, " good", task="generation"),
    ),
    "a language model called a classifier": (
        TaskError,
        r"`model`: returned logits of shape \(\d+, \d+, \d+\); a classifier returns \(batch, classes\).*task='generation'",
        lambda: Occlusion(*tiny.CAUSAL_LMS["gpt2"](), task="classification")(TEXT),
    ),
    "a language model without a config": (
        TaskError,
        r"`model`: returned logits of shape \(\d+, 9, 4\); a classifier returns \(batch, classes\).*pass task='generation'",
        lambda: bare(answering(9, 4), replacement="mask"),
    ),
    "a softmax of one output": (
        TaskError,
        r"`inference_mode`: 'softmax' of a single output is the same for every text; .*task='regression'",
        lambda: bare(answering(1), replacement="mask", inference_mode="softmax", targets=0),
    ),
    **{
        f"a model for {task}": (
            TaskError,
            rf"`model`: {name} does {task}, which is not covered; explained are classifiers",
            partial(lambda name: Occlusion(headed(name), bert()[1])(TEXT), name),
        )
        for name, task in (
            ("BertForMultipleChoice", "multiple choice"),
            ("BertForPreTraining", "pre-training"),
        )
    },
    "no logits": (
        ModelError,
        r"`model`: answered dict without logits",
        lambda: bare(Bare(lambda input_ids: {"hidden": input_ids}), replacement="mask"),
    ),
}
FILES: dict[str, Case] = {
    "missing": (FileError, r"`path`: there is no file 'explanation\.safetensors'", partial(load, None)),
    "empty": (FileError, r"`path`: 'explanation\.safetensors' cannot be read as an explanation", partial(load, b"")),
    "text": (FileError, r"`path`: .* cannot be read as an explanation", partial(load, b"an explanation, but in words")),
    "foreign": (
        FileError,
        r"`path`: .* holds nothing of interpreto's; this version reads 'interpreto",
        partial(load, {"a": "b"}),
    ),
    "corrupt": (FileError, r"`path`: .* cannot be read as an explanation", partial(load, {"interpreto": "{"})),
    "other facts": (FileError, r"`path`: .* holds nothing of interpreto's", partial(load, {"interpreto": "[1]"})),
    "newer": (
        FileError,
        r"`path`: .* holds 'interpreto\.attribution/99'; this version reads 'interpreto\.attribution/2'",
        partial(load, {"interpreto": json.dumps({"format": "interpreto.attribution/99"})}),
    ),
    "incomplete": (
        FileError,
        r"`path`: .* holds an inconsistent explanation: it lacks `target_labels`",
        partial(load, {"interpreto": json.dumps({"format": "interpreto.attribution/2"})}),
    ),
}
CASES = {
    f"{group}: {name}": case
    for group, cases in (
        ("inputs", INPUTS),
        ("targets", TARGETS),
        ("options", OPTIONS),
        ("model", MODELS),
        ("file", FILES),
    )
    for name, case in cases.items()
}


def first(logits: Tensor) -> Tensor:
    return logits[:, :1]


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_says_what_was_asked_found_and_accepted(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error, message, attempt = CASES[case]
    with pytest.raises(error) as raised:
        attempt()
    assert type(raised.value) is error
    raised.match(f"^{message}")
    assert len(str(raised.value)) < 500
