"""Cost of metrics compared with the bare model on the distinct perturbed inputs that they need: one run, ratios.

    python -m benchmarks.metrics [--rounds 5] [--threads 2] [--texts 64]

``bare`` is the model alone on those inputs, prepared beforehand, each length in its own batches. Each cell is the best of
several rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence

import captum.metrics
import torch
from torch import Tensor, nn

from interpreto import AttributionOutput, Occlusion, demo
from interpreto.attributions import metrics
from interpreto.metrics.attributions.base import GameMetric, run_together
from interpreto.metrics.attributions.cases import cases_of
from interpreto.metrics.benchmark import counted
from interpreto.models.scorer import unique_rows

Run = Callable[[], object]
AREAS = ("Deletion", "Insertion")
CURVES = (*AREAS, "MoRF", "LeRF", "ABPC", "AOPCComprehensiveness", "AOPCSufficiency", "LogOdds", "DecisionFlip", "Monotonicity")
SETS = ("FaithfulnessCorrelation", "SensitivityN", "Infidelity", "SurrogateFidelity", "LeaveOneOutCorrelation")
ROWS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = demo.load_classifier()
    model = model.to(arguments.device)
    found = [sentence.text for sentence in demo.load_sentences(split="held-out")]
    outputs = Occlusion(model, tokenizer)(found[:: len(found) // arguments.texts][: arguments.texts])
    print("# Metrics of attributions\n")
    print(f"{len(outputs)} held-out sentences, the embedded classifier; best of {arguments.rounds} interleaved rounds;")
    print(f"{platform.machine()}, {arguments.threads} threads, device {arguments.device}, torch {torch.__version__}.\n")
    print("| metrics of one call | inputs | time | × bare |\n| --- | ---: | ---: | ---: |")
    for name, names in ((" and ".join(AREAS), AREAS), (f"all {len(CURVES)} of curves", CURVES), (f"{len(SETS)} of sets", SETS)):
        print(line(name, [getattr(metrics, n)(model, tokenizer) for n in names], outputs, arguments.rounds))
    print("\n" + "\n".join(against_captum(model, tokenizer, outputs, arguments.rounds)))


def line(name: str, together: Sequence[GameMetric], outputs: Sequence[AttributionOutput], rounds: int) -> str:
    game = together[0].game

    def ours() -> object:
        return run_together(together, outputs, game)

    ours()
    with counted(game.forward.model) as spent:
        ours()
    copies = needed(together, outputs)
    times = measure({"ours": ours, "bare": bare(game.forward.model, copies)}, rounds)
    return f"| {name} | {spent.rows} | {times['ours'] * 1e3:.0f} ms | {times['ours'] / times['bare']:.2f} |"


def needed(together: Sequence[GameMetric], outputs: Sequence[AttributionOutput]) -> list[Tensor]:
    """Return the distinct perturbed inputs of each text."""
    found = []
    for (case,) in cases_of(outputs):
        masks = [metric.masks(case) for metric in together]
        mask, _ = unique_rows(torch.cat([torch.zeros(1, len(case)), *(m.float() for m in masks)]))
        removed = case.sample.units.spread(mask).bool()
        found.append(torch.where(removed, together[0].game.tokenizer.mask_token_id, case.sample.input_ids))
    return found


def bare(model: nn.Module, rows: Sequence[Tensor]) -> Run:
    device = next(model.parameters()).device
    by_length: dict[int, list[Tensor]] = {}
    for ids in rows:
        by_length.setdefault(ids.shape[1], []).append(ids)
    batches = [part.to(device) for same in by_length.values() for part in torch.cat(same).split(ROWS)]

    def run() -> None:
        with torch.no_grad():
            for ids in batches:
                model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.cpu()

    return run


def against_captum(model: nn.Module, tokenizer: object, outputs: Sequence[AttributionOutput], rounds: int) -> list[str]:
    """Compare Infidelity of 100 subsets of each text: captum runs the inputs that it is given, one text at a time."""
    metric = metrics.Infidelity(model, tokenizer)
    few = list(outputs[:16])

    def theirs() -> None:
        for (case,) in cases_of(few):
            subsets = metric.masks(case)
            removed = case.sample.units.spread(subsets.float()).bool()
            ids = case.sample.input_ids[None]
            target = int(case.output.targets[0])
            values = case.sample.units.spread(case.output.attributions).masked_fill(case.sample.units.index[None] < 0, 0)

            def score(given: Tensor, target: int = target) -> Tensor:
                with torch.no_grad():
                    return model(input_ids=given.long()).logits[:, target]

            def perturb(given: Tensor, removed: Tensor = removed) -> tuple[Tensor, Tensor]:
                return removed.float(), torch.where(removed, tokenizer.mask_token_id, given.long())  # type: ignore[attr-defined]

            captum.metrics.infidelity(score, perturb, ids.float(), values, n_perturb_samples=len(subsets))

    times = measure({"ours": lambda: metric.run(few), "captum": theirs}, rounds)
    ratio = times["captum"] / times["ours"]
    return [
        "| Infidelity, 100 subsets of 16 texts | time | × ours |",
        "| --- | ---: | ---: |",
        f"| ours | {times['ours'] * 1e3:.0f} ms | 1 |",
        f"| captum, one text at a time | {times['captum'] * 1e3:.0f} ms | {ratio:.2f} |",
    ]


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Return the best seconds of each, rounds interleaved, after one round to warm up."""
    best = dict.fromkeys(runs, float("inf"))
    for i in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if i:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
