"""Our concept models, overcomplete's and scikit-learn's on the same activations: one run, one table.

    python -m benchmarks.concept_models [--rounds 3] [--threads 2] [--rows 10000] [--concepts 25]

Activations are the embedded classifier's tokens at its middle layer. Each cell is the best of several rounds, which are
interleaved. Errors are relative, of the reconstruction of the rows that were fitted. ``to peer's error`` is the time of
our fit stopped at the first iteration count, or of our codes after the fewest sweeps, whose error is at most the peer's.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from interpreto import demo
from interpreto.concepts import MpSAEConcepts, NMFConcepts, SemiNMFConcepts, TopKSAEConcepts
from interpreto.concepts.adapters.overcomplete import load_overcomplete
from interpreto.concepts.solvers.least_squares import encode
from interpreto.seeding import seeded

ITERATIONS = (3, 5, 8, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320)
STEPS, BATCH, SAE_CONCEPTS, K = 40, 512, 512, 32

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--concepts", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    rows = activations(arguments.rows)
    lines = factorizations(rows, arguments.concepts, arguments.rounds)
    lines += ["", *autoencoders(rows, arguments.rounds)]
    print(f"# Concept models\n\n{len(rows)} token activations of width {rows.shape[1]} of the embedded classifier; the best")
    machine = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"of {arguments.rounds} interleaved rounds; {machine}.\n")
    print("\n".join(lines))


def activations(count: int) -> Tensor:
    model, tokenizer = demo.load_classifier()
    seen: list[Tensor] = []
    handle = model.bert.encoder.layer[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    texts, parts = [sentence.text for sentence in demo.load_sentences()], []
    with torch.no_grad():
        for start in range(0, len(texts), 64):
            batch = tokenizer(texts[start : start + 64], padding=True, return_tensors="pt")
            model(**batch)
            parts.append(seen.pop()[batch["attention_mask"].bool()])
            if sum(map(len, parts)) >= count:
                break
    handle.remove()
    return torch.cat(parts)[:count]


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Best seconds of each, rounds interleaved."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def relative(rows: Tensor, reconstruction: Tensor) -> float:
    return float((rows - reconstruction).norm() / rows.norm())


def factorizations(rows: Tensor, concepts: int, rounds: int) -> list[str]:
    from sklearn.decomposition import NMF

    lines = [
        f"| {concepts} concepts | error | fit | encode | fit / ours | encode / ours "
        "| our fit to peer's error | our encode to peer's error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, peer in ((NMFConcepts, "NMF"), (SemiNMFConcepts, "SemiNMF")):
        data = rows.relu() if kind is NMFConcepts else rows
        ours, theirs = kind(None, concepts), getattr(load_overcomplete("optimization"), peer)(concepts)
        fits: dict[str, Run] = {"ours": lambda ours=ours, data=data: ours.fit(data, overwrite=True)}
        fits["overcomplete"] = seeded_run(lambda theirs=theirs, data=data: theirs.fit(data.clone()))
        encodes: dict[str, Run] = {"ours": lambda ours=ours, data=data: ours.encode_activations(data)}
        encodes["overcomplete"] = seeded_run(lambda theirs=theirs, data=data: theirs.encode(data.clone()))
        scikit = NMF(concepts, init="nndsvda", max_iter=400)
        if kind is NMFConcepts:
            fits["scikit-learn"] = lambda data=data, scikit=scikit: scikit.fit(data.numpy())
            encodes["scikit-learn"] = lambda data=data, scikit=scikit: scikit.transform(data.numpy())
        fit, encoded = measure(fits, rounds), measure(encodes, 5 * rounds)  # that are short
        errors = {
            "ours": relative(data, ours.decode_concepts(ours.encode_activations(data))),
            "overcomplete": relative(data, theirs.decode(seeded_run(lambda theirs=theirs, data=data: theirs.encode(data))())),
        }
        if kind is NMFConcepts:
            errors["scikit-learn"] = relative(data, torch.from_numpy(scikit.transform(data.numpy()) @ scikit.components_))
        for name in fit:
            line = f"| {peer}, {name} | {errors[name]:.4f} | {fit[name]:.2f} s | {encoded[name]:.3f} s | "
            line += f"{fit[name] / fit['ours']:.1f} × | {encoded[name] / encoded['ours']:.1f} × | "
            if name == "ours":
                lines.append(line + "| |")
                continue
            fitted = until(kind, data, concepts, errors[name], fit[name])
            sweeps = encoded_until(ours.get_dictionary(), data, errors[name], encoded[name], rounds)
            lines.append(f"{line}{fitted} | {sweeps} |")
    return lines


def until(kind: type, data: Tensor, concepts: int, error: float, seconds: float) -> str:
    """Time and ratio of our shortest fit of at most that error."""
    for iterations in ITERATIONS:
        explainer = kind(None, concepts, max_iter=iterations, tolerance=0.0)
        taken = measure({"ours": lambda explainer=explainer: explainer.fit(data, overwrite=True)}, 1)["ours"]
        if relative(data, explainer.decode_concepts(explainer.encode_activations(data))) <= error:
            return f"{taken:.2f} s, {seconds / taken:.1f} ×"
    return "not reached"


def encoded_until(dictionary: Tensor, data: Tensor, error: float, seconds: float, rounds: int) -> str:
    """Time and ratio of our codes after the fewest sweeps whose error is at most that."""
    for sweeps in range(1, 8):
        codes = encode(data, dictionary, max_sweeps=sweeps)
        if relative(data, codes @ dictionary) <= error:
            run: dict[str, Run] = {"ours": lambda sweeps=sweeps: encode(data, dictionary, max_sweeps=sweeps)}
            taken = measure(run, 5 * rounds)["ours"]
            return f"{taken:.3f} s, {seconds / taken:.1f} ×"
    return "not reached"


def seeded_run(run: Run) -> Run:
    def seeded_one() -> object:
        with seeded(0):
            return run()

    return seeded_one


def autoencoders(rows: Tensor, rounds: int) -> list[str]:
    sae = load_overcomplete("sae")
    ours = MpSAEConcepts(None, SAE_CONCEPTS, k=K).fit(rows, nb_epochs=1)
    theirs = sae.MpSAE(rows.shape[1], SAE_CONCEPTS, k=K)
    theirs.dictionary._weights.data = ours.get_dictionary().clone()
    some = rows[: STEPS * BATCH]

    def encode_theirs() -> object:
        with torch.no_grad():
            return theirs.encode(some)

    pursuit = measure({"ours": lambda: ours.encode_activations(some), "overcomplete": encode_theirs}, rounds)

    def train_theirs(kind: type, options: dict[str, int]) -> Run:
        def run() -> object:
            model = kind(rows.shape[1], SAE_CONCEPTS, **options)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(some), BATCH, shuffle=True)

            def criterion(x: Tensor, x_hat: Tensor, *_rest: Tensor) -> Tensor:
                return (x - x_hat).square().mean()

            return sae.train_sae(model, loader, criterion, optimizer, nb_epochs=1, clip_grad=1.0, monitoring=0)

        return seeded_run(run)

    lines = [f"| {SAE_CONCEPTS} concepts, k = {K} | ours | overcomplete | ratio |", "|---|---|---|---|"]
    lines.append(row("MpSAE encode", pursuit, lambda s: f"{s:.2f} s"))
    steps = -(-len(some) // BATCH)
    for name, kind, peer, option in (
        ("TopKSAE", TopKSAEConcepts, sae.TopKSAE, "top_k"),
        ("MpSAE", MpSAEConcepts, sae.MpSAE, "k"),
    ):
        explainer = kind(None, SAE_CONCEPTS, k=K)
        runs = {"ours": lambda e=explainer: e.fit(some, overwrite=True, nb_epochs=1, batch_size=BATCH)}
        times = measure({**runs, "overcomplete": train_theirs(peer, {option: K})}, rounds)
        lines.append(row(f"{name} training", times, lambda s: f"{steps / s:.0f} steps/s"))
    return lines


def row(name: str, seconds: dict[str, float], show: Callable[[float], str]) -> str:
    ratio = seconds["overcomplete"] / seconds["ours"]
    return f"| {name} | {show(seconds['ours'])} | {show(seconds['overcomplete'])} | {ratio:.1f} × |"


if __name__ == "__main__":
    main()
