"""The neurons of a feed-forward layer as concepts, with the vectors that they write; directions of any parameter."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.concepts.concept_model import FittableModel
from interpreto.concepts.splitters.base import ModelSplitter, TokenSplitter
from interpreto.concepts.splitters.generation import SplitterForGeneration
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import ModelError, OptionError
from interpreto.models.hook_points import INPUT, find_hook_points
from interpreto.models.layers import find_blocks
from interpreto.models.linear_maps import feed_forward_output, matrix_of
from interpreto.models.loading import load_for_splitter
from interpreto.validation import check_choice

SIDES = ("writes", "reads")


class Values(FittableModel):
    """The identity on the neurons of a feed-forward layer, with the vector that each writes.

    Attributes:
        written: Value of each neuron ``(c, r)``.
        offset: What the layer writes when no neuron is active ``(r,)``.
    """

    axes: ClassVar = {"written": "c r", "offset": "r"}

    written: Tensor
    offset: Tensor

    def __init__(self, nb_concepts: int | None = None) -> None:
        super().__init__(1 if nb_concepts is None else nb_concepts)
        self.register_buffer("written", torch.empty(0, dtype=torch.float32))
        self.register_buffer("offset", torch.empty(0, dtype=torch.float32))

    @property
    def is_fitted(self) -> bool:
        """Return True once the values are read."""
        return self.written.numel() > 0

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Raise an error: values are read from the model."""
        raise OptionError("`fit`: the values of a feed-forward layer are the model's own; there is nothing to learn.")

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return the activations."""
        return activations

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Return the concepts."""
        return concepts

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the identity matrix."""
        return torch.eye(self.nb_concepts, dtype=self.written.dtype, device=self.written.device)


class FFNValues(ConceptAutoEncoderExplainer):
    """Concepts that are the neurons of a block's feed-forward layer: an amount, and the vector that it writes.

    The amount of a neuron is what enters the last matrix of the layer; its value is the row of this matrix. A feed-forward
    layer writes the sum of its values, each times its amount. In a gated layer (SwiGLU) amounts have either sign, so that a
    value has two readings: `VocabularyProjection` with ``side="both"`` shows them, `positive_share` how often each occurs.

    Args:
        splitter: A splitter or a model, whose block is read; None to work on activations alone.
        block: Number of the block.
        tokenizer: The model's tokenizer, where a model is given.
        nb_concepts: Number of neurons, as files have it.
        split_point: The input of the layer's last matrix, such as ``"model.layers.3.mlp.down_proj:input"``; None: found in
            the block by running the model on one text.
        device: Device of the values.
        random_state: Not used: nothing is drawn.

    Raises:
        ModelError: the block has no feed-forward layer of one matrix, as a mixture of experts.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts import FFNValues
        >>> model, tokenizer = demo.load_classifier()
        >>> values = FFNValues(model, block=1, tokenizer=tokenizer)
        >>> values.split_point, tuple(values.residual_directions().shape)
        ('bert.encoder.layer.1.output.dense:input', (512, 128))

    References:
        Geva, Caciularu, Wang and Goldberg, EMNLP 2022, https://arxiv.org/abs/2203.14680
    """

    concept_model: Values

    def __init__(
        self,
        splitter: Any,
        block: int = -1,
        *,
        tokenizer: Any = None,
        nb_concepts: int | None = None,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
    ) -> None:
        own = None if splitter is None else _splitter_at(splitter, block, split_point, tokenizer)
        point = split_point if own is None else own.split_point
        super().__init__(own, Values(nb_concepts), point, device, random_state=random_state, options={"block": block})
        if own is not None:
            self._take(own)

    def fit(self, activations: AnyActivations, overwrite: bool = False) -> FFNValues:
        """Return the explainer: the values are the model's own.

        Raises:
            ModelError: there is no model.
        """
        if not self.is_fitted:
            raise ModelError("`splitter`: the values are those of a model; pass a splitter or a model.")
        return self

    def written(self, activations: Float[Tensor, "n c"]) -> Float[Tensor, "n r"]:
        """Return what the layer adds to the hidden states: the sum of the values times the amounts, and its bias."""
        amounts = self.encode_activations(activations)
        return amounts @ self.concept_model.written + self.concept_model.offset

    def positive_share(self, activations: Float[Tensor, "n c"]) -> Float[Tensor, " c"]:
        """Return the share of rows in which each amount is above 0, of those in which it is not 0; NaN where there are none."""
        amounts = self.encode_activations(activations)
        return (amounts > 0).float().sum(0) / (amounts != 0).float().sum(0)

    def _take(self, splitter: ModelSplitter) -> None:
        module = splitter.hook_point(None).module
        width = int(splitter.activations_of(splitter.samples(["It is so, and it was so."])[:1]).shape[1])
        with torch.inference_mode(False):
            values, offset = matrix_of(module, width)
        self.concept_model.nb_concepts = width
        self.concept_model.written, self.concept_model.offset = values.to(self.device), offset.to(self.device)


def parameter_directions(model: nn.Module, module: str | nn.Module, side: str = "writes") -> Float[Tensor, "c d"]:
    """Return the directions of the hidden states that a linear layer writes, or those that it reads.

    The vocabulary tells what they mean: ``VocabularyProjection(model=model, tokenizer=tokenizer).read(directions)``.

    Args:
        model: The model.
        module: A linear layer, or its path, such as ``"model.layers.3.self_attn.v_proj"``.
        side: ``"writes"``: what each dimension of its input adds to its output, as for the output matrices of attention and
            of feed-forward layers; ``"reads"``: the direction to which each dimension of its output responds, as for queries,
            keys, values and the first matrix of a feed-forward layer.

    Returns:
        Directions ``(c, d)``, read by running the layer, on the CPU in float32.

    Raises:
        ModelError: the module is not linear.
        OptionError: there is no such module or side.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts import parameter_directions
        >>> model, _ = demo.load_classifier()
        >>> tuple(parameter_directions(model, "bert.encoder.layer.1.intermediate.dense", "reads").shape)
        (512, 128)

    References:
        Dar, Geva, Gupta and Berant, ACL 2023, https://arxiv.org/abs/2209.02535
    """
    check_choice(side, "side", SIDES)
    layer = module if isinstance(module, nn.Module) else find_hook_points(model, [module])[0].module
    for width in _widths(layer):
        rows, _ = matrix_of(layer, width)
        return rows if side == "writes" else rows.T.contiguous()
    raise ModelError(f"`module`: {type(layer).__name__} has no matrix, and so no directions; pass a linear layer.")


def _widths(layer: nn.Module) -> list[int]:
    """Return the width of the vectors that a layer reads: as it says itself, else a side of its matrix that runs."""
    told = getattr(layer, "in_features", None) or getattr(layer, "nx", None)
    if isinstance(told, int):
        return [told]
    found = []
    for parameter in layer.parameters():
        for width in parameter.shape if parameter.ndim == 2 else ():
            try:
                matrix_of(layer, width)
            except ModelError:
                continue
            found.append(width)
    return found


def _splitter_at(source: Any, block: int, split_point: str | None, tokenizer: Any) -> ModelSplitter:
    """Return a splitter at the input of a feed-forward layer's last matrix."""
    splitter = source if isinstance(source, ModelSplitter) else None
    model, tokenizer = (
        (splitter.model, splitter.tokenizer) if splitter is not None else load_for_splitter(source, tokenizer, None, None)
    )
    if splitter is not None and split_point is not None and splitter.split_points == [split_point]:
        return splitter
    encodes = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))

    def at(where: str) -> TokenSplitter:
        if encodes:
            written = max(1, getattr(splitter, "max_new_tokens", 0))
            return SplitterForGeneration(model, where, tokenizer, max_new_tokens=written)
        return ModelWithSplitPoints(model, where, tokenizer=tokenizer)

    if split_point is not None:
        return at(split_point)
    whole = at(find_blocks(model)[1] + ".0")
    return at(feed_forward_output(whole.recorder, block, whole.probe_row()) + INPUT)
