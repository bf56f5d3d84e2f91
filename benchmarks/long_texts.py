"""Methods on texts of 512 tokens next to the bare model on the same rows, and captum: what a GPU is for. One run, one table.

    python -W ignore -m benchmarks.long_texts [--device cuda] [--dtype bfloat16] [--tokens 512] [--models bert-base,gpt2]

The inputs of each pass are recorded while a method explains the texts without a shared prefix; ``bare`` runs the model on them
again, already made and on the device, and where the method differentiates also a backward pass to the embeddings. Runs are
interleaved; each cell is the best of them. Memory is the largest that was in use above the model and the recorded inputs.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.random_models import random_model, random_text
from interpreto import AttnLrp, DeepLift, GenericAttention, InputXGradient, IntegratedGradients, KernelShap, Occlusion, Saliency
from interpreto.models import EngineOptions

SIZES: dict[str, dict[str, Any]] = {
    "cuda": {"models": "bert-base,gpt2", "texts": 4, "tokens": 512},
    "cpu": {"models": "bert-small,gpt2-small", "texts": 2, "tokens": 128},
}
METHODS: dict[type, dict[str, Any]] = {
    Occlusion: {"granularity": "token"},
    KernelShap: {"granularity": "token", "n_perturbations": 1100},
    Saliency: {},
    InputXGradient: {},
    IntegratedGradients: {"n_perturbations": 32},
    AttnLrp: {},
    DeepLift: {},
    GenericAttention: {},
}

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    for name, kind in (("models", str), ("texts", int), ("tokens", int)):
        parser.add_argument(f"--{name}", type=kind)
    arguments = parser.parse_args()
    for name, value in SIZES["cuda" if arguments.device.startswith("cuda") else "cpu"].items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    texts: int = arguments.texts
    tokens: int = arguments.tokens
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    on = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"a CPU, {arguments.threads} threads"
    print(
        f"\n# Texts of {tokens} tokens\n\n{texts} texts; {on}, {arguments.dtype}, torch {torch.__version__}; best of ", end=""
    )
    print(f"{arguments.rounds} rounds.\n\n| model | method | rows | passes | bare | ours | over bare | memory | captum |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in arguments.models.split(","):
        model, tokenizer = random_model(name, language=name.startswith("gpt"), dtype=arguments.dtype, device=arguments.device)
        inputs = [random_text(tokens - 2, seed) for seed in range(texts)]
        targets = [" w1"] * texts if name.startswith("gpt") else [0] * texts
        for method, options in METHODS.items():
            explainer = method(model, tokenizer, **options)
            whole = method(model, tokenizer, shortcuts=EngineOptions(prefix=False), **options)
            whole(inputs, targets)  # the first call checks that padding changes nothing
            passes = recorded(model, lambda whole=whole, inputs=inputs, targets=targets: whole(inputs, targets))
            runs: dict[str, Run] = {
                "ours": lambda explainer=explainer, inputs=inputs, targets=targets: explainer(inputs, targets),
                "bare": lambda model=model, passes=passes: bare(model, passes),
            }
            if method is Occlusion and not name.startswith("gpt"):
                runs["captum"] = captum(model, tokenizer, inputs)
            print(f"| {name} | {method.__name__} | {_row(model.device, runs, passes, arguments.rounds)}", flush=True)


def _row(device: torch.device, runs: dict[str, Run], passes: list[tuple[dict[str, Any], bool]], rounds: int) -> str:
    memory = _memory(runs["ours"], device)
    best = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):  # the first warms up
        for kind, run in runs.items():
            if kind == "captum" and number > 1:
                continue
            start = time.perf_counter()
            run()
            _wait()
            if number:
                best[kind] = min(best[kind], time.perf_counter() - start)
    seconds, alone = best["ours"], best["bare"]
    peer = f"{best['captum'] / seconds:.1f} ×" if "captum" in best else "–"
    rows = sum(len(next(iter(given.values()))) for given, _ in passes)
    times = f"{alone * 1000:.0f} ms | {seconds * 1000:.0f} ms | {seconds / alone:.2f}"
    return f"{rows} | {len(passes)} | {times} | {memory} | {peer} |"


def recorded(model: Any, run: Run) -> list[tuple[dict[str, Any], bool]]:
    """Return what the model is given in each pass, and whether it is differentiated."""
    found: list[tuple[dict[str, Any], bool]] = []

    def keep(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        tensors = {name: value.detach().clone() for name, value in given.items() if isinstance(value, Tensor)}
        plain = {name: value for name, value in given.items() if isinstance(value, bool | int)}
        found.append((tensors | plain, torch.is_grad_enabled()))

    handle = model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return found


def bare(model: Any, passes: list[tuple[dict[str, Any], bool]]) -> None:
    """Run the model on ready-made inputs, and back to its embeddings where the method does."""
    for given, differentiate in passes:
        if not differentiate:
            with torch.no_grad():
                model(**given).logits.cpu()
            continue
        rest = dict(given)
        embeddings = rest.pop("inputs_embeds", None)
        if embeddings is None:
            embeddings = model.get_input_embeddings()(rest.pop("input_ids"))
        embeddings = embeddings.detach().requires_grad_()
        with torch.enable_grad():
            logits = model(inputs_embeds=embeddings, **rest).logits
            torch.autograd.grad(logits.flatten(1)[:, 0].sum(), embeddings)[0].cpu()


def captum(model: Any, tokenizer: Any, texts: list[str]) -> Run:
    """Return captum's occlusion of each token, 64 at once."""
    from captum.attr import FeatureAblation

    def forward(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    rows = [tokenizer(text, return_tensors="pt")["input_ids"].to(model.device) for text in texts]
    options = {"baselines": tokenizer.mask_token_id, "target": 0, "perturbations_per_eval": 64}
    return lambda: [FeatureAblation(forward).attribute(ids, **options) for ids in rows]


def _memory(run: Run, device: torch.device) -> str:
    if device.type != "cuda":
        return "–"
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return f"{(torch.cuda.max_memory_allocated() - before) / 2**30:.1f} GiB"


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
