"""A concept out of pairs of texts: contrastive activation addition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import read_activations
from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.probes.fits import LinearScores
from interpreto.concepts.probes.probe import Probe
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.generation import SplitterForGeneration
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.inputs.samples import Sample, first_tokens
from interpreto.validation import check_choice, shown

At = Literal["last", "mean"]
Fitted = TypeVar("Fitted", bound="ContrastiveConcept")


class ContrastiveConcept(ConceptExplainer):
    """Learn one concept from pairs of texts that differ in it: the mean difference of their activations (CAA).

    The direction is the mean over pairs of what the text with the concept has more than its partner without it, so that
    whatever the two share drops out. An amount is 0 midway between the two means, −½ at the mean of the texts without and ½
    at that of the texts with it. `agreement` says whether the pairs differ alike.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        at: Which activations of a text are compared: those of its ``"last"`` token that is not special, or the ``"mean"``
            over such tokens, the first of a text left out where nothing is before it: in many models its activations are a
            hundred times as long as others, and mean nothing.
        name: Name of the concept.
        split_point: One of the splitter's split points, where it has several.
        device: Device of the concept.
        random_state: Not used: nothing is drawn.
        nb_concepts: 1.

    Examples:
        >>> import torch
        >>> concept = ContrastiveConcept(None)
        >>> concept.fit(torch.tensor([[3.0, 1.0], [5.0, 2.0]]), torch.tensor([[1.0, 1.0], [1.0, 2.0]]))
        ContrastiveConcept(nb_concepts=1, split_point=None, fitted)
        >>> concept.get_dictionary(), concept.agreement
        (tensor([[3., 0.]]), 1.0)

    References:
        Rimsky et al., ACL 2024, https://arxiv.org/abs/2312.06681.
    """

    concept_model: Probe

    def __init__(  # noqa: PLR0917  # those of every explainer, in their order
        self,
        splitter: Any,
        at: str = "last",
        name: str = "concept",
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        nb_concepts: int = 1,
    ) -> None:
        if nb_concepts != 1:
            raise OptionError(f"`nb_concepts`: got {shown(nb_concepts)}; pairs of texts have one concept.")
        self.at, self.names = check_choice(at, "at", get_args(At)), (str(name),)
        options = {"at": at, "name": self.names[0]}
        super().__init__(splitter, Probe(1), split_point, device, random_state=random_state, options=options)
        self._agreement: float | None = None

    @property
    def agreement(self) -> float:
        """Return the share of pairs that differ along the direction that the other pairs have; 0.5 is chance.

        NaN for a single pair.

        Raises:
            ModelError: there is none: not fitted, or loaded from a file.
        """
        if self._agreement is None:
            raise ModelError("There is no agreement; `fit(positives, negatives)` measures it, and files do not hold it.")
        return self._agreement

    @property
    def has_differentiable_displacement(self) -> bool:
        """Return True: activations are moved along a direction."""
        return True

    def displacement(
        self, concepts: Float[Tensor, "u c"], activations: Float[Tensor, "u d"] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return ``changed -> (changed − concepts) · dictionary``."""
        before, directions = concepts.detach(), self.get_dictionary()
        return lambda changed: (changed - before.repeat(len(changed) // max(1, len(before)), 1)) @ directions

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]  # pairs come first
        self: Fitted, positives: Any, negatives: Any = None, overwrite: bool = False
    ) -> Fitted:
        """Learn the concept, and return the explainer.

        Args:
            positives: Texts with the concept, or their activations ``(n, d)``.
            negatives: The partner of each, without it.
            overwrite: Learn anew what has been learned.

        Raises:
            InputError: there are not as many texts on each side, a text has no token to read, or pairs do not differ.
            OptionError: it is fitted already, or texts are given without a splitter.
        """
        if self.is_fitted and not overwrite:
            raise OptionError("`overwrite`: this explainer is already fitted; pass overwrite=True to learn its concept anew.")
        (more, dtype), (less, _) = (self._rows(own, side) for own, side in ((positives, "positives"), (negatives, "negatives")))
        if more.shape != less.shape:
            raise InputError(f"`negatives`: got {len(less)} for {len(more)} positives; pass the partner of each.")
        with torch.inference_mode(False), torch.no_grad():
            differences = more - less
            direction = differences.mean(0)
            size = direction.square().sum()
            if not float(size) > 0:
                raise InputError("`negatives`: their activations are those of the positives; pass texts that differ.")
            middle = (more.mean(0) + less.mean(0)) / 2
            weights = direction / size
            self._agreement = agreement(differences)
            self.concept_model.learned(LinearScores(weights[None], -(weights @ middle)[None]), direction[None], dtype)
        return self

    def _rows(self, given: Any, side: str) -> tuple[Float[Tensor, "n d"], torch.dtype]:
        """Return one row of activations per text, in float64, and the dtype of the concept."""
        if isinstance(given, Tensor):
            rows = read_activations(given, self.split_point, self.device)
            return rows.read().double(), rows.dtype
        if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
            raise InputError(f"`{side}`: got {shown(given)}; pass a list of texts, or activations (n, d).")
        if self.splitter is None:
            raise OptionError("`splitter`: there is none to read texts with; pass activations, or make the explainer with one.")
        rows = read_activations(rows_of_texts(self.splitter, given, str(self.split_point), self.at), None, self.device)
        return rows.read().double(), rows.dtype


def agreement(differences: Float[Tensor, "n d"]) -> float:
    """Return the share of rows whose product with the sum of the others is positive; NaN for a single one."""
    if len(differences) < 2:
        return float("nan")
    others = differences.sum(0) - differences
    return float(((differences * others).sum(1) > 0).double().mean())


def rows_of_texts(splitter: ModelSplitter, texts: Sequence[Any], split_point: str, at: str) -> Float[Tensor, "n d"]:
    """Return a row of activations for each text.

    Args:
        splitter: The model.
        texts: Texts, or any other form of inputs.
        split_point: Where.
        at: ``"last"`` or ``"mean"``; see `ContrastiveConcept`.

    Raises:
        InputError: a text has no token that can be read.
    """
    if not isinstance(splitter, (ModelWithSplitPoints, SplitterForGeneration)):  # its own rows, such as what a head reads
        given = splitter.samples(list(texts))
        parts = splitter.activations_of(given, None, split_point).split([len(sample.units) for sample in given])
        return torch.stack([rows[-1] if at == "last" else rows.mean(0) for rows in parts])
    reader: Any = ModelWithSplitPoints(splitter.model, [split_point], tokenizer=splitter.tokenizer)
    samples = reader.samples(list(texts), "token")
    try:
        rows = reader.activations_of(samples, None, split_point)
    except OptionError:  # one vector per text
        return reader.get_activations(list(texts), "sample", tqdm_bar=False)[split_point]
    parts = rows.split([len(sample.units) for sample in samples])
    return torch.stack([_pooled(part, sample, i, at) for i, (part, sample) in enumerate(zip(parts, samples, strict=True))])


def _pooled(rows: Float[Tensor, "l d"], sample: Sample, number: int, at: str) -> Float[Tensor, " d"]:
    """Return the row of one text."""
    if at == "last":
        return rows[-1]
    kept = rows[1:] if int(first_tokens(sample.units)[0]) == 0 else rows
    if not len(kept):
        raise InputError(
            f"`texts[{number}]`: got {shown(sample.text)}, whose only token is the first of its text; pass a longer one, or "
            "make the explainer with at='last'."
        )
    return kept.mean(0)
