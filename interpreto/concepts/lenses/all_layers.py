"""The activations of all layers of a text, and the head of the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.layers import Layers, find_blocks
from interpreto.models.loading import load_for_splitter


class AllLayersSplitter:
    """Read the activations of all layers of a text, and run the head alone; named and called as in interpreto 0.5.

    Args:
        model_or_repo_id: A language model or a classifier without a decoder; a repository's id, or a folder.
        automodel: The class that loads a repository; None: the one its config names.
        tokenizer: The model's tokenizer; None: the repository's.
        batch_size: Texts per pass; None: as many as a token budget holds.
        device_map: Devices of a repository's model, as in ``from_pretrained``.

    Attributes:
        splitter: Reads the outputs of all blocks.

    Examples:
        >>> from interpreto import AllLayersSplitter, LogitLens, demo
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = AllLayersSplitter(model, tokenizer=tokenizer)
        >>> splitter.activation_names
        ['embeddings', '0', '1', '2']
        >>> hidden = splitter.get_activations("A charming film.")
        >>> len(hidden), tuple(splitter.apply_head(hidden[-1]).shape)
        (4, (1, 2))
        >>> LogitLens(splitter)("A charming film.")[0].top()[0][0]
        'positive'
    """

    def __init__(
        self,
        model_or_repo_id: Any,
        *,
        automodel: Any = None,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device_map: Any = None,
    ) -> None:
        model, tokenizer = load_for_splitter(model_or_repo_id, tokenizer, automodel, device_map)
        _, path, blocks = find_blocks(model)
        points = [f"{path}.{i}" for i in range(len(blocks))]
        self.splitter = ModelWithSplitPoints(model, points, tokenizer=tokenizer, batch_size=batch_size)
        self._layers = Layers(model, tokenizer, None, batch_size)

    @property
    def model(self) -> nn.Module:
        """Return the model."""
        return self.splitter.model

    @property
    def tokenizer(self) -> Any:
        """Return its tokenizer."""
        return self.splitter.tokenizer

    @property
    def split_points(self) -> list[str]:
        """Return the paths of the blocks."""
        return self.splitter.split_points

    @property
    def activation_names(self) -> list[str]:
        """Return the names of the tensors of `get_activations`: the input of the first block, then each block."""
        return list(self._layers.names)

    @torch.no_grad()
    def get_activations(self, text: Any) -> list[Float[Tensor, "1 l d"]]:
        """Return the activations of one text at the input of the first block and after each block, special tokens too."""
        samples = self.splitter.samples(text, "all_tokens")
        if len(samples) != 1:
            raise OptionError(f"`text`: got {len(samples)} texts; pass one.")
        row = SplitInput.of(samples[0])
        with self._layers.recorder.session([row]):
            return self._layers.hidden([row])

    def apply_head(self, activations: Tensor | Sequence[Tensor]) -> Any:
        """Return the logits of activations ``(1, l, d)``, as if the last block had given them; of a list, a list."""
        if not isinstance(activations, Tensor):
            return [self.apply_head(each) for each in activations]
        ids = torch.zeros(activations.shape[1], dtype=torch.long)
        rows = [SplitInput(ids, torch.full_like(ids, -1), 0, {})] * len(activations)
        return self._layers.run_on(rows, activations)
