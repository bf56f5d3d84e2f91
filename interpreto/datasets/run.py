"""Explain a data set: read what is asked for, begin or take up its folder, and run the shards that are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

from interpreto.attributions.base import AttributionExplainer
from interpreto.datasets.computing import Explaining, Orders, compute
from interpreto.datasets.manifest import Manifest, versions
from interpreto.datasets.opening import read_source
from interpreto.datasets.results import ExplanationDataset
from interpreto.datasets.running import begun, run_shards
from interpreto.datasets.shards import load_pyarrow
from interpreto.datasets.sources import Source
from interpreto.datasets.spec import ExplainerSpec, described, plain, recipe_of
from interpreto.engines.cluster import RayOptions
from interpreto.engines.engine import Engine
from interpreto.errors import OptionError
from interpreto.storage import local_folder
from interpreto.validation import check_choice, check_count

CALL = ("targets", "roles", "aggregate", "attribute_targets", "generation_kwargs")
"""Arguments of `explain` that all texts share."""
ON_ERROR = ("record", "raise")


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
    where = Engine.read(engine, workers, part, ray, tqdm_bar)
    records = check_choice(on_error, "on_error", ON_ERROR) == "record"
    check_count(rows_per_shard, "rows_per_shard")
    load_pyarrow()
    recipe = recipe_of(explainer)
    here = explainer if isinstance(explainer, AttributionExplainer) else explainer.build()
    if here.settings.random_state is None:
        raise OptionError("`random_state`: got None; a run that can be resumed needs a seed.")
    source = read_source(data, text, target, label)
    call = _checked_call(call or {}, target)
    folder = local_folder(out, "out")
    manifest = begun(folder, manifest_of(here, source, call, rows_per_shard))
    job = Explaining(recipe, Orders(folder, manifest.run, call, records))
    run_shards(folder, manifest, source, engine=where, job=job, here=partial(compute, here, orders=job.orders))
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


def _checked_call(call: Mapping[str, Any], target: str | None) -> dict[str, Any]:
    """Return what is passed to `explain` for all texts; refuse what each text has of its own."""
    if unknown := [name for name in call if name not in CALL]:
        raise OptionError(f"`call`: got {unknown[0]!r}; all texts share {', '.join(map(repr, CALL))}; the rest are columns.")
    if target is not None and "targets" in call:
        raise OptionError(f"`call`: got 'targets', which the column {target!r} says already; pass one of them.")
    return dict(call)
