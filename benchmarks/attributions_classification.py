"""Our methods, captum's and lime's, and the bare model on the same rows: one run, one table.

    python -m benchmarks.attributions_classification [--rounds 7] [--threads 2]

Each cell is the best of several rounds, which are interleaved, so that a busy moment hits all rows alike. ``bare`` is
the model on the distinct rows that our method asks for, already made, in the batch size that suits it best.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor

from interpreto import IntegratedGradients, KernelShap, Lime, Occlusion, Sobol, demo
from interpreto.attributions.base import AttributionExplainer
from interpreto.models.scorer import unique_rows

BATCHES = (64, 128)
PEER_ROUNDS = 2  # peers take many times as long, and are less moved by a busy moment
SAMPLES = 8  # sentences in each task

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = demo.load_classifier()
    model = model.to(arguments.device)
    texts = [s.text for s in demo.load_sentences("movie", "held-out") if 18 <= len(s.text.split()) <= 26][:SAMPLES]
    rows = [
        task(model, tokenizer, texts, arguments.rounds) for task in (occlusion, lime, kernel_shap, sobol, integrated_gradients)
    ]
    print(report(rows, arguments))


def measure(runs: dict[str, Run], rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Best seconds of each, rounds interleaved, after one round to warm up; peers sit out the later rounds."""
    best = dict.fromkeys(runs, float("inf"))
    for i in range(rounds + 1):
        for name, run in runs.items():
            if i > PEER_ROUNDS and name in ("captum", "lime"):
                continue
            start = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if i:
                best[name] = min(best[name], clock() - start)
    return best


def masked_rows(explainer: AttributionExplainer, texts: list[str]) -> list[Tensor]:
    """The distinct rows of ids that a mask method runs, for each text."""
    rows = []
    for output in explainer(texts):
        variants = explainer.perturbator(output.sample, explainer._generator())  # type: ignore[operator]
        mask, _ = unique_rows(torch.cat([variants.mask.new_zeros(1, variants.mask.shape[1]), variants.mask]))
        removed = output.sample.units.spread(mask).bool()
        rows.append(torch.where(removed, explainer.tokenizer.mask_token_id, output.sample.input_ids))
    return rows


def bare(model: torch.nn.Module, rows: list[Tensor], size: int) -> Run:
    """The model alone; rows of unequal lengths are not mixed, so nothing is padded."""
    device = next(model.parameters()).device
    batches = [part.to(device) for ids in rows for part in ids.split(size)]

    def run() -> None:
        with torch.no_grad():
            for ids in batches:
                model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.cpu()

    return run


def masks_against(explainer: AttributionExplainer, texts: list[str], peers: dict[str, Run], rounds: int) -> dict[str, object]:
    rows = masked_rows(explainer, texts)
    runs = {"ours": lambda: explainer(texts)} | peers
    runs |= {f"bare {size}": bare(explainer.forward.model, rows, size) for size in BATCHES}
    return {"method": type(explainer).__name__, "rows": sum(map(len, rows))} | measure(runs, rounds)


