"""Sanity checks: explanations must depend on the model's weights and on the target."""

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
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample, Targets
from interpreto.metrics.attributions.base import CaseResult
from interpreto.metrics.attributions.cases import has_contrast
from interpreto.metrics.attributions.robustness import ExplainerMetric
from interpreto.metrics.result import MetricResult
from interpreto.models.protocol import require
from interpreto.models.tasks import Classification, Generation
from interpreto.statistics import spearman
from interpreto.validation import check_choice, check_flag, check_seed

ALTERNATIVES = 10
"""Number of most probable tokens from which another target of a generated token is drawn."""
HASH_MULTIPLIER = 2_654_435_761
"""Knuth's multiplier, which maps neighboring numbers far apart."""
SAME_VALUES = "the attributions are all the same"


class ModelParameterRandomization(ExplainerMetric):
    """Rank correlation of explanations before and after layers are randomized: Spearman's ρ, mean over layers.

    Lower is better, in [−1, 1]. An explanation that hardly changes does not depend on the model. The entries of each
    parameter are shuffled, so that they keep their distribution (the paper draws them anew); layers are the blocks of the
    model's stacks, what comes before them, and what comes after. Weights are restored after every call, bit by bit, also
    after an exception. ``details["layers"]`` names the layers and ``details["by_layer"]`` has ρ for each;
    ``details["unchanged"]`` is ρ before any layer is touched, which is 1 for any method that draws by a seed.

    Args:
        explainer: The method.
        mode: ``"cascading"``: from the output down, each layer on top of those before; ``"independent"``: one at a time.
        absolute: Compare |attributions|: of two classes, a changed sign is not another explanation.
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
        self.mode, self.absolute = check_choice(mode, "mode", ("cascading", "independent")), check_flag(absolute, "absolute")
        self.random_state = check_seed(random_state)

    def run_on(self, explanations: list[AttributionOutput]) -> MetricResult:
        require(self.explainer.model, "gradients", type(self).__name__)
        model = self.explainer.forward.model
        layers, still = layers_of(model), self.reproduced(explanations)
        generator = Generator().manual_seed(self.random_state)
        by_layer: list[list[list[float]]] = []
        with kept_weights([p for group in layers.values() for p in group] if self.mode == "cascading" else []):
            for parameters in reversed(layers.values()):
                with kept_weights([] if self.mode == "cascading" else parameters):
                    shuffle(parameters, generator)
                    by_layer.append(
                        [self._similarities(b, a) for b, a in zip(still, self.explained_again(explanations), strict=True)]
                    )
        names = list(reversed(layers))
        results = [
            [self._value([layer[e][t] for layer in by_layer]) for t in range(len(output.attributions))]
            for e, output in enumerate(explanations)
        ]
        means = [_mean(layer) for layer in by_layer]
        unchanged = _mean([self._similarities(b, a) for b, a in zip(explanations, still, strict=True)])
        return self.summarize(results, layers=names, means=means, unchanged=unchanged)

    def _similarities(self, before: AttributionOutput, after: AttributionOutput) -> list[float]:
        return [similarity(a, b, self.absolute) for a, b in zip(before.attributions, after.attributions, strict=True)]

    def _value(self, values: list[float]) -> CaseResult:
        found = torch.tensor(values, dtype=torch.float64)
        if bool(found.isnan().all()):
            return CaseResult.undefined(SAME_VALUES)
        return CaseResult(float(found.nanmean()), {"by_layer": values})


def _mean(rows: Sequence[Sequence[float]]) -> float:
    return float(torch.tensor([value for row in rows for value in row]).nanmean())


class RandomLogit(ExplainerMetric):
    """Rank correlation of the explanations of two different targets of one input: Spearman's ρ. Lower is better.

    In [−1, 1]. An explanation that is the same for every target does not depend on the target. The other target is drawn:
    another class, or for each token of a generation another of the ten most probable ones at its position.

    Args:
        explainer: The method.
        absolute: Compare |attributions|: of two classes whose logits mirror each other the signed values are opposite (−1),
            and the absolute ones equal (1): neither says anything about a method, so use three classes or more.
        random_state: Seed of the draws; which target is drawn depends on the text alone.

    References:
        Sixt et al., ICML 2020, https://arxiv.org/abs/1912.09818.
    """

    higher_is_better = False
    value_range = (-1.0, 1.0)

    def __init__(self, explainer: AttributionExplainer, *, absolute: bool = False, random_state: int = 0) -> None:
        super().__init__(explainer)
        self.absolute, self.random_state = check_flag(absolute, "absolute"), check_seed(random_state)

    def run_on(self, explanations: list[AttributionOutput]) -> MetricResult:
        samples = self._with_other_targets(explanations)
        others = self.explained_again([replace(o, sample=sample) for o, sample in zip(explanations, samples, strict=True)])
        return self.summarize(
            [
                [self._value(a, b) for a, b in zip(before.attributions, after.attributions, strict=True)]
                for before, after in zip(explanations, others, strict=True)
            ],
            others=[output.target_labels for output in others],
        )

    def _value(self, a: Float[Tensor, " g"], b: Float[Tensor, " g"]) -> CaseResult:
        found = similarity(a, b, self.absolute)
        return CaseResult.undefined(SAME_VALUES) if math.isnan(found) else CaseResult(found, {"other": b})

    def _with_other_targets(self, explanations: Sequence[AttributionOutput]) -> list[Sample]:
        task, samples = self.explainer.task, [output.sample for output in explanations]
        for output in explanations:
            assert output.sample.targets is not None
            if len(output.sample.targets.readouts) > 1 or has_contrast(output):
                raise OptionError("`explanations`: a contrast has no other target; pass explanations of classes or of texts.")
        if isinstance(task, Generation):
            return [sample.with_targets(targets) for sample, targets in zip(samples, self._other_tokens(samples), strict=True)]
        if not isinstance(task, Classification):
            raise OptionError(f"`explainer`: another target is drawn for classes and texts, not for {task.name}.")
        classes = self._classes(samples[0])
        return [sample.with_targets(_other_classes(sample, task, classes, self.random_state)) for sample in samples]

    def _classes(self, sample: Sample) -> int:
        """Return the number of outputs: of the config's names, or, where there are none, of the model's logits."""
        count = len(getattr(self.explainer.task, "id2label", {})) or self._outputs(sample)
        if count < 2:
            raise OptionError(f"`explainer`: its model has {count} outputs; another target takes at least two.")
        return count

    def _outputs(self, sample: Sample) -> int:
        """Return the number of logits that the model returns for a sample."""
        require(self.explainer.model, "gradients", type(self).__name__)
        found: list[int] = []

        def sized(logits: Tensor, _ids: Tensor | None) -> Tensor:
            found.append(logits.shape[-1])
            return logits

        model: Any = self.explainer.model.configured(sized, batch_size=self.explainer.batch_size)
        with model.session():
            _ = list(model.scores_at([(replace(sample, targets=None), model.embed(sample)[None])]))
        return found[0]

    def _other_tokens(self, samples: Sequence[Sample]) -> Iterator[Targets]:
        """Yield other targets: the rank of each token is drawn, and one pass tells which token has it."""
        seed = self.random_state
        explainer = self.explainer

        def ranked(logits: Float[Tensor, "b k v"], ids: Tensor | None) -> Float[Tensor, "b k"]:
            assert ids is not None
            own = ids.to(logits.device)[..., None]
            best = logits.scatter(-1, own, -torch.inf).topk(min(ALTERNATIVES, logits.shape[-1] - 1), dim=-1).indices
            places = (
                ((ids + 1) * HASH_MULTIPLIER + seed * 97_531) // 65_536 % best.shape[-1]
            )  # drawn for the token, whatever its batch
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


def similarity(a: Float[Tensor, " g"], b: Float[Tensor, " g"], absolute: bool) -> float:
    """Return Spearman's ρ of two explanations, over the units that both have."""
    known = ~(a.isnan() | b.isnan())
    a, b = a[known], b[known]
    return float(spearman(a.abs(), b.abs()) if absolute else spearman(a, b))


def layers_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of each layer, from the input up: what comes before the blocks, each block, what comes after them.

    Blocks are the members of module lists that are in no other list: an encoder-decoder has two such stacks. A parameter
    that two layers share belongs to the first of them.
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
    """Shuffle the entries of each parameter in place."""
    for parameter in parameters:
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


@contextmanager
def kept_weights(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Context manager that restores the values of parameters at its end, bit by bit."""
    before: list[Any] = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
