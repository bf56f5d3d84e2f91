"""Follow the passes of ``generate``: the tokens that are in each, and where the prompt ends."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class GenerationPlace:
    """Where in a text the tokens of a model's current pass are.

    With a cache, a pass of ``generate`` holds the tokens that the cache does not; without one, all of them. A pass that does
    not go on where the one before ended begins a new prompt.

    Attributes:
        start: Tokens before those of the pass.
        prompt: Tokens of the prompt, padding included.
        passes: Number of passes so far.
        mask: ``(b, l)``, True for tokens of the prompt and of the answer, False for padding; None: none is known.
    """

    def __init__(self) -> None:
        self.start = 0
        self.prompt = 0
        self.passes = 0
        self.mask: Tensor | None = None
        self._ids: Tensor | None = None

    def begin(self, arguments: dict[str, Any]) -> None:
        """Take note of a pass by the arguments of the model's ``forward``."""
        self.passes += 1
        ids = arguments.get("input_ids")
        given = ids if ids is not None else arguments.get("inputs_embeds")
        if given is None:
            return
        length, self.mask = int(given.shape[1]), arguments.get("attention_mask")
        cache = next((arguments[name] for name in ("past_key_values", "cache") if arguments.get(name) is not None), None)
        seen = getattr(cache, "get_seq_length", lambda: 0)() if not isinstance(cache, tuple) else int(cache[0][0].shape[-2])
        self.start = int(seen)
        if self.start == 0 and not self._goes_on(ids):
            self.prompt = length
        self._ids = ids if self.start == 0 else None

    def _goes_on(self, ids: Any) -> bool:
        """Return whether the ids are those of the pass before and one more each, as without a cache."""
        before = self._ids
        if before is None or ids is None or ids.shape[0] != before.shape[0] or ids.shape[1] != before.shape[1] + 1:
            return False
        return torch.equal(ids[:, :-1], before)

    def inside(self, where: str, b: int, length: int, device: torch.device) -> Bool[Tensor, "b l"]:
        """Return which tokens of a pass are meant.

        Args:
            where: ``"all"``, ``"prompt"``, ``"generated"``, or ``"last"``: the last token of the prompt.
            b: Texts of the pass.
            length: Tokens of each.
            device: Where the answer is needed.
        """
        places = self.start + torch.arange(length, device=device).expand(b, length)
        if where == "prompt":
            return places < self.prompt
        if where == "generated":
            return places >= self.prompt
        if where == "last":
            return places == self._last(b, device)[:, None]
        return torch.ones_like(places, dtype=torch.bool)

    def _last(self, b: int, device: torch.device) -> Tensor:
        """Return the place of each prompt's last token that is no padding."""
        if self.mask is None or self.mask.ndim != 2 or self.mask.shape[1] < self.prompt:
            return torch.full((b,), self.prompt - 1, device=device)
        real = self.mask[:, : self.prompt].to(device).bool()
        return (real * torch.arange(self.prompt, device=device)).argmax(1)


@contextmanager
def following(model: nn.Module) -> Iterator[GenerationPlace]:
    """Context manager that gives the place of each pass of this thread, before the model's first module runs."""
    place, here, signature = GenerationPlace(), threading.get_ident(), inspect.signature(model.forward)

    def begin(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        if threading.get_ident() == here:
            place.begin(dict(signature.bind_partial(*args, **named).arguments) | named)

    hook = model.register_forward_pre_hook(begin, with_kwargs=True, prepend=True)
    try:
        yield place
    finally:
        hook.remove()
