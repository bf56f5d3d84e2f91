"""Tuned lens: a linear map after each layer, fitted so that the last layers give the output of the whole model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.lenses.base import Lens
from interpreto.concepts.lenses.files import read_maps, write_maps
from interpreto.concepts.lenses.moments import RIDGES, moments_of
from interpreto.errors import InputError, ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.progress import progress_bar
from interpreto.validation import check_choice, check_count, check_positive, check_seed

L = TypeVar("L", bound="TunedLens")
Map = tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]
"""A matrix and a shift: activations ``h`` become ``h + h Aᵀ + b``."""

STARTS = ("least_squares", "identity")
BATCH = 8  # texts per step
HELD_OUT = 5  # one text of so many decides, where there are twice as many


@dataclass(frozen=True)
class Training:
    """Options of a training."""

    size: int
    epochs: int
    lr: float
    generator: torch.Generator
    tqdm_bar: bool | None


class TunedLens(Lens):
    """Read the activations after each layer through a fitted linear map and the model's own last layers.

    After each layer but the last, ``h`` becomes ``h + A h + b``, and the Kullback-Leibler divergence of what the last layers
    make of it from the model's own output is minimized over the tokens of some texts, by Adam. The first token of each text
    is left out for a language model, as its activations are many times as large as the others'. Every fifth text is held out
    (of fewer than ten texts, none): on these it is decided what training starts from, and a layer keeps its start where
    training does not bring it closer to the model.

    Args:
        model_or_splitter: A model, a folder, a repository's id or a pipeline; or a splitter, whose model and inputs are read.
        tokenizer: The model's tokenizer; None: the one next to it.
        k: Outputs that are kept per layer and token.
        layers: Numbers of blocks (``-1``: the last), and ``"embeddings"``, the input of the first; None: all.
        batch_size: Texts per pass; None: as many as a budget of tokens holds.
        max_new_tokens: Tokens that a language model writes after each text, to be read too.

    Attributes:
        maps: Matrix and shift of each layer, by its name.
        divergences: Mean divergence from the model's output over the texts that `fit` held out, in nats, by layer: of the
            logit lens, of the start, and of the fitted map.

    Examples:
        >>> from interpreto import TunedLens, demo
        >>> lens = TunedLens(*demo.load_classifier()).fit(["A charming film.", "Dull.", "Not my cup of tea."])
        >>> all(fitted <= logit_lens for logit_lens, _, fitted in lens.divergences.values())
        True

    References:
        Belrose, Furman, Smith, Halawi, Ostrovsky, McKinney, Biderman and Steinhardt, 2023, https://arxiv.org/abs/2303.08112
    """

    maps: dict[str, Map] | None = None
    divergences: Mapping[str, tuple[float, float, float]] | None = None

    @property
    def is_fitted(self) -> bool:
        """Return True once the maps are fitted or loaded."""
        return self.maps is not None

    def translated(self, layer: int, hidden: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return the activations through the map of the layer; those after the last block as they are."""
        if self.maps is None:
            raise ModelError("This TunedLens is not fitted; call `fit(texts)` first, or use `TunedLens.load`.")
        own = self.maps.get(self.layers[layer])
        return hidden if own is None else applied(own, hidden)

    @aliases(epochs="nb_epochs", learning_rate="lr")
    def fit(
        self: L,
        inputs: Any,
        *,
        nb_epochs: int = 1,
        lr: float = 1e-3,
        batch_size: int = BATCH,
        start: str = "least_squares",
        random_state: int = 0,
        tqdm_bar: bool | None = None,
    ) -> L:
        """Fit the maps, and return the lens.

        Args:
            inputs: Texts, or any other form that a splitter reads: some hundreds, like those that will be explained.
            nb_epochs: Times that each text is read; 0: only the start.
            lr: Size of the first steps, which fall to 0, relative to the size of the activations.
            batch_size: Texts per step.
            start: ``"least_squares"``: the ridge regression that predicts the activations after the last block, by the
                penalty that serves the texts held out best; ``"identity"``: the logit lens.
            random_state: Seed of the order of the texts.
            tqdm_bar: Show the texts done; None: after two seconds, in a terminal.

        Raises:
            InputError: there is no text with a token besides its first.
            OptionError: an option is out of range.
        """
        check_positive(lr, "lr")
        check_count(nb_epochs, "nb_epochs", 0)
        check_choice(start, "start", STARTS)
        size, seed = check_count(batch_size, "batch_size"), check_seed(random_state)
        rows = [SplitInput.of(sample) for sample in self.splitter.samples(inputs, self._granularity)]
        rows = [row for row in rows if self._kept(row)]
        if not rows:
            raise InputError("`inputs`: there is no text with a token besides its first, which is left out; pass longer texts.")
        self._check(rows)
        names = [name for name in self.layers if name != self._last]
        held = rows[::HELD_OUT] if len(rows) >= 2 * HELD_OUT else rows
        train = [row for i, row in enumerate(rows) if i % HELD_OUT] if len(rows) >= 2 * HELD_OUT else rows
        plan = Training(size, nb_epochs, lr, torch.Generator().manual_seed(seed), tqdm_bar)
        with torch.inference_mode(False):
            moments = moments_of(self._batches(train, size), self._states, len(names))
            width = len(moments[0].x)
            zero = {name: (torch.zeros(width, width), torch.zeros(width)) for name in names}
            plain = self._divergence(held, zero, size)
            begun, before = zero, plain
            for ridge in RIDGES if start == "least_squares" else ():
                tried = {name: each.solve(ridge) for name, each in zip(names, moments, strict=True)}
                begun, before = nearer(begun, before, tried, self._divergence(held, tried, size))
            trained = self._trained(train, begun, plan)
            self.maps, after = nearer(begun, before, trained, self._divergence(held, trained, size))
        self.divergences = {name: (plain[name], before[name], after[name]) for name in names}
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write the maps to one safetensors file; see `load`.

        Raises:
            ModelError: the lens is not fitted.
            FileError: the file cannot be written.
        """
        if self.maps is None:
            raise ModelError("This TunedLens is not fitted; call `fit(texts)` first.")
        write_maps(path, self.maps, type(self.splitter.model).__name__)

    @classmethod
    def load(cls: type[L], path: str | PathLike[str], model_or_splitter: Any, tokenizer: Any = None, **options: Any) -> L:
        """Return a fitted lens from a file of `save`, or from a folder of the package tuned_lens.

        Args:
            path: A file, or a folder with ``params.pt`` and ``config.json``, which are read as tensors and text alone.
            model_or_splitter: The model that it was fitted for.
            tokenizer: Its tokenizer.
            **options: Further options of the lens, such as ``k``.

        Raises:
            FileError: there is no such file, it holds something else, or it is of a model of another size.
        """
        lens = cls(model_or_splitter, tokenizer, **options)
        depth = int(lens._last) + 1
        lens.maps = read_maps(path, depth, lens._width())
        return lens

    @property
    def _last(self) -> str:
        """Return the name of the last block, which needs no map."""
        return self._layers.last.name.rpartition(".")[2]

    def _width(self) -> int:
        (sample, *_) = self.splitter.samples(["It is so, and it was so."], self._granularity)
        row = SplitInput.of(sample)
        with self._layers.recorder.session([row]), torch.no_grad():
            return self._layers.hidden([row])[-1].shape[-1]

    # --- Fitting

    def _kept(self, row: SplitInput) -> int:
        """Return the number of tokens that count: all but the first; of a classifier all."""
        return len(row) - row.source - (0 if self._per_text else 1)

    def _mask(self, batch: Sequence[SplitInput]) -> Tensor:
        """Return the tokens that count, ``(b, l)`` in whole rows."""
        mask = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.bool)
        for own, row in zip(mask, batch, strict=True):
            own[row.source + (0 if self._per_text else 1) : len(row)] = True
        return mask

    def _batches(self, rows: Sequence[SplitInput], size: int, order: Sequence[int] | None = None) -> Iterator[list[SplitInput]]:
        """Yield batches of at most ``size`` rows: single rows where the model cannot pad."""
        order = range(len(rows)) if order is None else order
        mixed = self._layers.recorder.may_mix(rows) if len(rows) > 1 else True
        for i in range(0, len(order), size):
            part = [rows[j] for j in order[i : i + size]]
            yield from [part] if mixed else [[row] for row in part]

    def _states(self, batch: Sequence[SplitInput]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return activations of the layers with a map, those after the last block, and the tokens that count."""
        with self._layers.recorder.session(batch), torch.no_grad():
            hidden = self._layers.hidden(batch)
        own = [h for name, h in zip(self.layers, hidden, strict=False) if name != self._last]
        return own, hidden[-1], self._mask(batch).to(hidden[-1].device)

    def _loss(self, batch: Sequence[SplitInput], given: Tensor, final: Tensor) -> Tensor:
        """Return the sum of the divergences from the model's output, over the tokens that count or the texts."""
        logs = self._layers.run_on(batch, given).log_softmax(-1)
        apart = (final.exp() * (final - logs)).nan_to_num(0.0).sum(-1)
        return apart.sum() if apart.ndim == 1 else apart[self._positions(batch, apart)].sum()

    def _positions(self, batch: Sequence[SplitInput], apart: Tensor) -> Tensor:
        """Return where outputs are read: at the tokens that count, counted from the decoder's first."""
        mask = torch.zeros(apart.shape, dtype=torch.bool, device=apart.device)
        for own, row in zip(mask, batch, strict=True):
            own[1 : len(row) - row.source] = True
        return mask

    def _count(self, batch: Sequence[SplitInput]) -> int:
        return len(batch) if self._per_text else sum(map(self._kept, batch))

    def _divergence(self, rows: Sequence[SplitInput], maps: Mapping[str, Map], size: int) -> dict[str, float]:
        """Return the mean divergence of each layer through its map."""
        totals, count = dict.fromkeys(maps, 0.0), 0
        with torch.no_grad():
            for batch in self._batches(rows, size):
                own, last, _ = self._states(batch)
                final = self._layers.run_on(batch, last).log_softmax(-1)
                for (name, each), hidden in zip(maps.items(), own, strict=True):
                    totals[name] += float(self._loss(batch, applied(each, hidden), final))
                count += self._count(batch)
        return {name: total / count for name, total in totals.items()}

    def _trained(self, rows: Sequence[SplitInput], maps: Mapping[str, Map], plan: Training) -> dict[str, Map]:
        """Return the maps after some epochs of Adam, whose steps are relative to the size of the activations."""
        if not plan.epochs:
            return dict(maps)
        size = plan.size
        device = self.splitter.device
        own, last, mask = self._states(rows[:size])
        scales = [float(h[mask].float().square().mean().sqrt()) if h.ndim == 3 else 1.0 for h in own]
        out = float(last[mask].float().square().mean().sqrt())
        width = last.shape[-1]
        steps = [(torch.zeros(width, width, device=device), torch.zeros(width, device=device)) for _ in maps]
        leaves = [part.requires_grad_() for step in steps for part in step]
        optimizer = torch.optim.Adam(leaves, lr=plan.lr / width**0.5)
        total = plan.epochs * -(-len(rows) // size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: max(0.0, 1 - done / total))

        def now(i: int, base: Map) -> Map:
            matrix, shift = steps[i]
            return base[0].to(device) + matrix * (out / max(scales[i], 1e-12)), base[1].to(device) + shift * out

        with progress_bar(desc="tuned lens", unit=" texts", total=plan.epochs * len(rows), shown=plan.tqdm_bar) as bar:
            for _ in range(plan.epochs):
                for batch in self._batches(rows, size, torch.randperm(len(rows), generator=plan.generator).tolist()):
                    own, last, _ = self._states(batch)
                    with torch.no_grad():
                        final = self._layers.run_on(batch, last).log_softmax(-1)
                    optimizer.zero_grad()
                    with torch.enable_grad():
                        for i, (base, hidden) in enumerate(zip(maps.values(), own, strict=True)):
                            (self._loss(batch, applied(now(i, base), hidden), final) / self._count(batch)).backward()
                    optimizer.step()
                    schedule.step()
                    bar.update(len(batch))
        with torch.no_grad():
            return {
                name: (now(i, base)[0].detach().cpu(), now(i, base)[1].detach().cpu())
                for i, (name, base) in enumerate(maps.items())
            }


def nearer(
    maps: Mapping[str, Map], apart: Mapping[str, float], others: Mapping[str, Map], theirs: Mapping[str, float]
) -> tuple[dict[str, Map], dict[str, float]]:
    """Return for each layer the map of the smaller divergence, and that divergence."""
    better = {name: theirs[name] < apart[name] for name in maps}
    kept = {name: others[name] if better[name] else maps[name] for name in maps}
    return kept, {name: min(theirs[name], apart[name]) if better[name] else apart[name] for name in maps}


def applied(own: Map, hidden: Tensor) -> Tensor:
    """Return activations through a map."""
    matrix, shift = (part.to(hidden.device) for part in own)
    given = hidden.to(matrix.dtype)
    return given + given @ matrix.T + shift
