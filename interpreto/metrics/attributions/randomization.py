"""Whether explanations depend on the model, and on the target, at all."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample, Targets
from interpreto.metrics.attributions.base import Finding
from interpreto.metrics.attributions.robustness import ExplainerMetric
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import spearman
from interpreto.models.protocol import require
from interpreto.models.tasks import Classification, Generation

ALTERNATIVES = 10  # of a generated token: another one is drawn from so many of the most probable
SPREAD = 2_654_435_761  # Knuth's multiplier: neighbouring numbers come far apart


class ModelParameterRandomization(ExplainerMetric):
    """How alike explanations stay while the model's layers are randomised: Spearman's ρ, mean over layers. Lower is better.

    In [−1, 1]. An explanation that hardly changes does not speak of the model. A layer's parameters are shuffled, each
    tensor within itself, so that they keep their distribution (the paper draws them anew); layers are the blocks of the
    model's stacks, what comes before them, and what comes after. Weights are put back after every call, bit by bit, also
    when it raises. ``details["layers"]`` names the layers and ``details["by_layer"]`` has ρ for each;
    ``details["unchanged"]`` is ρ before any layer is touched, which is 1 for any method that draws by a seed.

    Args:
        explainer: The method.
        mode: ``"cascading"``: from the output down, each layer on top of those before; ``"independent"``: one at a time.
        absolute: Compare sizes instead of signed values: a turned sign is no other explanation of two classes.
        random_state: Seed of the shuffles.

    References:
        Adebayo et al., NeurIPS 2018, https://arxiv.org/abs/1810.03292.
    """

    higher_is_better = False
    value_range = (-1.0, 1.0)

    def __init__(
        self, explainer: AttributionExplainer, mode: str = "cascading", *, absolute: bool = True, random_state: int = 0
    ) -> None:
        super().__init__(explainer)
        if mode not in ("cascading", "independent"):
            raise OptionError(f"`mode`: got {mode!r}; pass 'cascading' or 'independent'.")
        self.mode, self.absolute = mode, absolute
        self.random_state = check_count(random_state, "random_state", 0)

    def _run(self, explanations: list[AttributionOutput]) -> MetricResult:
        require(self._explainer.model, "gradients", type(self).__name__)
        model = self._explainer.forward.model
        layers, still = layers_of(model), self.own(explanations)
        generator = Generator().manual_seed(self.random_state)
        by_layer: list[list[list[float]]] = []
        with kept_weights([p for group in layers.values() for p in group] if self.mode == "cascading" else []):
            for parameters in reversed(layers.values()):
                with kept_weights([] if self.mode == "cascading" else parameters):
                    shuffle(parameters, generator)
                    by_layer.append([self._alike(b, a) for b, a in zip(still, self.again(explanations), strict=True)])
        names = list(reversed(layers))
        findings = [
            [self._finding([layer[e][t] for layer in by_layer]) for t in range(len(output.attributions))]
            for e, output in enumerate(explanations)
        ]
        means = [_mean(layer) for layer in by_layer]
        unchanged = _mean([self._alike(b, a) for b, a in zip(explanations, still, strict=True)])
        return self.result(findings, layers=names, means=means, unchanged=unchanged)

    def _alike(self, before: AttributionOutput, after: AttributionOutput) -> list[float]:
        return [alike(a, b, self.absolute) for a, b in zip(before.attributions, after.attributions, strict=True)]

    def _finding(self, values: list[float]) -> Finding:
        found = torch.tensor(values, dtype=torch.float64)
        if bool(found.isnan().all()):
            return Finding.none("the attributions are all the same")
        return Finding(float(found.nanmean()), {"by_layer": values})


def _mean(rows: Sequence[Sequence[float]]) -> float:
    return float(torch.tensor([value for row in rows for value in row]).nanmean())


class RandomLogit(ExplainerMetric):
    """How alike the explanations of two different targets of one input are: Spearman's ρ. Lower is better.

    In [−1, 1]. An explanation that is the same for any target does not speak of the target. The other target is drawn:
    another class, or for each token of a generation another of the ten most probable ones there.

    Args:
        explainer: The method.
        absolute: Compare sizes instead of signed values: of two classes whose logits mirror each other the signed values
            are opposite (−1), and the sizes equal (1): neither says anything of a method, so pass three classes or more.
        random_state: Seed of the draws; which target is drawn depends on the text alone.

    References:
        Sixt et al., ICML 2020, https://arxiv.org/abs/1912.09818.
    """

    higher_is_better = False
    value_range = (-1.0, 1.0)

    def __init__(self, explainer: AttributionExplainer, *, absolute: bool = False, random_state: int = 0) -> None:
        super().__init__(explainer)
        self.absolute, self.random_state = absolute, check_count(random_state, "random_state", 0)

    def _run(self, explanations: list[AttributionOutput]) -> MetricResult:
        samples = self._aimed_elsewhere([output.sample for output in explanations])
        others = self.again([replace(o, sample=sample) for o, sample in zip(explanations, samples, strict=True)])
        return self.result(
            [
                [self._finding(a, b) for a, b in zip(before.attributions, after.attributions, strict=True)]
                for before, after in zip(explanations, others, strict=True)
            ],
            others=[output.target_labels for output in others],
        )

    def _finding(self, a: Float[Tensor, " g"], b: Float[Tensor, " g"]) -> Finding:
        found = alike(a, b, self.absolute)
        return Finding.none("the attributions are all the same") if math.isnan(found) else Finding(found, {"other": b})

    def _aimed_elsewhere(self, samples: Sequence[Sample]) -> list[Sample]:
        task = self._explainer.task
        for sample in samples:
            assert sample.targets is not None
            if len(sample.targets.readouts) > 1 or any(
                r.weights is not None and bool((r.weights < 0).any()) for r in sample.targets.readouts
            ):
                raise OptionError("`explanations`: a contrast has no other target; pass explanations of classes or of texts.")
        if isinstance(task, Generation):
            return [sample.with_targets(targets) for sample, targets in zip(samples, self._other_tokens(samples), strict=True)]
        assert isinstance(task, Classification)
        return [sample.with_targets(_other_classes(sample, task, self._classes(), self.random_state)) for sample in samples]

    def _classes(self) -> int:
        count = len(getattr(self._explainer.task, "id2label", {}))
        if count < 2:
            raise OptionError(f"`explainer`: its model has {count} outputs; another target takes at least two.")
        return count

    def _other_tokens(self, samples: Sequence[Sample]) -> Iterator[Targets]:
        """Each token's place in the ranking is drawn; one pass tells which token has it."""
        seed = self.random_state
        explainer = self._explainer

        def ranked(logits: Float[Tensor, "b k v"], ids: Tensor | None) -> Float[Tensor, "b k"]:
            assert ids is not None
            own = ids.to(logits.device)[..., None]
            best = logits.scatter(-1, own, -torch.inf).topk(min(ALTERNATIVES, logits.shape[-1] - 1), dim=-1).indices
            places = ((ids + 1) * SPREAD + seed * 97_531) // 65_536 % best.shape[-1]  # drawn by the token, not by the batch
            return best.gather(-1, places.to(best.device)[..., None])[..., 0].double()

        plain = []
        for sample in samples:
            assert sample.targets is not None
            readout = replace(sample.targets.readouts[0], weights=None)
            plain.append(sample.with_targets(Targets((readout,), ("",) * len(readout.ids), (None,) * len(readout.ids))))
        model: Any = explainer.model.configured(ranked, batch_size=explainer.batch_size)
        with model.session():
            found = model.scores_at([(sample, model.embed(sample)[None]) for sample in plain])
        for sample, ids in zip(samples, found, strict=True):
            assert sample.targets is not None
            readout = replace(sample.targets.readouts[0], ids=ids[0].long())
            names = explainer.tokenizer.convert_ids_to_tokens(ids[0].long().tolist())
            labels = tuple(map(str, names)) if len(names) == len(sample.targets.labels) else sample.targets.labels
            yield Targets((readout,), labels, sample.targets.spans)


