"""Describe what is to be changed in a model's activations, and change it within a context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from numbers import Real
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.coders.joint_splitter import OTHER, JointSplitter
from interpreto.concepts.probes.erasure import Erasure
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.steering.steps import Add, Apply, ProjectOut, Recode, RecodeAcross, Step, orthonormal
from interpreto.concepts.steering.turns import planned, through, unchanged
from interpreto.concepts.steering.unit import directions_of, typical_norm
from interpreto.errors import OptionError
from interpreto.models.generation_place import following
from interpreto.validation import check_choice, check_positive, is_number, is_whole, shown

Where = Literal["all", "prompt", "generated", "last"]


class Steering:
    """Changes of a model's activations by concepts; ``a + b`` is first a, then b.

    `steered` applies it. ``at`` says to which tokens: ``"all"``, those of the ``"prompt"``, those that are ``"generated"``, or
    the ``"last"`` of the prompt. With a cache, later layers go on seeing what was changed in the prompt.

    Examples:
        >>> import torch
        >>> from interpreto import ModelWithSplitPoints, Steering, demo, steered
        >>> from interpreto.concepts import PCAConcepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:50]]
        >>> concepts = PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(texts))
        >>> steering = Steering.add(concepts, 0, strength=1.0) + Steering.ablate(concepts, 1)
        >>> steering
        Steering(add concept 0 × 1.0 + ablate concept 1, at 'bert.encoder.layer.1')
        >>> with steered(model, steering), torch.no_grad():
        ...     logits = model(**tokenizer("A charming film.", return_tensors="pt")).logits

    References:
        Turner et al., 2023, https://arxiv.org/abs/2308.10248; Rimsky et al., 2024, https://arxiv.org/abs/2312.06681.
    """

    def __init__(
        self,
        splitter: ModelSplitter,
        steps: Sequence[Step],
        told: Sequence[str],
        homes: Mapping[str, ModelSplitter] | None = None,
    ) -> None:
        """Make a steering of steps; ``homes`` are the splitters of places that ``splitter`` does not have."""
        self.splitter, self.steps, self.told = splitter, tuple(steps), tuple(told)
        places = [place for step in self.steps for place in (*step.reads, *step.writes)]
        self.homes = {**dict.fromkeys(places, splitter), **(homes or {})}

    @classmethod
    def add(
        cls,
        explainer: ConceptExplainer,
        concept: Any,
        strength: Any = 1.0,
        *,
        at: str = "all",
        unit: float | None = None,
    ) -> Steering:
        """Add a concept's direction: where it is written, for a transcoder.

        Of several places that are written, as by a crosscoder, each gets its own direction: at full strength where it is
        largest against the size of activations, and elsewhere in proportion.

        Args:
            explainer: Fitted concepts, with a splitter.
            concept: Its number; several, each with its share in a dictionary.
            strength: How much, in units; 0 changes nothing. Several: one for each text of a batch, so that one call of
                ``generate`` tries them all on repeated prompts.
            at: Which tokens.
            unit: Length of a step of strength 1; None: the median norm of the activations there, on plain sentences and
                without their first tokens, so that a strength means much the same at every layer.

        Returns:
            A steering.
        """
        splitter, _ = _place(explainer)
        weights, strengths, where = _weights(explainer, concept), _strengths(strength), _where(at)
        own = {point: (weights @ rows.to(weights)).float().cpu() for point, rows in directions_of(explainer).items()}
        if not any(float(direction.norm()) > 0 for direction in own.values()):
            raise OptionError(f"`concept`: got {shown(concept)}, whose direction is zero.")
        given = None if unit is None else check_positive(unit, "unit")
        sizes = {point: typical_norm(_alone(splitter), point) if given is None else given for point in own}
        shares = {point: float(direction.norm()) / sizes[point] for point, direction in own.items()}
        steps = [
            Add(
                point,
                where,
                direction / direction.norm(),
                strengths,
                sizes[point] * shares[point] / max(shares.values()) if len(own) > 1 else sizes[point],
                explainer,
                weights,
            )
            for point, direction in own.items()
            if float(direction.norm()) > 0
        ]
        return cls(splitter, steps, [f"add concept {_named(concept)} × {_numbers(strengths)}"])

    @classmethod
    def clamp(cls, explainer: ConceptExplainer, concept: Any, value: Any, *, at: str = "all") -> Steering:
        """Set the amount of a concept, in the unit of its codes; what concepts do not explain stays as it is.

        Args:
            explainer: Fitted concepts, with a splitter, that are amounts of directions.
            concept: Its number, or several.
            value: The amount.
            at: Which tokens.

        Returns:
            A steering.
        """
        return cls._recoded(explainer, concept, value, 1.0, at=at, told=f"clamp concept {_named(concept)} to {value}")

    @classmethod
    def ablate(cls, explainer: ConceptExplainer, concept: Any, *, at: str = "all") -> Steering:
        """Set the amount of a concept to zero: `clamp` at 0."""
        return cls._recoded(explainer, concept, 0.0, 1.0, at=at, told=f"ablate concept {_named(concept)}")

    @classmethod
    def scale(cls, explainer: ConceptExplainer, concept: Any, factor: Any, *, at: str = "all") -> Steering:
        """Multiply the amount of a concept; 1 changes nothing."""
        return cls._recoded(explainer, concept, None, factor, at=at, told=f"scale concept {_named(concept)} by {factor}")

    @classmethod
    def project_out(cls, explainer: ConceptExplainer, concept: Any, *, at: str = "all") -> Steering:
        """Remove what activations have in the direction of a concept, or in the span of several."""
        splitter, _ = _place(explainer)
        chosen, where = list(_numbers_of(explainer, concept)), _where(at)
        steps = [
            ProjectOut(point, where, orthonormal(rows[chosen].cpu()))
            for point, rows in directions_of(explainer).items()
            if bool(rows[chosen].any())
        ]
        return cls(splitter, steps, [f"project out concept {_named(concept)}"])

    @classmethod
    def erase(cls, splitter: ModelSplitter, erasure: Erasure, split_point: str | None = None, *, at: str = "all") -> Steering:
        """Remove what a linear probe can read of a concept, by a fitted `Erasure` (LEACE)."""
        if not erasure.is_fitted:
            raise OptionError("`erasure`: it is not fitted; call `fit(activations, labels)` first.")
        point = splitter.split_point if split_point is None else split_point
        return cls(splitter, [Apply(point, _where(at), erasure)], [f"erase rank {erasure.rank}"])

    @classmethod
    def _recoded(cls, explainer: ConceptExplainer, concept: Any, value: Any, factor: Any, *, at: str, told: str) -> Steering:
        splitter, point = _place(explainer)
        chosen = _numbers_of(explainer, concept)
        for name, number in (("value", value), ("factor", factor)):
            if number is not None and not is_number(number):
                raise OptionError(f"`{name}`: got {shown(number)}; pass a number.")
        kind: type[Recode | RecodeAcross] = Recode
        if isinstance(explainer, CoderConcepts):
            kind = RecodeAcross
            _check_order(explainer, told)
        step = kind(point, _where(at), explainer, chosen, None if value is None else float(value), float(factor))
        return cls(splitter, [step], [told])

    def __add__(self, other: Steering) -> Steering:
        if other.splitter.model is not self.splitter.model:
            raise OptionError("`+`: the two steerings are of different models.")
        steps, told = (*self.steps, *other.steps), (*self.told, *other.told)
        return Steering(self.splitter, steps, told, {**other.homes, **self.homes})

    def __repr__(self) -> str:
        points = ", ".join(map(repr, dict.fromkeys(place for step in self.steps for place in step.writes)))
        return f"Steering({' + '.join(self.told)}, at {points})"


@contextmanager
def steered(model: nn.Module | ModelSplitter, steering: Steering) -> Iterator[None]:
    """Context manager in which every pass of a model is steered, also each pass of ``generate``.

    The model is this thread's alone meanwhile, and as it was afterwards, also after an exception.

    Args:
        model: The model of the steering's splitter, or a splitter of it.
        steering: What is changed.

    Raises:
        OptionError: the steering is of another model.
        InputError: a batch has other texts than there are strengths.

    Examples:
        >>> import torch
        >>> from interpreto import ModelWithSplitPoints, Steering, demo, steered
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> model, tokenizer = demo.load_classifier()
        >>> concepts = NeuronsAsConcepts(ModelWithSplitPoints(model, 1, tokenizer=tokenizer))
        >>> text = tokenizer("A charming film.", return_tensors="pt")
        >>> with torch.no_grad():
        ...     plain = model(**text).logits
        ...     with steered(model, Steering.add(concepts, 3, strength=0.0)):
        ...         same = model(**text).logits
        >>> torch.equal(plain, same)
        True
    """
    own = model.model if isinstance(model, ModelSplitter) else model
    if own is not steering.splitter.model:
        raise OptionError("`steering`: its concepts are of another model; load them with a splitter of this one.")
    for point, home in steering.homes.items():
        with home.editing(unchanged, point):  # its layout is found by a pass, which no step may see
            pass
    with ExitStack() as stack:
        place = stack.enter_context(following(own))
        for point, edits in planned(steering.steps, place).items():
            stack.enter_context(steering.homes[point].editing(partial(through, edits), point))
        yield


def _check_order(explainer: CoderConcepts, told: str) -> None:
    """Refuse codes that are not known when they are to be written.

    Raises:
        OptionError: they depend on places that a pass reaches later, or on another model.
    """
    explainer.check_fitted()
    model, names = explainer.concept_model, ", ".join(map(repr, explainer.read))
    if any(place.startswith(OTHER) for place in explainer.read):
        why = f"its codes read {names}, and the second model does not run"
    elif model.wiring.shared:
        why = f"its codes read {names} all together, so that what is changed at the first would change what is read at the last"
    elif model.layered and model.k is not None:
        why = (
            "its codes are the k largest of all layers together, and later layers are not known when the first is written "
            "('relu', 'jumprelu' and 'batchtopk' decide for each concept alone)"
        )
    else:
        return
    raise OptionError(f"`explainer`: cannot {told}: {why}. Use Steering.add or Steering.project_out, which need no codes.")


def _place(explainer: ConceptExplainer) -> tuple[ModelSplitter, str]:
    return explainer.own_splitter(), str(explainer.split_point)


def _alone(splitter: ModelSplitter) -> ModelSplitter:
    """Return the splitter of the single places of joint ones."""
    return splitter.splitters[0] if isinstance(splitter, JointSplitter) else splitter


def _where(at: str) -> str:
    return check_choice(at, "at", get_args(Where))


def _numbers_of(explainer: ConceptExplainer, concept: Any) -> tuple[int, ...]:
    """Return numbers of concepts, checked."""
    given = [concept] if is_whole(concept) else list(concept) if isinstance(concept, Sequence | Mapping) else []
    count = explainer.nb_concepts
    if not given or isinstance(concept, str) or not all(is_whole(each) and 0 <= each < count for each in given):
        raise OptionError(f"`concept`: got {shown(concept)}; pass a number from 0 to {count - 1}, or several.")
    return tuple(int(each) for each in given)


def _weights(explainer: ConceptExplainer, concept: Any) -> Float[Tensor, " c"]:
    """Return the share of each concept."""
    chosen = _numbers_of(explainer, concept)
    weights = torch.zeros(explainer.nb_concepts, dtype=torch.float64)
    shares = [concept[each] for each in chosen] if isinstance(concept, Mapping) else [1.0] * len(chosen)
    if not all(is_number(share) for share in shares):
        raise OptionError(f"`concept`: got {shown(concept)}; the shares are numbers.")
    weights[list(chosen)] = torch.tensor([float(share) for share in shares], dtype=torch.float64)
    return weights


def _strengths(strength: Any) -> Float[Tensor, " b"]:
    given = [strength] if isinstance(strength, Real) else list(strength) if isinstance(strength, Sequence) else []
    if not given or not all(is_number(each) for each in given):
        raise OptionError(f"`strength`: got {shown(strength)}; pass a number, or one for each text of a batch.")
    return torch.tensor([float(each) for each in given])


def _named(concept: Any) -> str:
    return str(concept) if is_whole(concept) else ", ".join(map(str, concept))


def _numbers(strengths: Tensor) -> str:
    return ", ".join(f"{float(each)}" for each in strengths)
