"""Base of lenses: activations after each layer, read by the model's own last layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.lenses.all_layers import AllLayersSplitter
from interpreto.concepts.lenses.output import LensOutput
from interpreto.concepts.lenses.targets import followed
from interpreto.concepts.output_names import Names
from interpreto.concepts.outputs import task_of
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.generation import SplitterForGeneration
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import InputError, TaskError
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.layers import Layers, find_blocks
from interpreto.models.loading import load_for_splitter
from interpreto.models.tasks import Classification, Generation, MaskedLM, resolve_task
from interpreto.validation import check_count


class Lens(ABC):
    """Base of lenses: the model runs on from the activations after each layer as if they came from its last block.

    Args:
        model_or_splitter: A model, a folder, a repository's id or a pipeline; or a splitter, whose model and inputs are read.
        tokenizer: The model's tokenizer; None: the one next to it.
        k: Outputs that are kept per layer and token.
        layers: Numbers of blocks (``-1``: the last), and ``"embeddings"``, the input of the first; None: all.
        batch_size: Texts per pass; None: as many as a budget of tokens holds.
        max_new_tokens: Tokens that a language model writes after each text, to be read too.
    """

    @aliases(top_k="k", splitter="model_or_splitter", model="model_or_splitter")
    def __init__(
        self,
        model_or_splitter: Any,
        tokenizer: Any = None,
        k: int = 5,
        layers: Sequence[int | str] | None = None,
        *,
        batch_size: int | None = None,
        max_new_tokens: int = 0,
    ) -> None:
        self.splitter = splitter_of(model_or_splitter, tokenizer, batch_size, max_new_tokens)
        self.k, model = check_count(k, "k"), self.splitter.model
        self.task = task_of(self.splitter)
        rows = self.splitter.batch_size if batch_size is None else batch_size
        self._layers = Layers(model, self.splitter.tokenizer, layers, rows)
        self._checked = False

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that are read."""
        return self._layers.names

    def __call__(self, inputs: Any, targets: Any = None) -> list[LensOutput]:
        """Return what the model would answer after each layer.

        Args:
            inputs: Texts, or any other form that a splitter reads.
            targets: The output whose probability and rank are followed through the layers: a token or a class, by name or
                id, the same at every token; a list of these, one per text; or ``"next"``, the text's own next token. None:
                what the model predicts at each token.

        Returns:
            A result for each text, in order.

        Raises:
            InputError: there is no text, or one cannot be read.
            TargetError: a target is not one output of the model.
        """
        return self._explained(self.splitter.samples(inputs, self._granularity), targets)

    explain = __call__

    def generate(self, inputs: Any, max_new_tokens: int = 10) -> tuple[list[str], list[LensOutput]]:
        """Return the texts with what the model writes after them, and what the lens reads in all of it.

        Args:
            inputs: Texts, or any other form that a splitter reads.
            max_new_tokens: Largest number of tokens that are written after each text.
        """
        splitter = splitter_of(self.splitter, None, self.splitter.batch_size, check_count(max_new_tokens, "max_new_tokens"))
        samples = splitter.samples(inputs, "all_tokens")
        outputs = self._explained(samples, None)
        return [output.text for output in outputs], outputs

    @torch.no_grad()
    def _explained(self, samples: list[Sample], targets: Any) -> list[LensOutput]:
        if not samples:
            raise InputError("`inputs`: there is nothing in it; pass texts, or an iterable of them.")
        rows = [SplitInput.of(sample) for sample in samples]
        self._check(rows)
        wanted = followed(targets, samples, self.task, self.splitter.tokenizer)
        names = Names(self.splitter.tokenizer, self.task)
        generates = not isinstance(self.task, Classification)

        def step(picked: list[int]) -> list[LensOutput]:
            batch = [rows[i] for i in picked]
            parts = self._read(batch, [wanted[i] for i in picked])
            return [self._output(samples[i], part, names, generates) for i, part in zip(picked, parts, strict=True)]

        return self._layers.map(rows, step)  # type: ignore[no-any-return]  # in the order of the rows

    @abstractmethod
    def translated(self, layer: int, hidden: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return the activations after a layer, by its row, as the last layers are given them."""

    @property
    def _per_text(self) -> bool:
        """Return True where there is one output per text, and none per token."""
        return isinstance(self.task, Classification)

    @property
    def _granularity(self) -> Any:
        return "sample" if self._per_text else "all_tokens"

    def _check(self, rows: Sequence[SplitInput]) -> None:
        if not self._checked:
            self._layers.check(min(rows, key=len))
            self._checked = True

    def _read(self, batch: Sequence[SplitInput], wanted: Sequence[Tensor | None]) -> list[dict[str, Tensor]]:
        """Return what is kept of each row of a batch, by the names of `LensOutput`'s attributes."""
        hidden = self._layers.hidden(batch)
        final = self._layers.run_on(batch, hidden[-1]).log_softmax(-1)
        final = final[:, None] if final.ndim == 2 else final
        chosen = final.argmax(-1)
        for i, ids in enumerate(wanted):
            if ids is not None:
                chosen[i, : len(ids)] = torch.where(ids.to(chosen) >= 0, ids.to(chosen), chosen[i, : len(ids)])
        found = [self._of_layer(batch, i, h, final, chosen) for i, h in enumerate(hidden[: len(self.layers)])]
        parts = []
        for i, row in enumerate(batch):
            length = 1 if isinstance(self.task, Classification) else len(row) - row.source
            kept = {name: torch.stack([layer[name][i, :length] for layer in found]).cpu() for name in found[0]}
            parts.append({**kept, "target_ids": chosen[i, :length].cpu()})
        return parts

    def _of_layer(
        self, batch: Sequence[SplitInput], layer: int, hidden: Tensor, final: Float[Tensor, "b l v"], chosen: Int[Tensor, "b l"]
    ) -> dict[str, Tensor]:
        logits = self._layers.run_on(batch, self.translated(layer, hidden))
        logs = (logits[:, None] if logits.ndim == 2 else logits).log_softmax(-1)
        top = logs.topk(min(self.k, logs.shape[-1]), dim=-1)
        own = logs.gather(-1, chosen[..., None])
        return {
            "ids": top.indices,
            "probabilities": top.values.exp(),
            "entropy": -(logs.exp() * logs).nan_to_num(0.0).sum(-1),
            "divergence": (final.exp() * (final - logs)).nan_to_num(0.0).sum(-1),
            "target_probabilities": own[..., 0].exp(),
            "target_ranks": 1 + (logs > own).sum(-1),
        }

    def _output(self, sample: Sample, part: dict[str, Any], names: Names, generates: bool) -> LensOutput:
        tokens = tuple(names.of_token(i) for i in sample.input_ids[sample.source :].tolist()) if generates else (sample.text,)
        used = sorted({*part["ids"].flatten().tolist(), *part["target_ids"].tolist()})
        labels = {i: names.of_token(i) if generates else names.of_class(i) for i in used}
        return LensOutput(sample.text, tokens, self.layers, labels=labels, method=type(self).__name__, **part)


def splitter_of(source: Any, tokenizer: Any, batch_size: int | None, max_new_tokens: int) -> ModelSplitter:
    """Return the splitter that reads the inputs: the one given, or one of the blocks that lead to the head.

    Raises:
        TaskError: the model is a classifier with a decoder, or its outputs are of another kind.
    """
    source = source.splitter if isinstance(source, AllLayersSplitter) else source
    if isinstance(source, SplitterForGeneration) and not max_new_tokens:
        return source
    if isinstance(source, ModelSplitter):
        batch_size = source.batch_size if batch_size is None else batch_size
        source, tokenizer = source.model, source.tokenizer
    model, tokenizer = load_for_splitter(source, tokenizer, None, None)
    task = resolve_task(model, tokenizer, None, None)
    name = type(model).__name__
    encodes = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    if not isinstance(task, (Classification, Generation, MaskedLM)):
        raise TaskError(f"`model`: a lens reads language models and classifiers, and {name} is for {task.name}.")
    if isinstance(task, Classification) and (encodes or task.kind != "single-label"):
        why = "reads its text twice" if encodes else f"is a {task.kind} model, whose outputs are no distribution"
        raise TaskError(f"`model`: {name} {why}; a lens reads language models, and classifiers of one label without a decoder.")
    if encodes or max_new_tokens:
        _, path, blocks = find_blocks(model)
        where = f"{path}.{len(blocks) - 1}"
        return SplitterForGeneration(model, where, tokenizer, batch_size, max_new_tokens=max_new_tokens)
    return ModelWithSplitPoints(model, find_blocks(model)[1] + ".0", tokenizer=tokenizer, batch_size=batch_size)
