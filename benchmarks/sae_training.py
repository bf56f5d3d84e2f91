"""Training steps per second of sparse autoencoders: ours, overcomplete's, SAELens' and dictionary_learning's, in one run.

    python -m benchmarks.sae_training [--device cuda] [--features 16384] [--width 768] [--batch 4096] [--k 32]
        [--kinds topk relu relu-sparse] [--precisions float32 tf32 bf16] [--rounds 3] [--seconds 120]

Without ``--batch``, batches have 4096 rows on a GPU and 1024 on a CPU. Rows are sparse mixtures of random directions, in
memory on the device. Each library takes its own training steps on the same batches, with its own clipping, normalization and
bookkeeping of dead features; libraries that are not installed are skipped. Rounds are interleaved; each cell is the best of
them.

``relu`` is the beginning of a training, where half of the codes are not zero. ``relu-sparse`` is how it goes on: our encoder's
biases are such that 100 codes per row are not zero; the others multiply by all codes, whatever they are. ``bare products`` are
the five matrix products of a dense step alone, into memory that is there.

``tf32`` is ``torch.set_float32_matmul_precision("high")``, which is the user's to set; ``bf16`` is each library's own mixed
precision, overcomplete's in float16.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from interpreto.concepts import TopKSAEConcepts, VanillaSAEConcepts
from interpreto.concepts.adapters.overcomplete import load_overcomplete
from interpreto.seeding import seeded

Steps = Callable[[int], None]
"""Takes some training steps."""


class Setting(argparse.Namespace):
    """A size of autoencoder, and a device."""

    device: str
    features: int
    width: int
    batch: int
    k: int
    rounds: int
    seconds: float
    threads: int | None
    kinds: list[str]
    precisions: list[str] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, default in (("features", 16_384), ("width", 768), ("batch", 0), ("k", 32), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=120.0, help="of all measurements; fewer rounds are run if need be")
    parser.add_argument("--threads", type=int, default=None)
    kinds = ["topk", "relu", "relu-sparse"]
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--precisions", nargs="+", default=None, choices=["float32", "tf32", "bf16"])
    setting = parser.parse_args(namespace=Setting())
    setting.batch = setting.batch or (4096 if setting.device == "cuda" else 1024)
    if setting.threads:
        torch.set_num_threads(setting.threads)
    warnings.simplefilter("ignore")
    precisions = setting.precisions or (["float32", "tf32", "bf16"] if setting.device == "cuda" else ["float32"])
    device = torch.cuda.get_device_name() if setting.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"\n# SAE training\n\n{device}, torch {torch.__version__}: {setting.features} features, width {setting.width},")
    print(f"batches of {setting.batch} rows, k = {setting.k}; training steps per second, the best of interleaved rounds.\n")
    cells = [(kind, precision) for kind in setting.kinds for precision in precisions]
    for kind, precision in cells:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        print("\n".join(table(setting, kind, precision, setting.seconds / len(cells))), flush=True)
    torch.set_float32_matmul_precision("highest")


def table(setting: Setting, kind: str, precision: str, seconds: float) -> list[str]:
    """Return the lines of one architecture in one precision."""
    rows = mixtures(setting)
    runs: dict[str, Steps] = {}
    lines = []
    for name, make in (
        ("ours", ours),
        *([("bare products", products)] if kind != "topk" and precision != "bf16" else []),
        ("overcomplete", overcomplete),
        ("SAELens", sae_lens),
        ("dictionary_learning", saprmarks),
    ):
        try:
            with seeded(0):
                runs[name] = make(setting, rows, kind, precision)
        except ImportError as error:
            lines.append(f"{name}: skipped, {error}")
    rates = measure(runs, setting, seconds)
    lines += [f"| {kind}, {precision} | steps per second | rows per second | ours is faster by |", "|---|---|---|---|"]
    for name, rate in rates.items():
        ratio = "" if name == "ours" else f"{rates['ours'] / rate:.2f} ×"
        lines.append(f"| {name} {version(name)} | {rate:.3g} | {rate * setting.batch:,.0f} | {ratio} |")
    return [*lines, ""]


def measure(runs: dict[str, Steps], setting: Setting, seconds: float) -> dict[str, float]:
    """Return the most steps per second of each, rounds interleaved, in about as many seconds.

    Where the first steps took so long that none is left, they count.
    """
    each = seconds / len(runs) / (setting.rounds + 1)
    counts, best = {}, {}
    begun = time.perf_counter()
    for name, run in runs.items():
        warm = timed(run, 1, setting.device)  # with allocations, and choices of kernels
        if setting.device == "cuda":
            run(10)
        if warm < each:
            warm = timed(run, 1, setting.device)
        counts[name], best[name] = max(1, min(400, int(each / warm))), 1 / warm
    for number in range(setting.rounds):
        if time.perf_counter() - begun > seconds * (number + 1) / (setting.rounds + 1):
            break
        for name, run in runs.items():
            best[name] = max(best[name], counts[name] / timed(run, counts[name], setting.device))
    return best


def timed(run: Steps, count: int, device: str) -> float:
    """Return the seconds of some steps."""
    wait(device)
    start = time.perf_counter()
    run(count)
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Wait for the device to finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def mixtures(setting: Setting) -> Tensor:
    """Return rows of 8 of 512 directions each, and noise."""
    batches = 256 if setting.device == "cuda" else 8
    options = {"generator": torch.Generator(setting.device).manual_seed(0), "device": setting.device}
    directions = torch.randn(512, setting.width, **options)
    rows = torch.empty(batches * setting.batch, setting.width, device=setting.device)
    for part in rows.split(setting.batch):
        amounts = torch.rand(len(part), 512, **options) * (torch.rand(len(part), 512, **options) < 8 / 512)
        part.copy_(amounts @ directions + 0.1 * torch.randn(part.shape, **options))
    return rows


def endless(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Yield batches in random order, for ever."""
    while True:
        for chosen in torch.randperm(len(rows), device=rows.device).split(size):
            yield rows.index_select(0, chosen)


