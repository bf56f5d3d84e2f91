"""Split any model at any modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from interpreto.aliases import aliases
from interpreto.concepts.splitters.base import TokenSplitter, counted, of_each, read_strategy
from interpreto.concepts.splitters.granularities import ActivationGranularity, UnitReader, read_unit
from interpreto.concepts.splitters.image_units import ImageUnitReader
from interpreto.concepts.splitters.results import Activations, ActivationsAndPredictions
from interpreto.inputs.image_processors import ImageProcessor
from interpreto.inputs.samples import Sample
from interpreto.inputs.streaming import encodings
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import find_hook_points, refuse_decoders
from interpreto.models.image_places import explained_by
from interpreto.models.loading import load_for_splitter
from interpreto.progress import progress_bar


class ModelWithSplitPoints(TokenSplitter):
    """Read a model's activations at any of its modules, in one pass that ends after the last of them.

    Args:
        model_or_repo_id: A Hugging Face model of any kind, a repository's id, or a folder. Of an image model, activations
            are rows of patches, or of the places of maps.
        split_points: One or several paths of modules, as in ``model.named_modules()``, or numbers of blocks (``-1``: the
            last), whose outputs are read; a path with ``:input`` at its end is the input of the module.
        tokenizer: The model's tokenizer, a fast one for texts, or its image processor; None: the repository's.
        automodel: The class that loads a repository, such as ``AutoModelForCausalLM``; None: the one its config names.
        batch_size: Texts per pass; None: as many as a token budget holds, halved when the memory runs out.
        device_map: Devices of a repository's model, as in ``from_pretrained``. A model object stays on its own device.
        backend: ``"hooks"`` or ``"nnsight"``, whose traces are slower, and not safe in threads.
        truncation: Read the beginning of inputs that are longer than the model takes, instead of refusing them.

    Raises:
        OptionError: the model has no such split point; the message lists its neighbors.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts.splitters import ModelWithSplitPoints
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [0, -1], tokenizer=tokenizer)
        >>> splitter.split_points
        ['bert.encoder.layer.0', 'bert.encoder.layer.2']
        >>> words = splitter.activation_granularities.WORD
        >>> activations = splitter.get_activations(["A charming film.", "Dull."], words)
        >>> {name: tuple(rows.shape) for name, rows in activations.items()}
        {'bert.encoder.layer.0': (6, 128), 'bert.encoder.layer.2': (6, 128)}
        >>> [sample.units.texts for sample in splitter.samples(["A charming film.", "Dull."], words)]
        [('A', 'charming', 'film', '.'), ('Dull', '.')]
    """

    @aliases(split_point="split_points")
    def __init__(
        self,
        model_or_repo_id: nn.Module | str | Any,
        split_points: str | int | Iterable[str | int],
        *,
        tokenizer: Any = None,
        automodel: Any = None,
        batch_size: int | None = None,
        device_map: Any = None,
        backend: str = "hooks",
        truncation: bool = False,
    ) -> None:
        model, tokenizer = load_for_splitter(model_or_repo_id, tokenizer, automodel, device_map)
        points = find_hook_points(explained_by(model), split_points)
        refuse_decoders(model, points)
        super().__init__(ActivationRecorder(model, tokenizer, points, batch_size, backend, truncation=truncation))

    def get_activations(
        self,
        inputs: Any,
        activation_granularity: Any = ActivationGranularity.TOKEN,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        *,
        tqdm_bar: bool | None = None,
        include_predicted_classes: bool = False,
        dtype: torch.dtype | None = None,
        flatten_activations: bool = True,
    ) -> Activations | ActivationsAndPredictions | dict[str, list[Tensor]]:
        """Return the activations of all units of the inputs, on the CPU.

        Args:
            inputs: Texts, pairs, chats, tensors of ids, dicts or `BatchEncoding` of any number of rows, or any iterable
                of these: a list, a column of a ``datasets.Dataset``, a generator.
            activation_granularity: Unit of a row: an `ActivationGranularity`, its name, any `Granularity`, or a function
                from a text to character ranges.
            aggregation_strategy: Pooling of the activations of a unit's tokens.
            tqdm_bar: Show the number of texts; None: after two seconds, in terminals and notebooks.
            include_predicted_classes: Return the classes ``(n,)`` that a classifier predicts too, from the same pass.
            dtype: Dtype of the activations; None: the model's.
            flatten_activations: One tensor of all inputs' units. False: a list with one ``(g, d)`` per input.

        Returns:
            Activations ``(n·g, d)`` by split point; with ``include_predicted_classes`` a pair of these and the classes.
            Either result has ``.by_split_point`` and ``.predictions``.

        Raises:
            InputError: an input is empty, too long, or holds nothing but special tokens.
            TokenizerError: ``CLS_TOKEN`` was asked for, and the tokenizer has none.
        """
        reader, strategy = self._unit_reader(activation_granularity), read_strategy(aggregation_strategy)
        stream = encodings(self.reader, inputs)
        counts: list[int] = []
        rows = (counted(reader.row(encoding, i), counts) for i, encoding in enumerate(stream))
        total = len(inputs) if isinstance(inputs, (list, tuple)) else None
        with progress_bar(desc="activations", unit=" texts", total=total, shown=tqdm_bar) as bar:
            readouts = list(
                self._recorder.read(rows, strategy, dtype=dtype, with_logits=include_predicted_classes, on_rows=bar.update)
            )
        activations = self._joined(readouts)
        found = activations if flatten_activations else of_each(activations, counts)
        if not include_predicted_classes:
            return found
        logits = torch.cat([reading.logits for reading in readouts if reading.logits is not None])
        return ActivationsAndPredictions.of(found, activations, logits.argmax(-1))

    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        reader = self._unit_reader(activation_granularity)
        for i, encoding in enumerate(encodings(self.reader, inputs)):
            units, extras = reader.units(encoding, i), encoding.extras
            yield Sample(encoding.tokens.text, encoding.input_ids, units, extras, picture=encoding.picture)

    def _unit_reader(self, activation_granularity: Any) -> UnitReader | ImageUnitReader:
        unit = read_unit(activation_granularity)
        return ImageUnitReader(unit) if isinstance(self.tokenizer, ImageProcessor) else UnitReader(self.tokenizer, unit)
