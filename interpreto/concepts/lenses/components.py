"""Direct logit attribution: the logit of an output as a sum over the parts of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.lenses.base import splitter_of
from interpreto.concepts.lenses.targets import followed
from interpreto.concepts.output_names import Names
from interpreto.concepts.outputs import task_of
from interpreto.errors import InputError, ModelError, OptionError, TaskError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.layers import Layers
from interpreto.models.readout import Readout, find_readout
from interpreto.models.residual_stream import Addition, additions, heads_of
from interpreto.models.tasks import Classification
from interpreto.renderable import Renderable


@dataclass(frozen=True, eq=False, repr=False)
class LogitComponents(Renderable):
    """Logits of one text as sums of components.

    Attributes:
        text: The text.
        tokens: Names of its ``l`` tokens.
        components: Names of the ``m`` components, in the order of the model; the last is ``"biases"``.
        values: What each adds to the logit of the target at each token ``(l, m)``.
        logits: The logit of the target ``(l,)``: the sum of the values. Before a soft cap, where the model has one.
        target_ids: The target at each token ``(l,)``.
        target_labels: Its name at each token.
    """

    _subject: ClassVar[str] = "components"

    text: str
    tokens: tuple[str, ...]
    components: tuple[str, ...]
    values: Float[Tensor, "l m"]
    logits: Float[Tensor, " l"]
    target_ids: Int[Tensor, " l"]
    target_labels: tuple[str, ...]

    def top(self, token: int = -1, k: int | None = None) -> list[tuple[str, float]]:
        """Return the components with the largest values at a token, by magnitude."""
        if not -len(self.tokens) <= token < len(self.tokens):
            raise OptionError(f"`token`: got {token}, and there are {len(self.tokens)}.")
        order = self.values[token].abs().argsort(descending=True, stable=True).tolist()
        return [(self.components[i], float(self.values[token, i])) for i in order[:k]]

    def __repr__(self) -> str:
        return f"LogitComponents({self.text[:40]!r}, {len(self.components)} components, {len(self.tokens)} tokens)"


class DirectLogitAttribution:
    """Write the logit of an output as a sum: the embedding, each attention, each feed-forward layer, the biases.

    The hidden states after the last block are the sum of what all parts add. The final normalization divides them by their
    size, which is kept as it is in this text; so each part has its share of the logit, and the shares sum to the logit.
    A part can also act through those after it, which its share leaves out. The logits of one token have meaning only relative
    to others: subtract the values of two targets to see what speaks for one rather than the other.

    Args:
        model_or_splitter: A language model, a folder, a repository's id or a pipeline; or a splitter.
        tokenizer: The model's tokenizer; None: the one next to it.
        heads: Split each attention into its heads and its bias.
        max_new_tokens: Tokens that the model writes after each text, to be read too.

    Raises:
        ModelError: the hidden states are no sum, as in BERT, which normalizes after each part; or there is no head over a
            vocabulary.

    Examples:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from interpreto import demo
        >>> from interpreto.concepts import DirectLogitAttribution
        >>> _, tokenizer = demo.load_classifier()
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2))
        >>> output = DirectLogitAttribution(model, tokenizer)("A charming film.")[0]
        >>> output.components
        ('embedding', '0 attention', '0 feed-forward', 'biases')
        >>> output.values.sum(1).allclose(output.logits, atol=1e-5)
        True

    References:
        Elhage et al., 2021, https://transformer-circuits.pub/2021/framework/index.html; nostalgebraist, 2020,
        https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
    """

    def __init__(self, model_or_splitter: Any, tokenizer: Any = None, *, heads: bool = False, max_new_tokens: int = 0) -> None:
        self.splitter = splitter_of(model_or_splitter, tokenizer, None, max_new_tokens)
        self.heads, self.task = heads, task_of(self.splitter)
        if isinstance(self.task, Classification):
            raise TaskError(
                f"`model`: {type(self.splitter.model).__name__} has classes for outputs; direct logit attribution reads "
                "language models. NeuronsAsConcepts explains classes by hidden states."
            )
        self._layers = Layers(self.splitter.model, self.splitter.tokenizer)
        self._readout: Readout = find_readout(self._layers)

    def __call__(self, inputs: Any, targets: Any = None) -> list[LogitComponents]:
        """Return the components of the logit at each token of each text.

        Args:
            inputs: Texts, or any other form that a splitter reads.
            targets: The output whose logit is written as a sum: a token, as text or id, the same at every token; a list of
                these, one per text; or ``"next"``, the text's own next token. None: what the model predicts at each token.

        Raises:
            InputError: there is no text.
            TargetError: a target is not one output of the model.
        """
        samples = self.splitter.samples(inputs, "all_tokens")
        if not samples:
            raise InputError("`inputs`: there is nothing in it; pass texts, or an iterable of them.")
        names = Names(self.splitter.tokenizer, self.task)
        wanted = followed(targets, samples, self.task, self.splitter.tokenizer)
        found = []
        for sample, given in zip(samples, wanted, strict=True):
            parts = self._parts(SplitInput.of(sample))
            values, logits, ids = self._values(SplitInput.of(sample), parts, given)
            tokens = tuple(names.of_token(i) for i in sample.input_ids[sample.source :].tolist())
            labels = tuple(names.of_token(i) for i in ids.tolist())
            components = (*(part.name for part in parts), "biases")
            found.append(LogitComponents(sample.text, tokens, components, values, logits, ids, labels))
        return found

    def _parts(self, row: SplitInput) -> list[Addition]:
        parts = additions(self._layers, row)
        if not self.heads:
            return parts
        config: Any = self.splitter.model.config
        count = getattr(config.get_text_config(), "num_attention_heads", None)
        if not isinstance(count, int):
            raise ModelError(f"`heads`: {type(self.splitter.model).__name__} has no attention heads; leave it out.")
        found: list[Addition] = []
        for part in parts:
            is_attention = part.name.endswith("attention")
            found += heads_of(self._layers, row, part, count) if is_attention else [part]
        return found

    @torch.no_grad()
    def _values(
        self, row: SplitInput, parts: Sequence[Addition], given: Tensor | None
    ) -> tuple[Float[Tensor, "l m"], Float[Tensor, " l"], Int[Tensor, " l"]]:
        """Return the share of each part, the logit, and the target, at each token."""
        stream = torch.stack([part.values for part in parts]).sum(0)
        scale, at_head = self._readout.scaled(row, stream)
        logits = self._readout.logits(at_head)
        ids = logits.argmax(-1)
        if given is not None:
            ids = torch.where(given.to(ids) >= 0, given.to(ids), ids)
        rows = self._readout.rows(ids)
        shares = [(self._readout.seen(part.values) * scale[:, None] * rows).sum(1) for part in parts]
        own = logits.gather(1, ids[:, None])[:, 0]
        biases = ((at_head - self._readout.seen(stream) * scale[:, None]) * rows).sum(1) + self._readout.head_bias[ids]
        return torch.stack([*shares, biases], 1), own, ids