# One function per library: it makes what is trained, and returns what takes steps


def products(setting: Setting, rows: Tensor, kind: str, precision: str) -> Steps:
    """Return the matrix products of a dense step: codes, reconstruction, and the gradients of codes, atoms and encoder."""
    batches = endless(rows, setting.batch)
    encoder, atoms, by_encoder, by_atoms = (rows.new_ones(setting.features, setting.width) for _ in range(4))
    codes, by_codes = (rows.new_ones(setting.batch, setting.features) for _ in range(2))
    rebuilt = rows.new_empty(setting.batch, setting.width)

    def run(count: int) -> None:
        for _ in range(count):
            batch = next(batches)
            torch.mm(batch, encoder.T, out=codes)
            torch.mm(codes, atoms, out=rebuilt)
            torch.mm(batch, atoms.T, out=by_codes)
            torch.mm(codes.T, batch, out=by_atoms)
            torch.mm(by_codes.T, batch, out=by_encoder)

    return run


def ours(setting: Setting, rows: Tensor, kind: str, precision: str) -> Steps:
    """Return our trainer's steps, with its batches, records and revivals."""
    from interpreto.concepts.activations import Activations
    from interpreto.concepts.saes.options import TrainingOptions
    from interpreto.concepts.saes.sparse_codes import least_of_largest
    from interpreto.concepts.saes.trainer import _Training

    made = (
        TopKSAEConcepts(None, setting.features, k=setting.k) if kind == "topk" else VanillaSAEConcepts(None, setting.features)
    )
    model = made.to(setting.device).concept_model
    options = TrainingOptions(1_000_000, setting.batch, mixed_precision=precision == "bf16")
    training = _Training(model, Activations(rows, rows.device), options, 0)
    if kind == "relu-sparse":
        with torch.no_grad():
            values = training.model.preactivations(training.model.normalized(rows[: setting.batch]))
            training.model.encoder_bias.sub_(least_of_largest(values, 100 * setting.batch))

    def steps() -> Iterator[None]:
        while True:
            yield from training.steps_of_epoch()

    running = steps()

    def run(count: int) -> None:
        for _ in range(count):
            next(running)

    return run


def overcomplete(setting: Setting, rows: Tensor, kind: str, precision: str) -> Steps:
    """Return the steps of its training loops, on batches of a generator instead of a DataLoader, without monitoring."""
    sae = load_overcomplete("sae")
    made = {"topk": lambda: sae.TopKSAE(setting.width, setting.features, top_k=setting.k, device=setting.device)}
    made["relu"] = lambda: sae.SAE(setting.width, setting.features, device=setting.device)
    model = made[kind.partition("-")[0]]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = endless(rows, setting.batch)
    loops = importlib.import_module("overcomplete.sae.train")
    train = loops.train_sae_amp if precision == "bf16" else loops.train_sae  # its own, on a GPU in float16

    def criterion(x: Tensor, x_hat: Tensor, _pre_codes: Tensor, codes: Tensor, _dictionary: Tensor) -> Tensor:
        loss = (x - x_hat).square().mean()
        return loss if kind == "topk" else loss + 1e-4 * codes.abs().sum(1).mean()

    def run(count: int) -> None:
        some = (next(batches) for _ in range(count))
        train(model, some, criterion, optimizer, nb_epochs=1, clip_grad=1.0, monitoring=0, device=setting.device)

    return run


