"""Compare what a model writes under several steerings, next to random directions of the same length."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.concepts.steering.controls import Control, at_strength, batched, controls_of
from interpreto.concepts.steering.measures import Continued, Effect, distinct_pairs, effects_of, nats_of, read_amounts
from interpreto.concepts.steering.steering import Steering, steered
from interpreto.errors import InputError, OptionError
from interpreto.models.answers import AnswerModel
from interpreto.progress import progress_bar
from interpreto.validation import check_choice, check_count, check_optional_count, check_seed, is_number, shown

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)
CONTROLS = ("auto", "directions", "features", "both")
READ = "amount of the concept that is read in the text"


def compare_steering(
    model: nn.Module | ModelSplitter,
    prompts: Any,
    steering: Steering | Sequence[Steering] | Mapping[str, Steering],
    strengths: Sequence[Any] | None = None,
    *,
    effect: Effect | None = None,
    effect_name: str | None = None,
    max_new_tokens: int = 40,
    controls: str = "auto",
    n_random: int = 10,
    batch_size: int | None = None,
    random_state: int = 0,
    tqdm_bar: bool | None = None,
) -> SteeringComparison:
    """Let a model continue prompts under several steerings, and measure what each does and costs.

    Everything for one prompt is written in one batch: all strengths, the model as it is, and all controls. Fluency is the
    likelihood of the texts under the model as it is. The controls tell what the concept does from what any push of this
    length does: an effect below theirs is not the concept's.

    Args:
        model: The model of the steering, or a splitter of it; a causal language model.
        prompts: Beginnings of texts; ten or more for intervals that say much.
        steering: What is added at strength 1, as `Steering.add` describes it; or several steerings of any kind, as a list
            or by name, which are compared as they are.
        strengths: What multiplies it; None: −2, −1, 0, 1 and 2. 0, the model as it is, is added if it is missing.
        effect: A function from texts to a number for each, such as a classifier's probability, of what was written after
            the prompt. None: how much of the concept the model as it is reads in what was written, on average over tokens.
        effect_name: Its name in pictures; None: the function's.
        max_new_tokens: Tokens that are written at most, each the likeliest.
        controls: ``"directions"``: random ones of the same length; ``"features"``: other concepts that are active as often
            on plain sentences; ``"both"``; ``"auto"``: both where concepts are sparse, as those of autoencoders are.
        n_random: Number of each kind of controls.
        batch_size: Texts that are written together at most; None: all of a prompt.
        random_state: Seed of the controls.
        tqdm_bar: Show the number of prompts; None: after two seconds, in terminals and notebooks.

    Returns:
        A `SteeringComparison`, which draws itself.

    Raises:
        OptionError: an option is out of range, the steering is of another model, or does more than strengths can multiply.
        InputError: there are no prompts, or the effect does not give a number for each text.
        ModelError: the model does not continue texts.

    Examples:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from interpreto import ModelWithSplitPoints, Steering, compare_steering, demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> _, tokenizer = demo.load_classifier()
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=2, n_head=2))
        >>> concepts = NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer))
        >>> found = compare_steering(
        ...     model, ["A film"], Steering.add(concepts, 3), [0, 4], effect=lambda texts: [len(text) for text in texts],
        ...     max_new_tokens=3, n_random=2,
        ... )
        >>> found.names, tuple(found.effect.shape), found.control_names
        (('×0', '×4'), (1, 2), ('direction 0', 'direction 1'))

    References:
        Rimsky et al., ACL 2024, https://arxiv.org/abs/2312.06681; share of distinct pairs of tokens: Li et al., NAACL 2016,
        https://arxiv.org/abs/1510.03055.
    """
    prompts = _checked(prompts)
    asked = _asked(steering, strengths)
    first = next(one for one in asked.steerings if one is not None)
    _check_model(model, first)
    counted = check_count(n_random, "n_random", 0)
    found = controls_of(first, check_choice(controls, "controls", CONTROLS), counted, check_seed(random_state))
    writer = AnswerModel(first.splitter.model, first.splitter.tokenizer)
    most, rows = check_count(max_new_tokens, "max_new_tokens"), check_optional_count(batch_size, "batch_size")
    run = _Run(asked, found, writer, most, rows)
    with progress_bar(desc="steering", unit=" prompts", total=len(prompts), shown=tqdm_bar) as bar:
        continued = [run(prompt, bar.update) for prompt in prompts]
    texts = [writer.tokenizer.batch_decode([list(ids) for ids in one.ids], skip_special_tokens=True) for one in continued]
    effects = read_amounts(first, continued) if effect is None else effects_of(effect, texts)
    name = effect_name or (READ if effect is None else str(getattr(effect, "__name__", type(effect).__name__)).strip("<>"))
    return run.compared(prompts, continued, texts, effects, name)


compare = compare_steering


@dataclass(frozen=True, eq=False)
class _Asked:
    """Steerings that are compared, None for the model as it is."""

    names: tuple[str, ...]
    strengths: tuple[float, ...]
    steerings: tuple[Steering | None, ...]
    told: str

    @property
    def unsteered(self) -> int:
        return self.steerings.index(None)


def _asked(steering: Any, strengths: Sequence[Any] | None) -> _Asked:
    if isinstance(steering, Steering):
        given = list(STRENGTHS if strengths is None else strengths)
        if not given or not all(is_number(each) for each in given):
            raise OptionError(f"`strengths`: got {shown(strengths)}; pass numbers.")
        values = sorted({0.0, *map(float, given)})
        if len(values) == 1:
            raise OptionError(f"`strengths`: got {shown(strengths)}; pass one that is not 0, too.")
        steerings = tuple(at_strength(steering, value) if value else None for value in values)
        return _Asked(tuple(f"×{value:g}" for value in values), tuple(values), steerings, " + ".join(steering.told))
    if strengths is not None:
        raise OptionError("`strengths`: they are of one steering; several steerings are compared as they are.")
    named = dict(steering) if isinstance(steering, Mapping) else {str(one): one for one in steering or ()}
    if not named or not all(isinstance(one, Steering) for one in named.values()):
        raise OptionError(f"`steering`: got {shown(steering)}; pass a Steering, a list of them, or a dictionary.")
    names = tuple(map(str, named))
    if any(one.splitter.model is not next(iter(named.values())).splitter.model for one in named.values()):
        raise OptionError("`steering`: they are of different models.")
    told = "; ".join(names)
    return _Asked(("unsteered", *names), (math.nan,) * (1 + len(names)), (None, *named.values()), told)


def _checked(prompts: Any) -> list[str]:
    if isinstance(prompts, str) or not prompts or not all(isinstance(prompt, str) and prompt for prompt in prompts):
        raise InputError(f"`prompts`: got {shown(prompts)}; pass a list of texts.")
    return list(prompts)


def _check_model(model: Any, steering: Steering) -> None:
    own = model.model if isinstance(model, ModelSplitter) else model
    if own is not steering.splitter.model:
        raise OptionError("`steering`: its concepts are of another model; load them with a splitter of this one.")


@dataclass(frozen=True, eq=False)
class _Run:
    """Texts to write: under which steerings, by which model."""

    asked: _Asked
    controls: Sequence[Control]
    writer: AnswerModel
    max_new_tokens: int
    rows: int | None

    @cached_property
    def conditions(self) -> list[Steering | None]:
        """Return what each text of a prompt is written under: the steerings, then each control at each of them."""
        given = [one for one in self.asked.steerings if one is not None]
        return [*self.asked.steerings, *(control.of(one) for control in self.controls for one in given)]

    def __call__(self, prompt: str, done: Callable[[], object]) -> Continued:
        """Return what is written after a prompt under each condition."""
        first = next(one for one in self.conditions if one is not None)
        ids, count = self.writer.read(prompt, special=True), len(self.asked.names)
        plain = self.writer.next_tokens(ids, 1)
        size = self.rows or len(self.conditions)
        written: list[tuple[int, ...]] = []
        divergence: list[float] = []
        for start in range(0, len(self.conditions), size):
            part = self.conditions[start : start + size]
            with steered(first.splitter.model, batched(part, first)):
                written += self.writer.continuations(ids, len(part), self.max_new_tokens)
                if start < count:
                    divergence += _divergences(self.writer.next_tokens(ids, len(part)), plain)
        done()
        divergence[self.asked.unsteered] = 0.0
        return Continued(ids, written, divergence[:count])

    def compared(
        self,
        prompts: Sequence[str],
        continued: Sequence[Continued],
        texts: Sequence[Sequence[str]],
        effects: Float[Tensor, "p m"],
        effect_name: str,
    ) -> SteeringComparison:
        """Return the result of all prompts."""
        asked, a, nats = self.asked, len(self.asked.names), nats_of(self.writer, continued)
        return SteeringComparison(
            prompts=tuple(prompts),
            names=asked.names,
            strengths=torch.tensor(asked.strengths, dtype=torch.float64),
            unsteered=asked.unsteered,
            texts=tuple(tuple(own[:a]) for own in texts),
            effect=effects[:, :a],
            effect_name=effect_name,
            nats=nats[:, :a],
            divergence=torch.tensor([one.divergence for one in continued], dtype=torch.float64),
            distinct=torch.tensor([[distinct_pairs(ids) for ids in one.ids[:a]] for one in continued], dtype=torch.float64),
            lengths=torch.tensor([[len(ids) for ids in one.ids[:a]] for one in continued]),
            control_names=tuple(control.name for control in self.controls),
            control_effect=self._of_controls(effects),
            control_nats=self._of_controls(nats),
            told=asked.told,
        )

    def _of_controls(self, values: Float[Tensor, "p m"]) -> Float[Tensor, "r p a"]:
        """Return the values of the controls at each steering; at the one that is none, the model's own."""
        p, a, count, unsteered = len(values), len(self.asked.names), len(self.controls), self.asked.unsteered
        own = values[:, a:].reshape(p, count, a - 1).movedim(0, 1)
        plain = values[:, unsteered].expand(count, p)[..., None]
        return torch.cat([own[..., :unsteered], plain, own[..., unsteered:]], -1)


def _divergences(chances: Float[Tensor, "b v"], plain: Float[Tensor, "1 v"]) -> list[float]:
    """Return the KL divergence of each distribution, in log-probabilities, from that of the model as it is."""
    return [float(value) for value in (chances.exp() * (chances - plain)).nan_to_num(0.0).sum(1).clamp(min=0)]
