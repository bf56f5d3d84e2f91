"""The mean explanation of several models or methods, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.explanations import Explanations
from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.validation import check_choice


def _by_l1(values: Float[Tensor, "t u"]) -> Float[Tensor, "t u"]:
    return values / values.abs().nansum(1, keepdim=True).clamp(min=1e-300)


def _by_largest(values: Float[Tensor, "t u"]) -> Float[Tensor, "t u"]:
    return values / values.abs().nan_to_num().amax(1, keepdim=True).clamp(min=1e-300)


def _by_rank(values: Float[Tensor, "t u"]) -> Float[Tensor, "t u"]:
    """Return ranks by value from 0 to 1, the mean rank for equal values; NaN stays."""
    below = (values[:, None, :] < values[:, :, None]).double().sum(2)
    equal = (values[:, None, :] == values[:, :, None]).double().sum(2)
    count = (~values.isnan()).double().sum(1, keepdim=True)
    return torch.where(values.isnan(), values, (below + (equal - 1) / 2) / (count - 1).clamp(min=1))


NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {"l1": _by_l1, "rank": _by_rank, "max": _by_largest}


class Consensus:
    """Average the normalized attributions of several explainers: of several models, or several methods of one.

    What many models agree on is more likely to be in the input than in one of them. Units are matched by their characters, so
    that tokenizers may differ; a granularity of words suits that. Those of images are matched by their pixels, so that sizes
    and patches may differ: values are spread evenly over them, and summed over the units of the first explainer. The standard
    error is that over the explainers.

    Args:
        explainers: Two or more explainers of models with the same classes.
        normalize: What makes values comparable: ``"l1"`` (sizes sum to 1), ``"rank"`` (from 0 to 1), ``"max"`` (the largest
            size is 1).

    Raises:
        OptionError: There are fewer than two explainers, or no such normalization.

    Examples:
        >>> from interpreto import Consensus, KernelShap, Occlusion, demo
        >>> model, tokenizer = demo.load_classifier()
        >>> explanation = Consensus([Occlusion(model, tokenizer), KernelShap(model, tokenizer)])("A gorgeous, moving film.")[0]
        >>> explanation.method, round(float(explanation.attributions.abs().sum()), 1) <= 1
        ('Consensus', True)

    References:
        Li et al., 2021, https://arxiv.org/abs/2109.00707.
    """

    def __init__(self, explainers: Sequence[AttributionExplainer], normalize: str = "l1") -> None:
        self.explainers = list(explainers)
        if len(self.explainers) < 2 or not all(isinstance(one, AttributionExplainer) for one in self.explainers):
            raise OptionError(f"`explainers`: got {len(self.explainers)}; pass two or more explainers in a list.")
        self.normalize = check_choice(normalize, "normalize", NORMALIZATIONS)

    def explain(self, inputs: Any, targets: Any = None) -> Explanations:
        """Explain each input by every explainer, and return the mean.

        Args:
            inputs: As every explainer takes them.
            targets: Classes; None: the prediction of the first explainer's model, for all.

        Returns:
            One explanation per input, whose values have no unit and whose scores are those of the first model.

        Raises:
            InputError: The explainers found different units in a text, or see different parts of an image.
        """
        given = list(inputs) if isinstance(inputs, Iterator) else inputs
        first = self.explainers[0](given, targets)
        others = [self._again(explainer, first, given) for explainer in self.explainers[1:]]
        return Explanations(self._mean(list(members)) for members in zip(first, *others, strict=True))

    __call__ = explain

    def _again(self, explainer: AttributionExplainer, first: Explanations, inputs: Any) -> Explanations:
        """Return another explainer's explanations of the same inputs and targets."""
        if first[0].sample.picture is not None:
            return explainer(inputs, [_classes(one, explainer) for one in first])
        if explainer.tokenizer is self.explainers[0].tokenizer and explainer.tokenizer is not None:
            return explainer.explain_samples([one.sample for one in first])
        if any(bool((one.targets < 0).any()) or one.target_spans[0] is not None for one in first):
            raise InputError("`targets`: models with tokenizers of their own share classes alone; pass class ids or names.")
        return explainer([one.text for one in first], [one.targets.tolist() for one in first])

    def _mean(self, members: list[AttributionOutput]) -> AttributionOutput:
        first = members[0]
        own = [first.attributions.double(), *(_on_units_of(first, other) for other in members[1:])]
        values = torch.stack([NORMALIZATIONS[self.normalize](each) for each in own])
        error = values.std(0) / len(members) ** 0.5
        return replace(
            first,
            attributions=values.mean(0).float(),
            standard_error=error.float(),
            method="Consensus",
            signed=all(one.signed for one in members) and self.normalize != "rank",
            granularity_aggregation_strategy=None,
            replacement=None,
            baseline=None,
            reference_scores=None,
            residual=None,
        )


def _classes(output: AttributionOutput, explainer: AttributionExplainer) -> list[Any]:
    """Return the targets of an explanation by their names, where the other model has these names, else by their numbers."""
    names = list(getattr(explainer.task, "id2label", {}).values())
    return [label if label in names else int(k) for label, k in zip(output.target_labels, output.targets, strict=True)]


def _on_units_of(first: AttributionOutput, other: AttributionOutput) -> Float[Tensor, "t u"]:
    """Return another explanation's values of the units of the first.

    Raises:
        InputError: They are about other units of a text, or other parts of an image.
    """
    here, there = first.sample.picture, other.sample.picture
    if here is None or there is None:
        _check_units(first, other)
        return other.attributions.double()
    if not there.shows_what(here):
        raise InputError(
            f"`explainers`: {first.method} and {other.method} see different parts of the image ({tuple(here.shown.shape[:2])} "
            f"and {tuple(there.shown.shape[:2])} pixels); pass processors that crop alike."
        )
    return there.carried(other.attributions.double(), here)


def _check_units(first: AttributionOutput, other: AttributionOutput) -> None:
    """Refuse explanations of different units."""
    if first.text != other.text or first.spans == other.spans:
        if first.text == other.text:
            return
        raise InputError(f"`explainers`: {first.method} read {first.text[:60]!r}, and {other.method} {other.text[:60]!r}.")
    apart = sorted(set(first.spans) ^ set(other.spans))
    start, end = apart[0] if apart else (0, 0)
    raise InputError(
        f"`explainers`: {first.text[start:end][:60]!r} is a unit of one of {first.method} and {other.method} alone; pass "
        "explainers of the same granularity, such as words."
    )
