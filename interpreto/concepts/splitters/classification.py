"""A classifier, split before its classification head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.aliases import aliases
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.granularities import ActivationGranularity, UnitReader, read_unit
from interpreto.concepts.splitters.results import Activations, ActivationsAndPredictions
from interpreto.errors import OptionError
from interpreto.inputs.pooling import BatchUnits
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.streaming import encodings
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.activations import ActivationRecorder
from interpreto.models.classifier_head import find_head_input, run_on
from interpreto.models.hook_points import refuse_decoders
from interpreto.models.interventions import Edit, frozen
from interpreto.models.loading import load_for_splitter
from interpreto.progress import progress_bar

MEAN = GranularityAggregationStrategy.MEAN
_PROBE = "It is so, and it was so."


class SplitterForClassification(ModelSplitter):
    """Read the one vector per text that a classification head takes, and run the head on such vectors.

    Depending on the model, the vector is the pooled output, or the activations of the class token or the last token. The
    logits of the model follow from it exactly, which is tested once.

    Args:
        model_or_repo_id: A Hugging Face classifier, a repository's id, or a folder.
        split_point: None: the input of the head. Else the path of a module, or a block's number (``-1``: the last), whose
            output for one token determines the logits, as ``"bert.pooler"`` does. The path of a head means its input.
        tokenizer: The model's tokenizer, a fast one for texts; None: the repository's.
        batch_size: Texts per pass; None: as many as a token budget holds, halved when the memory runs out.
        device_map: Devices of a repository's model, as in ``from_pretrained``. A model object stays on its own device.
        backend: ``"hooks"`` or ``"nnsight"``.
        truncation: Read the beginning of inputs that are longer than the model takes, instead of refusing them.

    Raises:
        ModelError: no module, or not the one named, turns one vector per text into the logits.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts.splitters import SplitterForClassification
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
        >>> splitter.split_points
        ['classifier']
        >>> activations, predictions = splitter.get_activations(["A charming film.", "Dull."])
        >>> tuple(activations.shape), predictions.tolist()
        ((2, 128), [1, 0])
        >>> tuple(splitter.activations_to_outputs(activations).shape)
        (2, 2)
    """

    default_granularity = ActivationGranularity.SAMPLE

    @aliases(split_points="split_point")
    def __init__(
        self,
        model_or_repo_id: nn.Module | str | Any,
        split_point: str | int | None = None,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device_map: Any = None,
        *,
        backend: str = "hooks",
        truncation: bool = False,
    ) -> None:
        automodel = None
        if not isinstance(model_or_repo_id, nn.Module):
            from transformers import AutoModelForSequenceClassification as automodel  # noqa: PLC0415, N813  # slow to import
        model, tokenizer = load_for_splitter(model_or_repo_id, tokenizer, automodel, device_map)
        ids = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.cls_token_id)
        self._filler = next((i for i in ids if i is not None), 0)
        recorder = ActivationRecorder(model, tokenizer, [], batch_size, backend)
        (probe,) = encodings(recorder.reader, _PROBE)
        index = torch.zeros_like(probe.input_ids)
        self._head = find_head_input(recorder, SplitInput(probe.input_ids, index, 1, probe.extras), self._filler, split_point)
        refuse_decoders(model, [self._head.point])
        super().__init__(ActivationRecorder(model, tokenizer, [self._head.point], batch_size, backend, truncation=truncation))

    def get_activations(
        self, inputs: Any, tqdm_bar: bool | None = None, *, dtype: torch.dtype | None = None
    ) -> ActivationsAndPredictions:
        """Return the input of the head for each text, and the predicted class, on the CPU.

        Args:
            inputs: Texts, pairs, chats, tensors of ids, dicts or `BatchEncoding` of any number of rows, or any iterable
                of these: a list, a column of a ``datasets.Dataset``, a generator.
            tqdm_bar: Show the number of texts; None: after two seconds, in terminals and notebooks.
            dtype: Dtype of the activations; None: the model's.

        Returns:
            A pair of activations ``(n, d)`` and predictions ``(n,)``.
        """
        rows = (self._row(encoding) for encoding in encodings(self.reader, inputs))
        total = len(inputs) if isinstance(inputs, (list, tuple)) else None
        activations, classes = [], []
        with progress_bar(desc="activations", unit=" texts", total=total, shown=tqdm_bar) as bar:
            for reading in self._recorder.read(rows, MEAN, on_rows=bar.update):
                with torch.no_grad():
                    classes.append(self.activations_to_outputs(reading.activations[0]).argmax(-1).cpu())
                activations.append(reading.activations[0].to(dtype))
        found = torch.cat(activations)
        return ActivationsAndPredictions.of(found, Activations({self.split_point: found}), torch.cat(classes))

    def inputs_to_activations(self, inputs: Any) -> Float[Tensor, "n d"]:
        """Return the input ``(n, d)`` of the head for each text."""
        return self.activations_of(self._given_samples(inputs))

    def activations_to_outputs(self, activations: Float[Tensor, ...]) -> Float[Tensor, "n c"]:
        """Return the logits ``(n, c)`` of these activations, in float32; differentiable in the activations alone."""
        model, width = self.model, self._head.width
        if activations.ndim != 2 or activations.shape[1] != width:
            raise OptionError(f"`activations`: got shape {tuple(activations.shape)}; pass (n, {width}), one row per text.")
        like = next(self._head.point.module.parameters(), next(model.parameters()))
        given = activations.to(like.device)
        given = given.to(like.dtype) if like.is_floating_point() else given
        with frozen(model), self._recorder.session([self._one_token()]):
            return run_on(self._recorder, self._head, given, self._filler).float()

    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        unit = read_unit(activation_granularity)
        if unit not in (ActivationGranularity.SAMPLE, ActivationGranularity.CLS_TOKEN):
            raise OptionError(
                f"`activation_granularity`: got {activation_granularity!r}, and there is one row per text here; use SAMPLE, "
                "or ModelWithSplitPoints."
            )
        reader = UnitReader(self.tokenizer, ActivationGranularity.SAMPLE)
        for i, encoding in enumerate(encodings(self.reader, inputs)):
            yield Sample(encoding.tokens.text, encoding.input_ids, reader.units(encoding, i), encoding.extras)

    def batch_activations(self, samples: Sequence[Sample], split_point: str | None = None) -> Float[Tensor, "b d"]:
        rows = [self._head.row(SplitInput.of(sample)) for sample in samples]
        hidden = self._recorder.hidden_of(rows, self.hook_point(split_point))
        if hidden.ndim == 2:
            return hidden
        return BatchUnits.of([row.index for row in rows], [row.u for row in rows]).pool(hidden, MEAN)

    def activations_of(
        self,
        samples: Sequence[Sample],
        aggregation_strategy: GranularityAggregationStrategy | str | None = MEAN,
        split_point: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "u d"]:
        self.hook_point(split_point)
        rows = (self._head.row(SplitInput.of(sample)) for sample in samples)
        return torch.cat([reading.activations[0] for reading in self._recorder.read(rows, MEAN, dtype=dtype)])

    def of_batch(
        self, inputs: Mapping[str, Any], inside: Bool[Tensor, "b l"], last: Int[Tensor, " b"], split_point: str | None = None
    ) -> tuple[Float[Tensor, "r d"], Int[Tensor, " r"]]:
        hidden = self._recorder.of_inputs(self.hook_point(split_point), inputs)
        texts = torch.arange(len(hidden), device=hidden.device)
        if self._head.position is not None:
            hidden = hidden[texts, last.to(hidden.device) if self._head.position == "last" else 0]
        return hidden, texts

    def edited_outputs(self, inputs: Any, edit: Edit, split_point: str | None = None) -> Float[Tensor, "b c"]:
        return self.activations_to_outputs(edit(self.batch_activations(self._given_samples(inputs), split_point)))

    def editing(self, edit: Edit, split_point: str | None = None) -> AbstractContextManager[None]:
        point, position = self.hook_point(split_point), self._head.position

        def change(hidden: Tensor) -> Tensor:
            if position is None:
                return edit(hidden)
            if position == "last":  # which token is the last depends on the padding, and the head reads no other
                return edit(hidden.flatten(0, 1)).view_as(hidden)
            return torch.cat([edit(hidden[:, 0])[:, None], hidden[:, 1:]], dim=1)

        return self._recorder.editing(point, change, self._one_token())

    def outputs_from(self, samples: Sequence[Sample], hidden: Tensor, split_point: str | None = None) -> Float[Tensor, "b c"]:
        self.hook_point(split_point)
        if len(hidden) != len(samples):
            raise OptionError(f"`hidden`: got {len(hidden)} rows for {len(samples)} samples; pass one a sample.")
        return self.activations_to_outputs(hidden)

    def _row(self, encoding: Any) -> SplitInput:
        return self._head.row(SplitInput(encoding.input_ids, encoding.input_ids, 1, encoding.extras))

    def _one_token(self) -> SplitInput:
        return SplitInput(torch.tensor([self._filler]), torch.tensor([0]), 1, {})
