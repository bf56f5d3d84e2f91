"""One forward pass. The only file that calls a model; what it must change for a call, it restores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError


class Forward:
    """Runs a model on padded rows and answers float32 logits.

    Rows are padded on the right, so no position needs correcting, with an id that no row contains, so that decoder
    classifiers find each row's last token.

    Args:
        model: Any model that takes ``input_ids`` and ``attention_mask``.
        device: Where to run it, if not where it is; it is moved back after each call.
    """

    def __init__(self, model: nn.Module, device: torch.device | str | None = None) -> None:
        self.model = model
        self.wanted_device = None if device is None else read_device(device)
        self._pads_well: bool | None = None

    @property
    def embedding(self) -> nn.Module:
        """The layer that turns ids into embeddings."""
        layer = _embedding_layer(self.model)
        if layer is None:
            raise ModelError(
                f"`model`: {type(self.model).__name__} has no embedding layer (get_input_embeddings); gradients and embedding "
                "replacements need one. Explain it by a mask method with a token as `replacement`."
            )
        return layer

    @property
    def device(self) -> torch.device:
        """Where the ids go: to the embedding layer, wherever the other layers are."""
        for module in (_embedding_layer(self.model), self.model):
            if module is not None and (found := next(module.parameters(), None)) is not None:
                return found.device
        return torch.device("cpu")

    @contextmanager
    def session(self, used_ids: set[int]) -> Iterator[None]:
        """Within, the model is ready to be called: evaluation mode, device, padding; all is restored after."""
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.model))
            if self.wanted_device is not None and self.wanted_device != self.device:
                stack.enter_context(moved(self.model, self.wanted_device))
            self.pad_id = stack.enter_context(padding_absent(self.model, used_ids))
            yield

    def __call__(
        self,
        ids: Int[Tensor, "b l"],
        visible: Bool[Tensor, "b l"],
        extras: Mapping[str, Int[Tensor, "b l"]],
    ) -> Float[Tensor, b * rest]:
        """Logits of a batch; ``visible`` is the attention mask."""
        device = self.device
        moved_extras = {name: value.to(device, non_blocking=True) for name, value in extras.items()}
        output = self.model(input_ids=ids.to(device), attention_mask=visible.to(device, torch.long), **moved_extras)
        return read_logits(output).float()

    def pads_well(self, ids: Tensor, visible: Tensor, extras: Mapping[str, Tensor], length: int) -> bool:
        """Whether padding on the right leaves a row's logits as they are: measured once, on the first padded row.

        Models that read the last position whatever the mask says (XLNet), or mix padding in, get batches of one length.
        """
        vocabulary = getattr(_embedding_layer(self.model), "num_embeddings", None)
        if vocabulary is not None and self.pad_id >= vocabulary:
            return False  # the rows use the whole vocabulary: no id is left to pad with
        if self._pads_well is None:
            with torch.no_grad():
                padded = self(ids, visible, extras)
                alone = self(ids[:, :length], visible[:, :length], {k: v[:, :length] for k, v in extras.items()})
            if padded.ndim > 2:
                padded = padded[:, :length]
            low_precision = next(self.model.parameters(), alone).dtype in (torch.float16, torch.bfloat16)
            scale = float(alone.abs().max().clamp(min=1.0))
            self._pads_well = bool((padded - alone).abs().max() <= (5e-2 if low_precision else 1e-4) * scale)
        return self._pads_well


def read_device(value: torch.device | str) -> torch.device:
    """A device, or its name."""
    try:
        return torch.device(value)
    except RuntimeError as error:
        raise OptionError(f"`device`: got {value!r}; pass a torch.device or its name, such as 'cpu' or 'cuda'.") from error


def _embedding_layer(model: nn.Module) -> nn.Module | None:
    getter = getattr(model, "get_input_embeddings", None)
    try:
        layer = getter() if getter is not None else None
    except NotImplementedError:
        return None
    return layer if isinstance(layer, nn.Module) else None


def read_logits(output: Any) -> Tensor:
    """The logits of whatever a model answers."""
    logits = output["logits"] if isinstance(output, Mapping) and "logits" in output else getattr(output, "logits", output)
    if isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        raise ModelError(f"`model`: answered {type(output).__name__} without logits; interpreto explains models with a head.")
    return logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, no module is in training mode; each one's own flag is restored."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, the model is on another device."""
    if getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False):
        raise OptionError("`device`: this model is placed by a device map or quantised; leave `device` out.")
    home = next(model.parameters()).device
    model.to(device)
    try:
        yield
    finally:
        model.to(home)


@contextmanager
def padding_absent(model: nn.Module, used_ids: set[int]) -> Iterator[int]:
    """Within, the model's config names a padding id that no row contains: some classifiers find the last token by it."""
    absent = next(i for i in range(len(used_ids) + 1) if i not in used_ids)
    config = getattr(model, "config", None)
    configs: list[Any] = [] if config is None else [config]
    inner = getattr(config, "get_text_config", lambda: config)()
    if inner is not config:
        configs.append(inner)
    before = [getattr(c, "pad_token_id", None) for c in configs]
    for c in configs:
        c.pad_token_id = absent
    try:
        yield absent
    finally:
        for c, value in zip(configs, before, strict=True):
            c.pad_token_id = value


@contextmanager
def embeddings_given(layer: nn.Module, ids: Int[Tensor, "b l"], embeddings: Float[Tensor, "b l d"]) -> Iterator[None]:
    """Within, the embedding layer answers ``embeddings`` for ``ids``; the model still sees its ids."""

    def give(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return _laid_out(embeddings, ids, inputs[0]).to(output)

    with _hooked(layer, give):
        yield


@contextmanager
def embeddings_replaced(
    layer: nn.Module, ids: Int[Tensor, "b l"], where: Bool[Tensor, "b l"], vector: Float[Tensor, " d"]
) -> Iterator[None]:
    """Within, the embedding layer answers ``vector`` at the given positions of ``ids``."""

    def replace(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        there = _laid_out(where[..., None], ids, inputs[0]).to(output.device)
        return torch.where(there, vector.to(output), output)

    with _hooked(layer, replace):
        yield


def _laid_out(values: Tensor, ids: Int[Tensor, "b l"], asked: Tensor) -> Tensor:
    """Values as the layer was asked for them: some models (XLNet) look ids up position by row."""
    if asked.shape == ids.shape and torch.equal(asked.cpu(), ids.cpu()):
        return values
    if asked.shape == ids.T.shape and torch.equal(asked.cpu(), ids.T.cpu()):
        return values.transpose(0, 1)
    raise ModelError(
        f"`model`: its embedding layer was asked for ids of shape {tuple(asked.shape)}, and the batch has {tuple(ids.shape)}; "
        "embeddings cannot be moved in it. Explain it by a mask method with a token as `replacement`."
    )


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def longest_input(model: nn.Module, tokenizer: Any) -> int | None:
    """Most tokens that a model takes, or None."""
    limits = []
    if (limit := getattr(tokenizer, "model_max_length", None)) and limit < 1_000_000:
        limits.append(int(limit))
    positions = [m for name, m in model.named_modules() if name.endswith("position_embeddings") and isinstance(m, nn.Embedding)]
    for table in positions:  # RoBERTa keeps the first rows of its table for the padding
        limits.append(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
    config = getattr(model, "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    if not positions and isinstance(limit, int) and limit > 0:
        limits.append(limit)
    return min(limits) if limits else None