def sae_lens(setting: Setting, rows: Tensor, kind: str, precision: str) -> Steps:
    """Return the steps of its trainer."""
    names = ("registry", "saes.standard_sae", "saes.topk_sae", "config", "training.sae_trainer")
    registry, standard, top, configs, training = load("sae_lens", *names)
    if "topk" not in registry.SAE_CLASS_REGISTRY:
        registry.register_sae_class("topk", top.TopKSAE, top.TopKSAEConfig)
        registry.register_sae_class("standard", standard.StandardSAE, standard.StandardSAEConfig)
    sizes = {"d_in": setting.width, "d_sae": setting.features, "device": setting.device}
    if kind == "topk":
        model = top.TopKTrainingSAE(top.TopKTrainingSAEConfig(k=setting.k, **sizes))
    else:
        model = standard.StandardTrainingSAE(standard.StandardTrainingSAEConfig(l1_coefficient=1.0, **sizes))
    config = configs.SAETrainerConfig(
        total_training_samples=10**9,
        train_batch_size_samples=setting.batch,
        device=setting.device,
        autocast=precision == "bf16",
        lr_end=3e-5,
        logger=configs.LoggingConfig(log_to_wandb=False),
    )
    batches = endless(rows, setting.batch)
    trainer = training.SAETrainer(config, model, batches)

    def run(count: int) -> None:
        for _ in range(count):
            trainer.step(next(batches))
            trainer.n_training_steps += 1

    return run


def saprmarks(setting: Setting, rows: Tensor, kind: str, precision: str) -> Steps:
    """Return the steps of dictionary_learning's trainers."""
    standard, top = load("dictionary_learning", "trainers.standard", "trainers.top_k")
    common = {"steps": 10**6, "activation_dim": setting.width, "dict_size": setting.features, "layer": 0, "lm_name": "none"}
    if kind == "topk":
        trainer = top.TopKTrainer(k=setting.k, device=setting.device, **common)
    else:
        trainer = standard.StandardTrainer(device=setting.device, **common)
    batches = endless(rows, setting.batch)
    taken = 0

    def run(count: int) -> None:
        nonlocal taken
        for _ in range(count):
            with torch.autocast(setting.device, torch.bfloat16, enabled=precision == "bf16"):
                trainer.update(taken, next(batches))
            taken += 1

    return run


def load(package: str, *names: str) -> list[Any]:
    """Import modules of a package without its ``__init__``, and with empty classes for those of packages that are missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{package} is not installed")
    bare: Any = ModuleType(package)
    bare.__path__, bare.__version__, bare.logger = list(spec.submodule_search_locations), "0", logging.getLogger(package)
    bare.__spec__ = spec
    sys.modules[package] = bare
    sys.meta_path.append(stubs := Stubs())
    try:
        return [importlib.import_module(f"{package}.{name}") for name in names]
    finally:
        sys.meta_path.remove(stubs)


class Stub(ModuleType):
    """A module of a missing package, which has any class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known: dict[str, Any] = {"HookPoint": torch.nn.Identity, "HookedRootModule": Rooted}
        known["helpers"] = SimpleNamespace(
            field=lambda type=None, **options: dataclasses.field(**options),
            dict_field=lambda default, **_: dataclasses.field(default_factory=dict),
        )
        return known.get(name, type(name, (), {}))


class Rooted(torch.nn.Module):
    """A module that SAELens' autoencoders can be derived from."""

    def setup(self) -> None:
        pass


class Stubs(MetaPathFinder, Loader):
    """Finds what peers import and do not need for a training step, where it is not installed."""

    packages = ("transformer_lens", "wandb", "simple_parsing", "datasets", "nnsight", "umap", "tqdm")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in self.packages else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


LIBRARIES = {"ours": ours, "overcomplete": overcomplete, "SAELens": sae_lens, "dictionary_learning": saprmarks}


def version(name: str) -> str:
    """Return the version of a library."""
    package = {"ours": "interpreto", "SAELens": "sae-lens", "dictionary_learning": "dictionary-learning"}.get(name, name)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
