"""Activations on disk: written as they are computed, read by memory map, never whole in memory."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from interpreto.errors import FileError, ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Span
from interpreto.progress import tqdm
from interpreto.storage import replacing

FORMAT = 1
INDEX = "index.json"
BLOCK = 256  # rows that stay together when the store is shuffled
PASSING = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "quantization_config", "use_cache")


@dataclass(frozen=True)
class StoreConfig:
    """Whose activations a store holds; two stores of one config and one list of inputs are equal.

    Attributes:
        model: Class of the model, digest of its config and of some of its weights; see `identity`.
        split_point: Where the activations were read.
        activation_granularity: What a row stands for.
        aggregation_strategy: How tokens were pooled into a row.
        dtype: As which the activations were kept.
        rows_per_shard: After how many rows a shard ends, with a text.
    """

    model: dict[str, str]
    split_point: str
    activation_granularity: str
    aggregation_strategy: str
    dtype: str
    rows_per_shard: int

    def digest(self) -> str:
        return _digest(asdict(self))


@dataclass(frozen=True)
class StoredUnit:
    """What a row of a store stands for.

    Attributes:
        sample: Number of the input.
        unit: Number of the unit in its input.
        span: Characters of the unit in the input's text.
        text: The unit as a reader sees it.
    """

    sample: int
    unit: int
    span: Span
    text: str


class ActivationStore:
    """Activations ``(n, d)`` in a folder, with what each row stands for.

    Args:
        path: The folder that `ActivationStore.write`, or a splitter's ``store_activations``, made.

    Raises:
        FileError: there is no store, or its writing was interrupted.

    Examples:
        >>> import tempfile
        >>> from interpreto import demo
        >>> from interpreto.concepts.splitters import ModelWithSplitPoints
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> store = splitter.store_activations(["A charming film.", "Dull."], tempfile.mkdtemp(), "word")
        >>> store.shape, store.dtype
        ((6, 128), torch.float32)
        >>> store.unit(1)
        StoredUnit(sample=0, unit=1, span=(2, 10), text='charming')
        >>> [len(batch) for batch in store.batches(4)]
        [4, 2]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        index = _read_json(self.path / INDEX)
        if index.get("format") != FORMAT:
            raise FileError(f"`path`: {str(self.path)!r} is no activation store of this version of interpreto.")
        if not index["complete"]:
            raise FileError(
                f"`path`: the store at {str(self.path)!r} was not finished; repeat the call that wrote it, and it goes on."
            )
        self.config = StoreConfig(**index["config"])
        self.shape: tuple[int, int] = (sum(index["rows"]), index["width"])
        self.dtype: torch.dtype = getattr(torch, index["dtype"])
        self._ends = torch.tensor(index["rows"]).cumsum(0).tolist()

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"ActivationStore({str(self.path)!r}, shape={self.shape}, dtype={self.dtype})"

    def rows(self, start: int, stop: int) -> Float[Tensor, "b d"]:
        """Some consecutive rows; nothing else is read."""
        parts, start, stop = [], max(start, 0), min(stop, len(self))
        while start < stop:
            shard = bisect_right(self._ends, start)
            before = self._ends[shard - 1] if shard else 0
            end = min(stop, self._ends[shard])
            place = self.path / f"{_name(shard)}.safetensors"
            try:
                with safe_open(place, framework="pt") as file:
                    parts.append(file.get_slice("activations")[start - before : end - before])
            except (OSError, SafetensorError) as error:
                raise FileError(
                    f"`path`: {str(place)!r} cannot be read ({error}); delete it, and repeat the call that wrote the store."
                ) from error
            if len(parts[-1]) != end - start:
                raise FileError(f"`path`: {str(place)!r} is not the file that the store's index speaks of.")
            start = end
        if not parts:
            return torch.empty(0, self.shape[1], dtype=self.dtype)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def read(self) -> Float[Tensor, "n d"]:
        """All rows, in memory."""
        whole = torch.empty(self.shape, dtype=self.dtype)
        for start, end in zip([0, *self._ends], self._ends, strict=False):
            whole[start:end] = self.rows(start, end)
        return whole

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Float[Tensor, "b d"]]:
        """All rows once, ``size`` at a time: in order, or with a generator shuffled.

        Shuffled, blocks of 256 consecutive rows are drawn in any order, and rows are mixed among as many blocks as a
        buffer of some batches holds; the last batch may be smaller.
        """
        if size < 1:
            raise OptionError(f"`size`: got {size}; pass at least 1.")
        if generator is None:
            for start in range(0, len(self), size):
                yield self.rows(start, start + size)
            return
        blocks = torch.randperm(-(-len(self) // BLOCK), generator=generator, device=generator.device).tolist()
        together = max(64, -(-8 * size // BLOCK))
        rest = torch.empty(0, self.shape[1], dtype=self.dtype)
        for i in range(0, len(blocks), together):
            read = [self.rows(block * BLOCK, (block + 1) * BLOCK) for block in blocks[i : i + together]]
            buffer = torch.cat([rest, *read])
            buffer = buffer[torch.randperm(len(buffer), generator=generator, device=generator.device).cpu()]
            whole = len(buffer) if i + together >= len(blocks) else len(buffer) // size * size
            yield from buffer[:whole].split(size)
            rest = buffer[whole:]

    def unit(self, i: int) -> StoredUnit:
        """What a row stands for; negative numbers count from the end."""
        if not -len(self) <= i < len(self):
            raise OptionError(f"`i`: got row {i} of a store of {len(self)}.")
        return next(self.units(i % len(self), i % len(self) + 1))

    def units(self, start: int = 0, stop: int | None = None) -> Iterator[StoredUnit]:
        """What the rows stand for, in order; one shard's index is in memory at a time."""
        stop = len(self) if stop is None else min(stop, len(self))
        while start < stop:
            shard = bisect_right(self._ends, start)
            before = self._ends[shard - 1] if shard else 0
            index = _read_json(self.path / f"{_name(shard)}.json")
            end = min(stop, self._ends[shard])
            for row in range(start - before, end - before):
                a, b = index["spans"][row]
                yield StoredUnit(index["samples"][row], index["units"][row], (a, b), index["texts"][row])
            start = end

    def check_model(self, model: nn.Module, split_point: str) -> None:
        """Refuse a model, or a split point, that the activations are not of."""
        if split_point != self.config.split_point:
            raise FileError(
                f"`activations`: the store at {str(self.path)!r} is of split point {self.config.split_point!r}, "
                f"not {split_point!r}."
            )
        own = identity(model)
        for what, value in self.config.model.items():
            if own[what] != value:
                raise FileError(
                    f"`activations`: the store at {str(self.path)!r} is of another model: "
                    f"its {what} is {value}, and this model's is {own[what]}."
                )

    @staticmethod
    def write(
        path: str | Path,
        samples: Iterable[Sample],
        activations_of: Callable[[Sequence[Sample]], Tensor],
        config: StoreConfig,
        tqdm_bar: bool = False,
    ) -> ActivationStore:
        """Write the activations of samples, or go on where an interrupted call stopped.

        Args:
            path: The folder; made if missing.
            samples: Read once, as they come. Those of finished shards are read again, but not run again.
            activations_of: Activations ``(u, d)`` of all units of some samples, in order.
            config: Whose activations they are.
            tqdm_bar: Show the rows written.
        """
        if config.rows_per_shard < 1:
            raise OptionError(f"`rows_per_shard`: got {config.rows_per_shard}; pass at least 1.")
        folder = Path(path)
        _open(folder, config)
        rows, width, dtype, number = [], 0, "", 0
        with tqdm(desc="activations", unit=" rows", disable=not tqdm_bar) as bar:
            for shard, part in enumerate(_parts(samples, config.rows_per_shard)):
                found = _finished(folder, shard, part) or _write_shard(folder, shard, part, number, activations_of(part))
                rows.append(found["rows"])
                width, dtype = found["width"], found["dtype"]
                number += len(part)
                bar.update(found["rows"])
        if (folder / f"{_name(len(rows))}.json").exists():
            raise _other_inputs(folder, len(rows))
        done = {"complete": True, "rows": rows, "width": width, "dtype": dtype, "samples": number}
        _write_json(folder / INDEX, {"format": FORMAT, "config": asdict(config), **done})
        return ActivationStore(folder)


def identity(model: nn.Module) -> dict[str, str]:
    """What tells a model from others: its class, a digest of its config, and one of a few of each parameter's values.

    The same in float32 and bfloat16.
    """
    config = getattr(model, "config", None)
    settings = {} if config is None else config.to_dict()
    kept = {name: value for name, value in settings.items() if name not in PASSING and not name.startswith("_")}
    weights = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        weights.update(f"{name}{tuple(parameter.shape)}".encode())
        if parameter.device.type != "meta" and parameter.is_floating_point():
            values = parameter.detach().flatten()
            # Not the first ones: an embedding's first row may be a padding token's zeros.
            places = torch.linspace(0, len(values) - 1, 8, dtype=torch.float64).long()
            few = values[places.to(values.device)].to("cpu", torch.bfloat16)
            weights.update(few.view(torch.int16).numpy().tobytes())
    return {"class": type(model).__qualname__, "config": _digest(kept), "weights": weights.hexdigest()[:16]}


def _open(folder: Path, config: StoreConfig) -> None:
    """Begin a store, or take up one of the same config."""
    if not (folder / INDEX).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileError(f"`path`: {str(folder)!r} holds something else; pass an empty folder, or one that does not exist.")
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / INDEX, {"format": FORMAT, "config": asdict(config), "complete": False})
        return
    index = _read_json(folder / INDEX)
    if index.get("format") != FORMAT or StoreConfig(**index["config"]).digest() != config.digest():
        before = index.get("config", {})
        differing = [name for name, value in asdict(config).items() if before.get(name) != value]
        raise FileError(
            f"`path`: {str(folder)!r} holds a store that differs in {', '.join(differing) or 'its format'} "
            f"({', '.join(f'{name}: {before.get(name)!r}' for name in differing)}); pass another folder, or delete it."
        )


def _parts(samples: Iterable[Sample], rows: int) -> Iterator[list[Sample]]:
    """Consecutive samples with at least so many units; where a part ends depends on the samples alone."""
    part: list[Sample] = []
    held = 0
    for sample in samples:
        part.append(sample)
        held += len(sample.units)
        if held >= rows:
            yield part
            part, held = [], 0
    if part:
        yield part


def _finished(folder: Path, shard: int, part: Sequence[Sample]) -> dict[str, Any] | None:
    """The index of a shard that is there already, with its activations."""
    place = folder / f"{_name(shard)}.json"
    if not place.exists() or not place.with_suffix(".safetensors").exists():
        return None
    index = _read_json(place)
    if index["digest"] != _digest_samples(part):
        raise _other_inputs(folder, shard)
    return index


def _write_shard(folder: Path, shard: int, part: Sequence[Sample], first: int, activations: Tensor) -> dict[str, Any]:
    """The activations, then the index: a shard whose index is there is whole."""
    counts = [len(sample.units) for sample in part]
    if len(activations) != sum(counts):
        raise ModelError(f"`activations_of`: answered {len(activations)} rows for {sum(counts)} units.")
    with replacing(folder / f"{_name(shard)}.safetensors") as partial:
        save_file({"activations": activations.contiguous()}, partial)
    index = {
        "digest": _digest_samples(part),
        "rows": sum(counts),
        "width": activations.shape[1],
        "dtype": str(activations.dtype).removeprefix("torch."),
        "samples": [first + i for i, count in enumerate(counts) for _ in range(count)],
        "units": [unit for count in counts for unit in range(count)],
        "spans": [span for sample in part for span in sample.units.spans],
        "texts": [text for sample in part for text in sample.units.texts],
    }
    _write_json(folder / f"{_name(shard)}.json", index)
    return index


def _other_inputs(folder: Path, shard: int) -> FileError:
    return FileError(
        f"`inputs`: shard {shard} of the store at {str(folder)!r} is of other inputs; "
        "pass those that it was begun with, or another folder."
    )


def _name(shard: int) -> str:
    return f"shard-{shard:05d}"


def _digest_samples(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.input_ids.numpy().tobytes())
        digest.update(sample.units.index.numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"`path`: {str(path.parent)!r} holds no activation store ({path.name} is missing).") from error
    except ValueError as error:
        raise FileError(f"`path`: {str(path)!r} cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise FileError(f"`path`: {str(path)!r} is no index of an activation store.")
    return found
