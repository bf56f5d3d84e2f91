"""``interpreto explain-dataset``: explain a data set of any size."""

from __future__ import annotations

from typing import Any

import interpreto
from interpreto.cli.arguments import DEFAULT, DEFAULT_OF_GENERATION, METHODS, Arguments
from interpreto.cli.explain import method_options
from interpreto.cli.hints import read_method
from interpreto.cli.loading import load_model
from interpreto.datasets import RayOptions, explain_dataset
from interpreto.errors import OptionError
from interpreto.models.tasks import resolve_task

UNUSED = {"replacement": None, "baseline": None, "at": None}
"""Options of `explain` that the command does not have."""


def run(arguments: Arguments) -> int:
    """Explain the data and print how far that went."""
    part = _part(arguments.part)
    if arguments.method is not None:
        arguments.method = read_method(arguments.method)
    for name, value in UNUSED.items():
        setattr(arguments, name, value)
    model, tokenizer = load_model(arguments.model, arguments.device)
    if arguments.method is None:
        generates = resolve_task(model, tokenizer, None, None).generates
        arguments.method = DEFAULT_OF_GENERATION if generates else DEFAULT
    options = {name: value for name, value in method_options(arguments).items() if name != "tqdm_bar"}
    explainer = getattr(interpreto, METHODS[arguments.method])(model, tokenizer, arguments.batch_size, **options)
    found = explain_dataset(
        explainer,
        arguments.data,
        arguments.out,
        text=arguments.column,
        target=arguments.target_column,
        label=arguments.label,
        engine=arguments.engine,
        workers=arguments.workers,
        rows_per_shard=arguments.rows_per_shard,
        on_error=arguments.on_error,
        part=part,
        call={} if arguments.target is None else {"targets": _targets(arguments.target)},
        ray=RayOptions(arguments.address, arguments.gpus) if arguments.engine == "ray" else None,
        tqdm_bar=True if arguments.progress else None,
    )
    print(f"{len(found):,} explanations, {found.n_failures:,} failures: interpreto dataset show {arguments.out}")
    return 0


def _part(part: str | None) -> tuple[int, int] | None:
    """Read ``2/10``."""
    if part is None:
        return None
    job, _, jobs = part.partition("/")
    if not (job.isdecimal() and jobs.isdecimal()):
        raise OptionError(f"`--part`: got {part!r}; pass the number of a job, from 0, and that of all jobs, as in 2/10.")
    return int(job), int(jobs)


def _targets(names: list[str]) -> Any:
    """Return one target, or a list of several, numbers as numbers."""
    found = [int(name) if name.isdecimal() else name for name in names]
    return found[0] if len(found) == 1 else found
