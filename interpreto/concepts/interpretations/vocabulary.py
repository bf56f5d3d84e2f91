"""Interpret concepts by tokens: those whose logits their directions raise, read by the head or by running the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.interpretations.topk_inputs import read_indices
from interpreto.concepts.output_names import Names
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import OptionError
from interpreto.models.layers import Layers
from interpreto.models.loading import load_for_splitter
from interpreto.models.readout import Readout, find_readout
from interpreto.models.tasks import Classification, resolve_task
from interpreto.validation import check_choice, check_count

SIDES = ("top", "bottom", "both")
RANKINGS = ("score", "cosine")
OUTPUTS = 2**24  # scores that are held at once


class OutputNames:
    """The outputs of a model by name, the largest or smallest of each row of scores first.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        k: Outputs of a row.
        side: ``"top"``: the largest scores; ``"bottom"``: the smallest; ``"both"``: ``k`` of each.
    """

    def __init__(self, model: Any, tokenizer: Any, k: int, side: str) -> None:
        self.k, self.side = check_count(k, "k"), check_choice(side, "side", SIDES)
        self._names = Names(tokenizer, resolve_task(model, tokenizer, None, None))
        self._classes = isinstance(self._names.task, Classification)
        self._special = [] if self._classes else list(tokenizer.all_special_ids)
        self._size = None if self._classes else len(tokenizer)

    def __call__(self, scores: Float[Tensor, "c v"]) -> list[dict[str, float]]:
        """Return for each row the outputs and their scores; special tokens are left out."""
        taken = scores[:, : self._size].clone() if self._size is not None else scores.clone()
        special = [i for i in self._special if i < taken.shape[1]]
        found: list[dict[str, float]] = [{} for _ in taken]
        for sign in {"top": (1,), "bottom": (-1,), "both": (1, -1)}[self.side]:
            signed = sign * taken
            signed[:, special] = -torch.inf
            best = signed.topk(min(2 * self.k, signed.shape[1] - len(special)))
            for row, values, ids in zip(found, best.values.tolist(), best.indices.tolist(), strict=True):
                own: dict[str, float] = {}
                for value, i in zip(values, ids, strict=True):
                    if len(own) < self.k:
                        own.setdefault(self._names.of_class(i) if self._classes else self._names.of_token(i), sign * value)
                row.update({name: value for name, value in own.items() if name not in row})
        return found


class VocabularyProjection(Interpretation):
    """Interpret concepts by the tokens that the head reads in their directions (VocabProj).

    The score of a token is what one unit of the concept's direction adds to its logit, behind the gain of the final
    normalization, minus the mean over the vocabulary. No text is read. It holds where little is computed between the split
    point and the head: in the last third of the blocks; below, use `TokenChange`.

    Args:
        concept_explainer: Concepts of the residual stream of a language model; None for directions of your own.
        k: Tokens per concept.
        rank_by: ``"score"``, or ``"cosine"``, which prefers rare and specific tokens.
        side: ``"top"``: tokens that the concept makes likelier; ``"bottom"``: less likely; ``"both"``: ``k`` of each, the
            latter with negative scores.
        model: The model, or a splitter, where there is no explainer.
        tokenizer: Its tokenizer.

    Raises:
        ModelError: something else than a normalization lies between the last block and the head, as in BERT; or there is no
            head over a vocabulary.
        OptionError: there is no splitter, and so no model.

    Examples:
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.interpretations import VocabularyProjection
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> _, tokenizer = demo.load_classifier()
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=2, n_head=2))
        >>> explainer = NeuronsAsConcepts(ModelWithSplitPoints(model, -1, tokenizer=tokenizer))
        >>> found = VocabularyProjection(explainer, k=3).interpret()
        >>> len(found), len(found[0])
        (8, 3)

    References:
        Gur-Arieh, Mayan, Agassy, Geiger and Geva, ACL 2025, https://arxiv.org/abs/2501.08319; nostalgebraist, 2020,
        https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
    """

    needs_inputs: ClassVar[bool] = False

    def __init__(
        self,
        concept_explainer: ConceptExplainer | None = None,
        k: int = 10,
        *,
        rank_by: str = "score",
        side: str = "top",
        model: Any = None,
        tokenizer: Any = None,
    ) -> None:
        source, tokenizer = _model_of(concept_explainer, model, tokenizer)
        self.rank_by = check_choice(rank_by, "rank_by", RANKINGS)
        if concept_explainer is not None:
            self.concept_explainer = concept_explainer
        self._layers = Layers(source, tokenizer)
        self._readout: Readout | None = None
        self._names = OutputNames(source, tokenizer, k, side)

    @property
    def readout(self) -> Readout:
        """Return how the head reads directions; found when it is first needed."""
        if self._readout is None:
            self._readout = find_readout(self._layers)
        return self._readout

    def scores(self, directions: Float[Tensor, "c d"]) -> Float[Tensor, "c v"]:
        """Compute the score of each token for each direction; see ``rank_by``."""
        scores = self.readout.scores(directions)
        scores = scores - scores.mean(1, keepdim=True)
        if self.rank_by == "score":
            return scores
        lengths = directions.detach().float().cpu().norm(dim=1, keepdim=True) * self._norms
        return scores / lengths.clamp(min=1e-12)

    def read(self, directions: Float[Tensor, "c d"]) -> list[dict[str, float]]:
        """Return the tokens of directions of your own, with their scores, the first ones first."""
        return [found for part in directions.split(self._chunk) for found in self._names(self.scores(part))]

    def interpret(
        self, inputs: Any = None, latent_activations: Any = None, concepts_indices: Any = "all", **options: Any
    ) -> Mapping[int, dict[str, float]]:
        """Return the tokens of each concept and their scores.

        Args:
            inputs: Not used: no text is read.
            latent_activations: Not used.
            concepts_indices: Which concepts: a number, several, or ``"all"``.
            options: None.
        """
        explainer = _needed(getattr(self, "concept_explainer", None))
        concepts = read_indices(concepts_indices, explainer.nb_concepts)
        return dict(zip(concepts, self.read(explainer.residual_directions()[concepts]), strict=True))

    @property
    def _norms(self) -> Float[Tensor, " v"]:
        if not hasattr(self, "_lengths"):
            self._lengths = self.readout.norms()
        return self._lengths

    @property
    def _chunk(self) -> int:
        return max(1, OUTPUTS // self._layers.outputs)


def _model_of(explainer: ConceptExplainer | None, model: Any, tokenizer: Any) -> tuple[Any, Any]:
    if explainer is not None and model is not None:
        raise OptionError("`model`: got both it and `concept_explainer`, which has a model; pass one of them.")
    if explainer is not None:
        splitter = explainer.own_splitter()
        return splitter.model, splitter.tokenizer
    if isinstance(model, ModelSplitter):
        return model.model, model.tokenizer
    if model is None:
        raise OptionError("`concept_explainer`: pass fitted concepts, or a `model` whose directions you will read.")
    return load_for_splitter(model, tokenizer, None, None)


def _needed(explainer: ConceptExplainer | None) -> ConceptExplainer:
    if explainer is None:
        raise OptionError("`concept_explainer`: there are no concepts to interpret; pass it, or call `read(directions)`.")
    explainer.check_fitted()
    return explainer


def chunks(concepts: Sequence[int], size: int) -> list[list[int]]:
    """Return consecutive parts of some numbers."""
    return [list(concepts[i : i + size]) for i in range(0, len(concepts), max(1, size))]
