"""Names of a model's outputs: its classes, or the tokens of its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.models.tasks import Classification, Generation, Task


@dataclass(frozen=True)
class Names:
    """Name the outputs of a text.

    Args:
        tokenizer: Writes the tokens of a generation.
        task: Task of the model.
        class_names: Of each class, by id: a sequence or a mapping. None: the model's.

    Raises:
        OptionError: names are no texts, or there are no classes.

    Examples:
        >>> from interpreto.models.tasks import Classification
        >>> from interpreto.models.modes import InferenceModes
        >>> task = Classification(InferenceModes.LOGITS, id2label={0: "LABEL_0", 1: "LABEL_1"})
        >>> Names(None, task, ["bad", "good"]).of_class(1)
        'good'
    """

    tokenizer: Any
    task: Task
    class_names: Any = None

    def __post_init__(self) -> None:
        given = self.class_names
        if given is None:
            return
        if isinstance(self.task, Generation):
            raise OptionError("`class_names`: a language model has tokens for outputs, and no classes; leave it out.")
        if isinstance(given, str) or not isinstance(given, (Mapping, Sequence)):
            raise OptionError(f"`class_names`: got {given!r:.60}; pass a list of names, or a dictionary of them by class id.")
        for i, name in given.items() if isinstance(given, Mapping) else enumerate(given):
            if not isinstance(name, str):
                raise OptionError(f"`class_names[{i!r}]`: got {name!r:.60}; a name is a text.")

    def __call__(self, sample: Sample, count: int) -> list[tuple[str, int]]:
        """Return name and id of each of a text's outputs; the id is -1 where an output combines several."""
        targets = sample.targets
        if targets is None:
            return [(self.of_class(i), i) for i in range(count)]
        ids = targets.ids.tolist()
        if isinstance(self.task, Generation):
            realized = (
                all(span is None for span in targets.spans)
                and len(targets.readouts) == 1
                and targets.readouts[0].weights is None
            )
            return [(self.of_token(i), i) if realized else (label, i) for label, i in zip(targets.labels, ids, strict=True)]
        (readout,) = targets.readouts
        weights = torch.eye(len(readout.ids)) if readout.weights is None else readout.weights
        named = [" − ".join(self.of_class(int(i)) for i in readout.ids[row != 0]) for row in weights]
        return list(zip(named, ids, strict=True))

    def of_class(self, i: int) -> str:
        """Return the name of a class."""
        given = self.class_names
        if given is None:
            return self.task.label(i) if isinstance(self.task, Classification) else str(i)
        if isinstance(given, Mapping) and i in given:
            return given[i]
        if isinstance(given, Sequence) and i < len(given):
            return given[i]
        raise OptionError(f"`class_names`: has no name for class {i}; pass one for each class that is shown.")

    def of_token(self, i: int) -> str:
        """Return a token as text; its own name where it has none, as parts of characters."""
        return name_of_token(self.tokenizer, i)


def name_of_token(tokenizer: Any, i: int) -> str:
    """Return a token as text; its own name where it has none, as parts of characters."""
    text = tokenizer.decode([i], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if text.strip() and "\ufffd" not in text:
        return text
    return repr(text) if text and not text.strip() else str(tokenizer.convert_ids_to_tokens(i))
