"""All layers of a model in one pass, and its own last layers run on from the activations of any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.batching import Budget
from interpreto.models.hook_points import HookPoint, Stack, block_list
from interpreto.validation import is_whole

EMBEDDINGS = "embeddings"
OUTPUTS_A_PASS = 2**25  # logits of one layer that are held at once
SHARED = "it runs one block several times, so that its layers are no modules of their own"


class Layers:
    """The blocks of a model, and the input of the first: read in one pass, and each run on as if it were the last.

    Args:
        model: Left as it was after every call.
        tokenizer: Its tokenizer.
        layers: Numbers of blocks (``-1``: the last), and ``"embeddings"``; None: all.
        batch_size: Rows per pass; None: as many as a token budget holds.
        backend: ``"hooks"`` or ``"nnsight"``.

    Attributes:
        names: ``"embeddings"``, ``"0"``, ``"1"``, … in the order of the model.
        paths: The modules.
        recorder: Runs the model.

    Raises:
        ModelError: the model has no blocks of its own.
        OptionError: it has no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        layers: Sequence[int | str] | None = None,
        batch_size: int | None = None,
        backend: str = "hooks",
    ) -> None:
        stack, path, blocks = find_blocks(model)
        chosen = _chosen(layers, len(blocks))
        self.names = tuple(EMBEDDINGS if i < 0 else str(i) for i in chosen)
        self.last = HookPoint(f"{path}.{len(blocks) - 1}", blocks[-1], stack=stack)
        points = [
            HookPoint(f"{path}.0:input", blocks[0], "input", stack)
            if i < 0
            else HookPoint(f"{path}.{i}", blocks[i], stack=stack)
            for i in chosen
        ]
        self.paths = tuple(point.name for point in points)
        ends = self.names[-1] == str(len(blocks) - 1)
        self.recorder = ActivationRecorder(model, tokenizer, points if ends else [*points, self.last], batch_size, backend)

    def hidden(self, rows: Sequence[SplitInput]) -> list[Float[Tensor, "b l d"]]:
        """Return the activations of a batch at each layer, and at the last one; to be called within a session."""
        return self.recorder.hidden(rows)[0]

    def run_on(self, rows: Sequence[SplitInput], hidden: Float[Tensor, "b l d"]) -> Float[Tensor, "b ..."]:
        """Return the logits of a batch whose last block gives these activations; differentiable in them."""
        return self.recorder.run_on(rows, self.last, hidden)[0]

    def budget(self, outputs: int) -> Budget:
        """Return the size of a pass that gives so many logits per token."""
        budget = self.recorder.budget
        return Budget(budget.rows, max(1, min(budget.tokens, OUTPUTS_A_PASS // max(1, outputs))))

    def map(self, rows: Sequence[SplitInput], step: Callable[[list[int]], Any]) -> Any:
        """Apply ``step`` to the numbers of all rows, batch after batch, within one session."""
        return self.recorder.map(rows, step, self.budget(self.outputs))

    @property
    def outputs(self) -> int:
        """Return the size of the vocabulary, or the number of classes."""
        config: Any = getattr(self.recorder.model, "config", None)
        head: Any = getattr(self.recorder.model, "get_output_embeddings", lambda: None)()
        weight = getattr(head, "weight", None)
        return len(weight) if isinstance(weight, Tensor) else int(getattr(config, "num_labels", 2) or 2)

    @torch.no_grad()
    def check(self, row: SplitInput) -> None:
        """Raise a `ModelError` unless the model, run on from its own last block, returns its logits; tried on one row."""
        with self.recorder.session([row]):
            hidden, output = self.recorder.hidden([row], with_output=True)
            logits = self.recorder.forward.outputs(output).float()
            again = self.run_on([row], hidden[-1])
        if again.shape != logits.shape or not bool((again - logits).abs().max() <= 1e-4 * logits.abs().max().clamp(min=1.0)):
            raise ModelError(
                f"`model`: the outputs of {type(self.recorder.model).__name__} do not follow from {self.last.name!r} alone; a "
                "lens needs a model whose last block feeds its head."
            )


def find_blocks(model: nn.Module) -> tuple[Stack | None, str, nn.ModuleList]:
    """Return the blocks whose outputs the head reads: the stack that they are in, their path, and the blocks.

    Raises:
        ModelError: a block runs several times, or there is no stack of blocks.
    """
    encodes = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    decoder: Any = getattr(model, "get_decoder", lambda: None)() if encodes else None
    part = model if decoder is None or decoder is model else decoder
    try:
        path, blocks = block_list(part)
    except OptionError as error:
        raise ModelError(f"`model`: {type(model).__name__} has no layers that a lens can read: {error}") from error
    prefix = next((name for name, module in model.named_modules() if module is part), "")
    config = getattr(model, "config", None)
    config = getattr(config, "get_text_config", lambda: config)()
    depth = getattr(config, "num_decoder_layers", None) if part is not model else None
    depth = depth or getattr(config, "num_hidden_layers", None)
    if isinstance(depth, int) and depth != len(blocks):
        raise ModelError(f"`model`: {type(model).__name__} has {depth} layers and {len(blocks)} blocks: {SHARED}.")
    stack: Stack | None = None if part is model else "decoder"
    return stack, f"{prefix}.{path}" if prefix else path, blocks


def _chosen(layers: Sequence[int | str] | None, depth: int) -> list[int]:
    """Return numbers of blocks in order; -1 is the input of the first."""
    if layers is None:
        return list(range(-1, depth))
    found = set()
    for layer in [layers] if isinstance(layers, (int, str)) else layers:
        if layer == EMBEDDINGS:
            found.add(-1)
        elif is_whole(layer) and -depth <= int(layer) < depth:
            found.add(int(layer) % depth)
        else:
            raise OptionError(f"`layers`: got {layer!r}; pass numbers from {-depth} to {depth - 1}, or {EMBEDDINGS!r}.")
    if not found:
        raise OptionError("`layers`: got an empty list; pass numbers of blocks, or None for all.")
    return sorted(found)