def captum_inputs(model: torch.nn.Module, tokenizer: object, texts: list[str]) -> tuple[Callable, list[tuple[Tensor, int]]]:
    device = next(model.parameters()).device

    def forward(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    encoded = [tokenizer(text, return_tensors="pt")["input_ids"].to(device) for text in texts]  # type: ignore[operator]
    return forward, [(ids, int(forward(ids).argmax())) for ids in encoded]


def words(ids: Tensor) -> Tensor:
    """captum's features: every token of the text its own, the two special ones together as one more."""
    mask = torch.arange(ids.shape[1], device=ids.device)[None] - 1
    mask[:, 0] = mask[:, -1] = ids.shape[1] - 2
    return mask


def occlusion(model: torch.nn.Module, tokenizer: object, texts: list[str], rounds: int) -> dict[str, object]:
    from captum.attr import FeatureAblation

    forward, inputs = captum_inputs(model, tokenizer, texts)
    mask_id = tokenizer.mask_token_id  # type: ignore[attr-defined]

    def captum() -> None:
        for ids, target in inputs:
            FeatureAblation(forward).attribute(ids, baselines=mask_id, target=target, feature_mask=words(ids))

    return masks_against(Occlusion(model, tokenizer, granularity="token"), texts, {"captum": captum}, rounds)


def lime(model: torch.nn.Module, tokenizer: object, texts: list[str], rounds: int) -> dict[str, object]:
    from captum.attr import Lime as Captum
    from lime.lime_text import LimeTextExplainer

    forward, inputs = captum_inputs(model, tokenizer, texts)
    mask_id = tokenizer.mask_token_id  # type: ignore[attr-defined]

    def captum() -> None:
        for ids, target in inputs:
            explainer = Captum(forward)
            explainer.attribute(ids, baselines=mask_id, target=target, feature_mask=words(ids), n_samples=200)

    def probabilities(strings: list[str]) -> object:
        batch = tokenizer(strings, padding=True, return_tensors="pt").to(next(model.parameters()).device)  # type: ignore[operator]
        with torch.no_grad():
            return model(**batch).logits.softmax(-1).cpu().numpy()

    def original() -> None:
        for text in texts:
            LimeTextExplainer(random_state=0).explain_instance(text, probabilities, num_samples=200)

    ours = Lime(model, tokenizer, granularity="token", n_perturbations=200)
    return masks_against(ours, texts, {"captum": captum, "lime": original}, rounds)


def kernel_shap(model: torch.nn.Module, tokenizer: object, texts: list[str], rounds: int) -> dict[str, object]:
    from captum.attr import KernelShap as Captum

    forward, inputs = captum_inputs(model, tokenizer, texts)
    mask_id = tokenizer.mask_token_id  # type: ignore[attr-defined]

    def captum() -> None:
        for ids, target in inputs:
            Captum(forward).attribute(ids, baselines=mask_id, target=target, feature_mask=words(ids), n_samples=500)

    return masks_against(KernelShap(model, tokenizer, granularity="token"), texts, {"captum": captum}, rounds)


def sobol(model: torch.nn.Module, tokenizer: object, texts: list[str], rounds: int) -> dict[str, object]:
    return masks_against(Sobol(model, tokenizer, granularity="token"), texts, {}, rounds)


def integrated_gradients(model: torch.nn.Module, tokenizer: object, texts: list[str], rounds: int) -> dict[str, object]:
    from captum.attr import LayerIntegratedGradients

    _, inputs = captum_inputs(model, tokenizer, texts)
    mask_id = tokenizer.mask_token_id  # type: ignore[attr-defined]
    layer = model.get_input_embeddings()  # type: ignore[operator]

    def forward(ids: Tensor) -> Tensor:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    def captum() -> None:
        for ids, target in inputs:
            start = torch.full_like(ids, mask_id)
            LayerIntegratedGradients(forward, layer).attribute(ids, start, target=target, n_steps=32)

    def steps() -> None:
        for ids, target in inputs:
            points = layer(ids).detach().expand(32, -1, -1).clone().requires_grad_()
            logits = model(inputs_embeds=points, attention_mask=torch.ones(points.shape[:2], device=ids.device)).logits
            torch.autograd.grad(logits[:, target].sum(), points)

    ours = IntegratedGradients(model, tokenizer, granularity="token", baseline="mask")
    times = measure({"ours": lambda: ours(texts), "captum": captum, "bare 32": steps}, rounds)
    return {"method": "IntegratedGradients", "rows": 32 * len(texts)} | times


def report(rows: list[dict[str, object]], arguments: argparse.Namespace) -> str:
    lines = [
        "# Attributions of the embedded classifier",
        "",
        f"{SAMPLES} held-out movie sentences of 18 to 26 words, token granularity, one explained class; best of",
        f"{arguments.rounds} interleaved rounds (peers {PEER_ROUNDS}); {platform.machine()}, {arguments.threads} threads, "
        f"device {arguments.device}, torch {torch.__version__}.",
        "`bare` is the model alone on the distinct rows that our method runs, ready-made, in its best batch size (for",
        "integrated gradients: forward and backward of the 32 steps).",
        "",
        "| method | distinct rows | ours | bare | ours / bare | captum | captum / ours | lime / ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        best = min(float(v) for k, v in row.items() if k.startswith("bare"))  # type: ignore[arg-type]
        ours = float(row["ours"])  # type: ignore[arg-type]
        peers = [float(row[p]) / ours if p in row else None for p in ("captum", "lime")]  # type: ignore[arg-type]
        captum = f"{float(row['captum']) * 1e3:.0f} ms" if "captum" in row else "–"  # type: ignore[arg-type]
        ratios = ["–" if ratio is None else f"{ratio:.1f} ×" for ratio in peers]
        lines.append(
            f"| {row['method']} | {row['rows']} | {ours * 1e3:.0f} ms | {best * 1e3:.0f} ms | {ours / best:.2f} | {captum} "
            f"| {ratios[0]} | {ratios[1]} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
