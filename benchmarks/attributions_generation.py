"""Our methods on a language model, each shortcut on and off, captum's, inseq's where it installs, and the bare model.

    python -m benchmarks.attributions_generation [--rounds 5] [--threads 2] [--device cuda] [--long]

Each cell is the best of several rounds, which are interleaved, so that a busy moment hits all rows alike. ``bare`` is
the model on the distinct rows that our Occlusion asks for, already made, with logits at the targets alone, in the batch
size that suits it best.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import fields

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interpreto import IntegratedGradients, KernelShap, Occlusion
from interpreto.models import EngineOptions

VOCABULARY = 32000
BATCHES = (8, 16, 32, 64)
PEER_ROUNDS = 1  # peers take many times as long, and are less moved by a busy moment
STEPS = 8  # of integrated gradients
SHAP = 256  # coalitions

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--long", action="store_true", help="512 × 32 too; for a GPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    print(
        f"\n# Attributions of a language model\n\nA Llama of width 256 and vocabulary {VOCABULARY}, random weights; "
        f"best of {arguments.rounds} interleaved rounds (peers {PEER_ROUNDS});\n"
        f"{platform.machine()}, {arguments.threads} threads, device {arguments.device}, torch {torch.__version__}."
    )
    for units, targets, layers in [(40, 10, 4), (96, 24, 6)] + [(512, 32, 6)] * arguments.long:
        workload(units, targets, layers, arguments)


def workload(units: int, targets: int, layers: int, arguments: argparse.Namespace) -> None:
    model, tokenizer = llama(layers)
    model = model.to(arguments.device)
    generator = torch.Generator().manual_seed(0)
    words = [f"w{int(i)}" for i in torch.randint(1, VOCABULARY - 1, (units + targets,), generator=generator)]
    prompt, target = " ".join(words[:units]), " " + " ".join(words[units:])
    runs = occlusions(model, tokenizer, prompt, target)
    if units >= 96:
        del runs["ours without one_pass"]  # minutes: a pass for each of the targets
    runs |= bares(model, tokenizer, words, targets)
    runs |= captum_occlusions(model, tokenizer, prompt, target) if units < 96 else {}
    runs |= inseq_occlusion(model, tokenizer, prompt, target) if units < 96 else {}
    measured = measure(runs, arguments.rounds)
    best = min(seconds for name, seconds in measured.items() if name.startswith("bare, targets"))
    table(f"Occlusion, {units} units × {targets} targets, {layers} layers", measured, best)
    if units >= 96:
        return  # minutes for those without a shortcut, which say the same
    runs = gradients(model, tokenizer, prompt, target) | captum_gradients(model, tokenizer, prompt, target)
    measured = measure(runs, arguments.rounds)
    table(f"Integrated gradients, {STEPS} steps, {units} units × {targets} targets", measured, measured["ours, sequence"])


def llama(layers: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY - 1)} | {"<unk>": VOCABULARY - 1}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return model, PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<unk>")


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Best seconds of each, rounds interleaved, after one round to warm up; peers sit out the later rounds."""
    best = dict.fromkeys(runs, float("inf"))
    for i in range(rounds + 1):
        for name, run in runs.items():
            if i > PEER_ROUNDS and name.startswith(("captum", "inseq")):
                continue
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if i:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def table(title: str, measured: dict[str, float], unit: float) -> None:
    reference = "bare" if any(name.startswith("bare") for name in measured) else "the sequence's"
    print(f"\n## {title}\n\n| run | time | over {reference} |\n|---|---|---|")
    for name, seconds in measured.items():
        print(f"| {name} | {1000 * seconds:.0f} ms | {seconds / unit:.2f} |")


