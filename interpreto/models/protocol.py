"""The boundary between explainers and models: samples in, scores, gradients and activations out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interpreto.errors import ModelError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.models.backward_rules import BackwardRules
from interpreto.models.gradients import GradientReducer
from interpreto.models.hook_points import HookPoint

Need = Literal["scores", "gradients", "record", "attention"]
"""Evidence that a method or a metric reads from a model: scores of masked inputs, gradients, activations, or attention."""

MakesRules = Callable[[], BackwardRules]
"""Makes the rules that the backward passes of a call follow, as relevance methods have them."""

_NOUNS = {"scores": "scores", "gradients": "gradients", "record": "activations", "attention": "attention"}


@runtime_checkable
class Model(Protocol):
    """A model that scores masked inputs; all that mask methods and metrics by masking need.

    Attributes:
        provides: Evidence that can be read from it.
        name: Its name, for messages.
    """

    @property
    def provides(self) -> frozenset[Need]: ...

    @property
    def name(self) -> str: ...

    def session(self) -> AbstractContextManager[None]:
        """Return a context manager in which the model can be run; all is restored after it."""
        ...

    def scores(self, variants: Iterable[MaskVariants]) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Yield the scores of each sample's perturbed inputs, the first row that of the untouched sample.

        Of a sample without targets, the columns are all outputs of the model.
        """
        ...


class DifferentiableModel(Model, Protocol):
    """A model with gradients at its embeddings."""

    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the embeddings of a sample's tokens."""
        ...

    def scores_at(self, points: Sequence[tuple[Sample, Tensor]]) -> list[Tensor]:
        """Return the scores ``(r, t)`` of each sample with its embeddings replaced by each of ``(r, l, d)``."""
        ...

    def gradients(
        self, variants: Sequence[EmbeddingVariants], reducers: Sequence[GradientReducer], rules: MakesRules | None = None
    ) -> None:
        """Hand the gradients at each sample's points to its reducer."""
        ...


@dataclass(frozen=True, eq=False)
class Recorded:
    """Activations of one sample.

    Attributes:
        sample: The sample.
        activations: For each hook point ``(l, d)``, or ``(d,)`` where there are no tokens. Of an encoder-decoder, each at
            its token's place in the sample; zero at the tokens of the other stack.
    """

    sample: Sample
    activations: tuple[Tensor, ...]


class RecordableModel(Model, Protocol):
    """A model whose activations can be read and replaced."""

    def record(self, samples: Iterable[Sample], at: Sequence[HookPoint], gradients: bool = False) -> Iterator[Recorded]:
        """Yield the activations of each sample at hook points, in order; with ``gradients`` they keep their graph."""
        ...

    def run_from(
        self, samples: Sequence[Sample], at: HookPoint, hidden: Tensor, to: Sequence[HookPoint] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Return outputs of a batch run on from activations at a hook point, and activations at further points."""
        ...


def require(model: Model, need: Need, what: str) -> None:
    """Raise a `ModelError` unless the model provides the evidence that ``what`` (a method or a metric) needs."""
    if need not in model.provides:
        given = " and ".join(_NOUNS[name] for name in sorted(model.provides))
        raise ModelError(
            f"`model`: {what} reads {_NOUNS[need]}, and {model.name} gives {given} alone. Use a mask method (Occlusion, Lime, "
            "KernelShap, Sobol) or a metric that masks units, or pass the model itself."
        )