def _other_classes(sample: Sample, task: Classification, classes: int, seed: int) -> Targets:
    assert sample.targets is not None
    readout = sample.targets.readouts[0]
    own = zlib.crc32(sample.input_ids.numpy().tobytes(), seed)
    steps = torch.tensor([1 + zlib.crc32(str(int(i)).encode(), own) % (classes - 1) for i in readout.ids])
    ids = (readout.ids + steps) % classes
    return Targets((replace(readout, ids=ids),), tuple(task.label(int(i)) for i in ids), sample.targets.spans)


def alike(a: Float[Tensor, " g"], b: Float[Tensor, " g"], absolute: bool) -> float:
    """Spearman's ρ of two rows, over the units that both have."""
    known = ~(a.isnan() | b.isnan())
    a, b = a[known], b[known]
    return float(spearman(a.abs(), b.abs()) if absolute else spearman(a, b))


def layers_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of each layer, from the input up: what comes before the blocks, each block, what comes behind them.

    Blocks are the parts of lists that are in no other list: an encoder-decoder has two such stacks. A parameter that two
    layers share belongs to the first of them.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
    inner = {id(part) for _, module in lists for part in module.modules() if part is not module}
    stacks = {name: module for name, module in lists if id(module) not in inner}
    groups: dict[str, list[nn.Parameter]] = {}
    inside: dict[int, str] = {}
    for name, blocks in stacks.items():
        for i, block in enumerate(blocks):
            for parameter in block.parameters():
                inside.setdefault(id(parameter), f"{name}.{i}")
    last, final = "", list(stacks)[-1] if stacks else ""
    for parameter in model.parameters():
        own = inside.get(id(parameter), "")
        if own:
            last = own.rpartition(".")[0]
        if parameter.is_floating_point():
            between = f"behind {last}" if last else "before the blocks"
            outside = between if stacks and last != final else "behind the blocks"
            groups.setdefault(own or outside, []).append(parameter)
    return groups


@torch.no_grad()
def shuffle(parameters: Sequence[nn.Parameter], generator: Generator) -> None:
    """Put the entries of each tensor in a random order."""
    for parameter in parameters:
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


@contextmanager
def kept_weights(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within, parameters may be overwritten; they have their values again after it, bit by bit."""
    before: list[Any] = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