def occlusions(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> dict[str, Run]:
    """By the prompt alone, as captum does; a removed unit becomes id 0, as captum's does."""

    def run(shortcuts: EngineOptions, **asked: bool) -> Run:
        explainer = Occlusion(model, tokenizer, granularity="token", replacement=0, shortcuts=shortcuts)
        return lambda: explainer(prompt, target, **({"attribute_targets": False} | asked))

    runs = {"ours": run(EngineOptions()), "ours, targets' tokens too": run(EngineOptions(), attribute_targets=True)}
    names = [field.name for field in fields(EngineOptions) if field.name not in ("shared_backward", "distinct")]
    runs |= {f"ours without {name}": run(EngineOptions(**{name: False})) for name in names}  # type: ignore[arg-type]
    shap = {"granularity": "token", "replacement": 0, "n_perturbations": SHAP}
    explainer = KernelShap(model, tokenizer, **shap)  # type: ignore[arg-type]
    return runs | {f"ours, KernelShap of {SHAP}": lambda: explainer(prompt, target, attribute_targets=False)}


def bares(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, words: list[str], targets: int) -> dict[str, Run]:
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(words))[:-1].to(model.device)
    units = len(words) - targets
    rows = torch.cat([ids[None], ids.repeat(units, 1).masked_fill(torch.eye(units, len(ids), device=ids.device).bool(), 0)])

    def run(size: int, **kept: int) -> Run:
        def bare() -> None:
            with torch.no_grad():
                for part in rows.split(size):
                    answer = model(input_ids=part, attention_mask=torch.ones_like(part), use_cache=False, **kept)
                    answer.logits[:, -targets:, 0].cpu()

        return bare

    return {f"bare, targets' logits, batch {size}": run(size, logits_to_keep=targets) for size in BATCHES} | {
        f"bare, all logits, batch {size}": run(size) for size in BATCHES[1:2]
    }


def captum_occlusions(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> dict[str, Run]:
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    explainer = LLMAttribution(FeatureAblation(model), tokenizer)

    def run(**options: bool) -> Run:
        return lambda: explainer.attribute(TextTokenInput(prompt, tokenizer, baselines=0), target=target, **options)

    return {"captum, default": run(), "captum, forward_in_tokens=False": run(forward_in_tokens=False)}


def inseq_occlusion(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> dict[str, Run]:
    try:
        import inseq

        wrapped = inseq.load_model(model, "occlusion", tokenizer=tokenizer)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        print(f"\ninseq does not run here: {type(error).__name__}: {error}")
        return {}
    return {"inseq": lambda: wrapped.attribute(prompt, prompt + target, show_progress=False)}


def gradients(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> dict[str, Run]:
    def run(shortcuts: EngineOptions, **asked: str) -> Run:
        explainer = IntegratedGradients(model, tokenizer, granularity="token", n_perturbations=STEPS, shortcuts=shortcuts)
        return lambda: explainer(prompt, target, attribute_targets=False, **asked)

    return {
        "ours, sequence": run(EngineOptions(), aggregate="sequence"),
        "ours, a row a target": run(EngineOptions()),
        "ours, a row a target, without shared_backward": run(EngineOptions(shared_backward=False)),
        "ours, a row a target, without one_pass": run(EngineOptions(one_pass=False)),
        "ours, sequence, without kept_logits": run(EngineOptions(kept_logits=False), aggregate="sequence"),
        "bare, sequence: forward and backward": bare_gradient(model, tokenizer, prompt, target),
    }


def bare_gradient(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> Run:
    ids = torch.tensor(tokenizer(prompt + target)["input_ids"], device=model.device)
    wanted = ids[len(tokenizer(prompt)["input_ids"]) :]
    weights = torch.linspace(0.1, 1, STEPS, device=model.device)[:, None, None]

    def run() -> Tensor:
        points = (model.get_input_embeddings()(ids[None, :-1]).detach() * weights).requires_grad_()
        logits = model(inputs_embeds=points, use_cache=False, logits_to_keep=len(wanted)).logits
        scores = logits.log_softmax(-1).gather(2, wanted.expand(STEPS, -1)[..., None])
        return torch.autograd.grad(scores.sum(), points)[0].cpu()

    return run


def captum_gradients(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> dict[str, Run]:
    from captum.attr import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput

    explainer = LLMGradientAttribution(LayerIntegratedGradients(model, model.get_input_embeddings()), tokenizer)
    return {"captum": lambda: explainer.attribute(TextTokenInput(prompt, tokenizer), target=target, n_steps=STEPS)}


if __name__ == "__main__":
    main()
