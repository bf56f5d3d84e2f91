"""One forward pass whose attention is read: layer by layer, with gradients where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.models.attention import AttentionMap, AttentionReader, Kind, check_sizes
from interpreto.models.attention_flow import Flow, LayerStates
from interpreto.models.relevance_rules import LrpRules
from interpreto.models.rule_names import INVERSE_ROOTS
from interpreto.models.sublayers import Sublayer
from interpreto.models.watching import watching

NORMALIZATIONS = frozenset({F.layer_norm, getattr(F, "rms_norm", F.layer_norm), *INVERSE_ROOTS})


class LayerReader(AttentionReader):
    """Reads attention layer by layer, and the hidden states that the last layer returns.

    Args:
        model: The model that is watched.
        rows: Rows of the batch.
        sizes: Queries and keys of each kind of attention: one for each token.
        visit: Is handed the maps; returns the weights that the model goes on with.
        cut: Blocks return tensors without a history that require gradients, so that a graph begins at the last of them.
        close: Is handed each map again when its block has ended, with the hidden states around it.
        frozen: Gradients pass normalizations as if what these divide by were fixed.

    Attributes:
        hidden: Output of the last block of layers so far, ``(b, q, d)``, or ``(q, b, d)`` where tokens come first.
        tokens_first: Whether they do.
        last: Number of the last map of each kind.
    """

    def __init__(  # noqa: PLR0917  # one set per pass
        self,
        model: nn.Module,
        rows: int,
        sizes: Mapping[Kind, tuple[int, int]],
        visit: Callable[[AttentionMap], Tensor],
        cut: bool = False,
        close: Callable[[AttentionMap, LayerStates], None] | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__(model, rows, visit=self._layer)
        self._rules = LrpRules("frozen") if frozen else None
        self.hidden: Tensor | None = None
        self.tokens_first = False
        self.last: dict[Kind, int] = {}
        self._model, self._sizes, self._next, self._cut, self._close = model, sizes, visit, cut, close
        self._blocks = outermost_blocks(model)
        self._awaits: str | None = None  # the block in which the last map was seen, until it returns
        self._inputs: dict[str, Tensor] = {}  # of the blocks that are running
        self._memory: Tensor | None = None  # output of the encoder
        self._unclosed: list[tuple[AttentionMap, Sublayer]] = []

    def _layer(self, layer: AttentionMap) -> Tensor:
        check_sizes(layer, self._sizes, self._model)
        self.last[layer.kind] = layer.number
        self.tokens_first = layer.tokens_first
        self._awaits = self._block_of(layer.module)
        if self._close is not None:
            assert layer.values is not None
            inputs = self._inputs.get(self._awaits)
            if inputs is None:
                raise self._unread(layer)
            self._unclosed.append((detached(layer), Sublayer(inputs, layer.weights.shape[1] * layer.values.shape[-1])))
        return self._next(layer)

    def _block_of(self, name: str) -> str:
        """Return the outermost block that a module is in; itself where it is in none."""
        parts = name.split(".")
        prefixes = (".".join(parts[: i + 1]) for i in range(len(parts)))
        return next((prefix for prefix in prefixes if prefix in self._blocks), name)

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep the hidden states of a block that ends; cut their history where that is asked for."""
        if self.where != self._awaits:
            if self._unclosed:
                self._unclosed[-1][1].left(inputs, output)
            return None
        self._awaits = None
        hidden = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(hidden, Tensor):
            return None
        self._closed(hidden)
        self.hidden = hidden.detach().requires_grad_() if self._cut else hidden
        if not self._cut:
            return None
        return self.hidden if hidden is output else (self.hidden, *output[1:])

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the function's value; record attention, and the matrices that its outputs are multiplied by."""
        if self._rules is not None and function in NORMALIZATIONS:
            return self._rules.call(function, arguments, options)
        value = super().call(function, arguments, options)
        if self._unclosed:
            self._unclosed[-1][1].saw(function, arguments, options, value)
        return value

    def entered(self, name: str, hidden: Tensor) -> None:
        """Keep the hidden states that a block begins with."""
        self._inputs[name] = hidden

    def _closed(self, output: Tensor) -> None:
        """Hand the maps of a block that ends to whoever closes them."""
        inputs = self._inputs.pop(self.where, None)
        for layer, sublayer in self._unclosed:
            assert self._close is not None
            if layer.kind == "encoder":
                self._memory = output
            keys = self._memory if layer.kind == "cross" else inputs
            if sublayer.projection is None or inputs is None or keys is None:
                raise self._unread(layer)
            around = self._in_order(inputs.detach()), self._in_order(keys.detach())
            states = LayerStates(around[0], around[1], sublayer.projection, self._addition(sublayer), sublayer.normalization)
            self._close(layer, states)
        self._unclosed.clear()

    def _addition(self, sublayer: Sublayer) -> tuple[Tensor, Tensor] | None:
        """Return the product of values and matrix, and what is added to the residual stream, as ``(b, q, d)``."""
        if sublayer.addition is None or sublayer.projected is None:
            return None
        given = [each.detach().reshape(sublayer.inputs.shape) for each in (sublayer.projected, sublayer.addition)]
        return self._in_order(given[0]), self._in_order(given[1])

    def _unread(self, layer: AttentionMap) -> ModelError:
        return ModelError(
            f"`model`: the matrix that {layer.module!r} of {self._name} multiplies its values by was not found (quantized "
            "layers have none to read); use RawAttention, AttentionRollout or GenericAttention."
        )

    def _in_order(self, hidden: Tensor) -> Tensor:
        return hidden.transpose(0, 1) if self.tokens_first else hidden

    @contextmanager
    def listening(self, model: nn.Module) -> Iterator[None]:
        """Context manager in which the reader is told what blocks begin with."""
        handles = []
        for name, block in self._blocks.items() if self._close is not None else ():
            handles.append(block.register_forward_pre_hook(self._listener(name), with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _listener(self, name: str) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], None]:
        def listen(_block: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            given = (*arguments, *options.values())
            hidden = next((value for value in given if isinstance(value, Tensor) and value.is_floating_point()), None)
            if hidden is not None and hidden.ndim == 3:
                self.entered(name, hidden)

        return listen

    def gradients(self, scores: Float[Tensor, "b t"]) -> Float[Tensor, "b t q d"]:
        """Return the gradient of each score in the last hidden states.

        Raises:
            ModelError: the scores do not depend on these.
        """
        found = []
        for k in range(scores.shape[1]):
            gradient = None
            if self.hidden is not None and self.hidden.requires_grad:
                (gradient,) = torch.autograd.grad(scores[:, k].sum(), self.hidden, retain_graph=True, allow_unused=True)
            if gradient is None or gradient.ndim != 3:
                raise ModelError(
                    f"`model`: where {self._name} reads its logits was not found; use a method that masks units or reads "
                    "gradients."
                )
            found.append(self._in_order(gradient))
        return torch.stack(found, 1)

    def shares(self, scores: Float[Tensor, "b t"]) -> Float[Tensor, "b t q"]:
        """Return the share of each query in each score: of the norm of the score's gradient in the last hidden states."""
        norms = self.gradients(scores).norm(dim=-1)
        return norms / norms.sum(-1, keepdim=True).clamp(min=torch.finfo(norms.dtype).tiny)


def outermost_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks of a model by name: members of lists of modules that are in no other list."""
    found: dict[str, nn.Module] = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.ModuleList) and not any(name.startswith(f"{block}.") for block in found):
            found |= {f"{name}.{i}": block for i, block in enumerate(part)}
    return found


@contextmanager
def reading(model: nn.Module, reader: LayerReader) -> Iterator[None]:
    """Context manager in which a reader watches a model."""
    with reader.listening(model), watching(model, reader):
        yield


class Seen:
    """Hands maps to a flow that reads no gradients."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def __call__(self, layer: AttentionMap) -> Tensor:
        self.flow.see(detached(layer))
        return layer.weights


class Felt:
    """Hands maps, and then their gradients, to a flow: these as the backward pass meets them, so that none is kept."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self._leaves = flow, []

    def __call__(self, layer: AttentionMap) -> Tensor:
        weights, seen = layer.weights, detached(layer)
        if not weights.requires_grad:
            weights = weights.detach().requires_grad_()
            self._leaves.append(weights)
        self.flow.see(seen)
        return _Tap.apply(weights, lambda gradient: self.flow.feel(seen, gradient))  # type: ignore[no-any-return]

    def pull(self, score: Float[Tensor, ""], last: bool) -> None:
        """Run the backward pass of a score; the graph is freed by the last one."""
        torch.autograd.grad(score, self._leaves, retain_graph=not last, allow_unused=True)


class Last:
    """Keeps the attention of some layers in the graph, so that gradients in them can be asked for."""

    def __init__(self, numbers: Mapping[Kind, int]) -> None:
        self.numbers: dict[int, Kind] = {number: kind for kind, number in numbers.items() if kind != "encoder"}
        self.weights: dict[Kind, Tensor] = {}

    def __call__(self, layer: AttentionMap) -> Tensor:
        if layer.number not in self.numbers:
            return layer.weights
        weights = layer.weights if layer.weights.requires_grad else layer.weights.detach().requires_grad_()
        self.weights[self.numbers[layer.number]] = weights
        return weights


class _Tap(torch.autograd.Function):
    """Returns weights as they are, and hands their gradient on."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, callback: Callable[[Tensor], None]) -> Tensor:
        ctx.callback = callback
        return weights.view_as(weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.callback(gradients[0])
        return gradients[0], None


def detached(layer: AttentionMap) -> AttentionMap:
    """Return the attention of a layer without its history."""
    return replace(layer, weights=layer.weights.detach(), values=None if layer.values is None else layer.values.detach())
