"""Explain a data set: read its manifest, compute the shards that are missing, keep the index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from interpreto.attributions.base import AttributionExplainer
from interpreto.datasets.computing import Orders, Task
from interpreto.datasets.engine_ray import RayOptions, run_ray
from interpreto.datasets.local import run_here, run_workers
from interpreto.datasets.manifest import Manifest, Shard, begin, versions
from interpreto.datasets.opening import read_source
from interpreto.datasets.results import ExplanationDataset
from interpreto.datasets.shards import INDEX, SHARDS, Entry, left_behind, load_pyarrow, present, write_index
from interpreto.datasets.sources import Source
from interpreto.datasets.spec import ExplainerSpec, Recipe, described, plain, recipe_of
from interpreto.errors import FileError, OptionError
from interpreto.progress import progress_bar
from interpreto.validation import check_choice, check_count, is_whole, shown

ENGINES = ("local", "ray")
CALL = ("targets", "roles", "aggregate", "attribute_targets", "generation_kwargs")
"""Arguments of `explain` that all texts share."""
ON_ERROR = ("record", "raise")
OFTEN = 30.0  # seconds between two writings of the index


def explain_dataset(
    explainer: AttributionExplainer | ExplainerSpec,
    data: Any,
    out: str | PathLike[str],
    *,
    text: str | tuple[str, str] | None = None,
    target: str | None = None,
    label: str | None = None,
    engine: str = "local",
    workers: int | Sequence[str] = 1,
    rows_per_shard: int = 1024,
    on_error: str = "record",
    part: tuple[int, int] | None = None,
    call: Mapping[str, Any] | None = None,
    ray: RayOptions | None = None,
    tqdm_bar: bool | None = None,
) -> ExplanationDataset:
    """Explain every text of a data set, and write the explanations as a Parquet data set that can be larger than memory.

    Inputs are cut into shards by their number alone. A shard becomes visible when it is complete and on the disk; a call that
    is repeated, after whatever ended it, computes those that are missing. Values equal those of one `explain` call on the
    same texts but for rounding, whatever the engine, the size of shards and the number of workers.

    Args:
        explainer: An attribution method with its model, or an `ExplainerSpec`, whose model each worker loads by itself.
        data: A file, a folder, a pattern with ``*``, or an address of ``fsspec`` (``s3://…``), of Parquet, CSV, JSON lines or
            texts with one per line; a ``pandas.DataFrame``, a ``datasets.Dataset``, a mapping of columns, or a list of inputs.
        out: Folder of the results, which all workers can write to; made if missing.
        text: Column of the texts, or two, whose rows are pairs; None: found by its name, such as ``text``.
        target: Column of the targets; None: what ``call`` says, or the predictions.
        label: Column of the true classes; None: they are not known.
        engine: ``"local"``: processes of this machine; ``"ray"``: actors of Ray Data, which ``interpreto[scale]`` installs.
        workers: Number of processes with a copy of the model each; 1: this process. Or the devices of the local engine's
            workers, as ``["cuda:0", "cuda:1"]``.
        rows_per_shard: Inputs of each shard: what is computed again when a worker dies.
        on_error: ``"record"``: a text that fails is recorded with its error; ``"raise"``: it ends the call.
        part: ``(i, n)``: compute the shards of job i of n alone, for jobs of a scheduler that share ``out``.
        call: Arguments of `explain` for all texts: ``targets`` (one, or a list of several that each text is explained for),
            ``roles``, ``aggregate``, ``attribute_targets``, ``generation_kwargs``.
        ray: Where Ray runs, and what each worker gets.
        tqdm_bar: Show the texts done; None: after two seconds, in terminals and notebooks.

    Returns:
        The data set, which reads from its files what it is asked for.

    Raises:
        FileError: ``out`` was begun with other data, another model or other options, which the message names; a file cannot
            be read or written.
        InputError, OptionError: an argument is not valid.
        EngineError: workers die again and again over one shard.

    Examples:
        >>> import tempfile
        >>> from interpreto import Occlusion, demo, explain_dataset
        >>> folder, texts = tempfile.mkdtemp(), ["A gorgeous film.", "A dull film.", "What a waste."]
        >>> found = explain_dataset(Occlusion(*demo.load_classifier()), texts, folder, rows_per_shard=2)
        >>> found
        ExplanationDataset(3 explanations by Occlusion, 0 failures, 2 of 2 shards)
        >>> found[1].target_labels, found.importance(by="word").top(1, "negative", sign=1)[0].unit
        (['negative'], 'dull')
    """
    check_choice(engine, "engine", ENGINES)
    records = check_choice(on_error, "on_error", ON_ERROR) == "record"
    check_count(rows_per_shard, "rows_per_shard")
    devices = _devices(workers, engine)
    job, jobs = _part(part)
    load_pyarrow()
    recipe = recipe_of(explainer)
    here = explainer if isinstance(explainer, AttributionExplainer) else explainer.build()
    if here.settings.random_state is None:
        raise OptionError("`random_state`: got None; a run that can be resumed needs a seed.")
    source = read_source(data, text, target, label)
    call = _checked_call(call or {}, target)
    folder = Path(out).expanduser()
    manifest = begin(folder, manifest_of(here, source, call, rows_per_shard), only=(SHARDS, INDEX))
    (folder / SHARDS).mkdir(exist_ok=True)
    orders = Orders(folder, manifest.run, call, records)
    entries = dict(present(folder, manifest.shards(), manifest.run))
    missing = [s for s in manifest.shards() if s.number % jobs == job and s.file not in entries]
    run = _engine(here, recipe, devices, orders, (ray or RayOptions()) if engine == "ray" else None)
    with progress_bar(desc="texts", unit=" texts", total=manifest.rows, shown=tqdm_bar) as bar:
        bar.update(sum(entry.stop - entry.start for entry in entries.values()))
        tasks = (Task(shard, source.part(shard.start, shard.stop)) for shard in missing)
        _collect(folder, entries, run(tasks, bar.update) if missing else iter(()))
    for file in left_behind(folder):
        with suppress(OSError):
            file.unlink()
    return ExplanationDataset(folder)


def manifest_of(explainer: AttributionExplainer, source: Source, call: Mapping[str, Any], rows_per_shard: int) -> Manifest:
    """Return what a run is of."""
    columns = source.columns
    data = {
        "name": source.name,
        "rows": len(source),
        "fingerprint": source.fingerprint,
        "columns": {"text": plain(columns.text), "target": columns.target, "label": columns.label},
    }
    own = described(explainer)
    plain_call = {name: plain(value) for name, value in call.items()}
    return Manifest(data, own, plain_call, len(source), rows_per_shard, versions())


def _collect(folder: Path, entries: dict[str, Entry], found: Iterator[Entry]) -> None:
    """Take entries as shards are finished, and write the index now and then, and at the end."""
    at = time.monotonic()
    try:
        for entry in found:
            entries[Shard(0, entry.start, entry.stop).file] = entry
            if time.monotonic() - at > OFTEN:
                write_index(folder, entries.values())
                at = time.monotonic()
    except BaseException:
        with suppress(FileError):  # such as a full disk, which is what ended the run
            write_index(folder, entries.values())
        raise
    write_index(folder, entries.values())


def _engine(
    here: AttributionExplainer,
    recipe: Recipe | ExplainerSpec,
    devices: Sequence[str | None],
    orders: Orders,
    ray: RayOptions | None,
) -> Callable[[Any, Any], Iterator[Entry]]:
    """Return a function of tasks and of what counts texts, which yields entries."""
    if ray is not None:
        return lambda tasks, on_texts: run_ray(recipe, tasks, orders, workers=len(devices), options=ray, on_texts=on_texts)
    if len(devices) > 1 or devices[0] is not None:
        return lambda tasks, on_texts: run_workers(recipe, tasks, orders, devices, on_texts)
    return lambda tasks, on_texts: run_here(here, tasks, orders, on_texts)


def _devices(workers: Any, engine: str) -> list[str | None]:
    """Return the device of each worker; None: where the model is."""
    if is_whole(workers):
        return [None] * check_count(workers, "workers")
    if isinstance(workers, str) or not isinstance(workers, Sequence) or not workers:
        raise OptionError(f"`workers`: got {shown(workers)}; pass a number, or a list of devices such as ['cuda:0', 'cuda:1'].")
    if engine == "ray":
        raise OptionError(f"`workers`: got {shown(workers)}; Ray finds devices itself: pass a number, and RayOptions.")
    return [str(device) for device in workers]


def _checked_call(call: Mapping[str, Any], target: str | None) -> dict[str, Any]:
    """Return what is passed to `explain` for all texts; refuse what each text has of its own."""
    if unknown := [name for name in call if name not in CALL]:
        raise OptionError(f"`call`: got {unknown[0]!r}; all texts share {', '.join(map(repr, CALL))}; the rest are columns.")
    if target is not None and "targets" in call:
        raise OptionError(f"`call`: got 'targets', which the column {target!r} says already; pass one of them.")
    return dict(call)


def _part(part: Any) -> tuple[int, int]:
    """Return the number of a job and that of all jobs."""
    if part is None:
        return 0, 1
    if not isinstance(part, (tuple, list)) or len(part) != 2 or not all(is_whole(n) for n in part):
        raise OptionError(f"`part`: got {shown(part)}; pass (i, n), the number of a job, from 0, and that of all jobs.")
    job, jobs = (int(n) for n in part)
    if not 0 <= job < jobs:
        raise OptionError(f"`part`: got {shown(part)}; jobs are counted from 0, so that i is below n.")
    return job, jobs
