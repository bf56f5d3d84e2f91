"""Interpret concepts by the outputs that change when the model runs with more of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.interpretations.topk_inputs import read_indices
from interpreto.concepts.interpretations.vocabulary import OUTPUTS, OutputNames, chunks
from interpreto.concepts.joint_rows import first_place
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import InputError
from interpreto.inputs.samples import Sample
from interpreto.models.batching import Budget
from interpreto.validation import check_batch_size, check_choice, check_positive

MODES = ("add", "clamp")


class TokenChange(Interpretation):
    """Interpret concepts by the outputs whose logits change most when the model runs with more of them.

    The direction of a concept is added to the activations of every token but the first, and the change of the logits is
    averaged over these tokens and over the texts. The first token is left out, as its activations are many times as large as
    the others' in most language models.

    Args:
        concept_explainer: Fitted concepts with a splitter.
        k: Outputs per concept: tokens of a language model, classes of a classifier.
        strength: Length of what is added, in median lengths of the activations (`scale`); with ``"clamp"``, in largest
            activations of the concept in the inputs.
        mode: ``"add"`` the direction, scaled to that length, or ``"clamp"`` the concept's activation to that value.
        side: ``"top"``: outputs that the concept makes likelier; ``"bottom"``: less likely; ``"both"``: ``k`` of each.
        batch_size: Texts per pass, copies included; None: as many as the splitter's budget holds.

    Attributes:
        scale: Median length of the activations of the last call, over all tokens but the first.

    Raises:
        ModelError: the concepts are not fitted.
        OptionError: there is no splitter, or an option is unknown.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.interpretations import TokenChange
        >>> model, tokenizer = demo.load_classifier()
        >>> explainer = NeuronsAsConcepts(ModelWithSplitPoints(model, 1, tokenizer=tokenizer))
        >>> found = TokenChange(explainer, k=1).interpret(["A charming film.", "Dull."], concepts_indices=[0, 1])
        >>> {concept: list(classes) for concept, classes in found.items()}
        {0: ['positive'], 1: ['negative']}

    References:
        Gur-Arieh, Mayan, Agassy, Geiger and Geva, ACL 2025, https://arxiv.org/abs/2501.08319
    """

    needs_inputs: ClassVar[bool] = True

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        k: int = 10,
        *,
        strength: float = 1.0,
        mode: str = "add",
        side: str = "top",
        batch_size: int | None = None,
    ) -> None:
        self.concept_explainer = concept_explainer
        splitter = concept_explainer.own_splitter()
        units = ActivationGranularity.ALL_TOKENS if isinstance(splitter, TokenSplitter) else None
        self._downstream = Downstream(concept_explainer, units)
        self.strength, self.mode = check_positive(strength, "strength"), check_choice(mode, "mode", MODES)
        self._names = OutputNames(splitter.model, splitter.tokenizer, k, side)
        self._batch_size = check_batch_size(batch_size)
        self.scale = float("nan")

    def interpret(
        self, inputs: Any = None, latent_activations: Any = None, concepts_indices: Any = "all", **options: Any
    ) -> Mapping[int, dict[str, float]]:
        """Return the outputs of each concept, and the mean change of their logits.

        Args:
            inputs: Texts, or any other form that the splitter reads; some dozens suffice.
            latent_activations: Not used: the model is run.
            concepts_indices: Which concepts: a number, several, or ``"all"``.
            options: None.
        """
        concepts = read_indices(concepts_indices, self.concept_explainer.nb_concepts)
        return dict(zip(concepts, [row for part in self.changes(inputs, concepts) for row in self._names(part)], strict=True))

    @torch.no_grad()
    def changes(self, inputs: Any, concepts: Sequence[int]) -> Iterator[Float[Tensor, "c v"]]:
        """Yield the mean change of each logit, some concepts at a time, on the CPU in float64.

        Raises:
            InputError: no text has a token besides its first.
        """
        samples = self._downstream.samples(inputs)
        sizes = [own for part in self._downstream.map(samples, lambda picked: self._sizes(samples, picked)) for own in part]
        if not sizes:
            raise InputError("`inputs`: no text has a token besides its first, which is left out; pass longer texts.")
        self.scale = float(torch.tensor([size for size, _ in sizes]).median())
        largest = torch.stack([codes for _, codes in sizes]).amax(0)
        with torch.no_grad():
            (first,) = self._downstream.map(samples[:1], lambda _: [self._logits(samples[:1], self._hidden(samples[:1]))])
        for part in chunks(concepts, OUTPUTS // first.shape[-1]):
            yield self._mean_change(samples, part, largest, first.shape[-1])

    def _mean_change(
        self, samples: Sequence[Sample], concepts: list[int], largest: Tensor, outputs: int
    ) -> Float[Tensor, "c v"]:
        total, count = torch.zeros(len(concepts), outputs, dtype=torch.float64), 0
        budget = self._downstream.splitter.budget(self._batch_size)
        tokens = max(1, min(budget.tokens, OUTPUTS // outputs))

        def step(picked: list[int]) -> list[None]:
            nonlocal count
            batch = [samples[i] for i in picked]
            hidden = self._hidden(batch)
            mask = self._moved(batch, hidden)
            before = self._logits(batch, hidden)
            read = self._read(batch, mask, before)
            sums = []
            copies = max(1, tokens // max(1, mask.numel())) if budget.rows is None else max(1, budget.rows // len(batch))
            for part in chunks(concepts, copies):
                steps = torch.cat([self._step(hidden, mask, concept, largest) for concept in part])
                after = self._logits(batch * len(part), hidden.repeat(len(part), *[1] * (hidden.ndim - 1)) + steps)
                change = after.unflatten(0, (len(part), -1)).double() - before.double()
                sums.append((change * read[..., None]).flatten(1, -2).sum(1).cpu())
            total.add_(torch.cat(sums))
            count += int(read.sum())
            return [None] * len(picked)

        self._downstream.map(samples, step, Budget(budget.rows, tokens))
        return total / max(1, count)

    def _hidden(self, batch: Sequence[Sample]) -> Tensor:
        return self._downstream.splitter.batch_activations(batch, self.concept_explainer.split_point)

    def _logits(self, batch: Sequence[Sample], hidden: Tensor) -> Tensor:
        return self._downstream.outputs_from(batch, hidden)

    def _moved(self, batch: Sequence[Sample], hidden: Tensor) -> Bool[Tensor, ...]:
        """Return which tokens are moved: those of the texts, but the first ones of a language model."""
        if hidden.ndim == 2:
            return torch.ones(len(batch), dtype=torch.bool, device=hidden.device)
        mask = torch.zeros(hidden.shape[:2], dtype=torch.bool)
        for row, sample in zip(mask, batch, strict=True):
            inside = (sample.units.index >= 0).nonzero()[:, 0]
            row[inside[1:] if self._downstream.generates else inside] = True
        return mask.to(hidden.device)

    def _read(self, batch: Sequence[Sample], mask: Tensor, logits: Tensor) -> Tensor:
        """Return the positions whose logits are averaged."""
        if logits.ndim == 2:
            return torch.ones(len(batch), dtype=torch.float64, device=logits.device)
        stack = self._downstream.splitter.hook_point(first_place(self.concept_explainer.split_point)).stack
        read = torch.zeros(logits.shape[:2], dtype=torch.float64, device=logits.device)
        for row, sample, moved in zip(read, batch, mask, strict=True):
            n = len(sample) - sample.source
            row[:n] = 1.0 if stack == "encoder" else moved[sample.source : sample.source + n].to(row)
        return read

    def _step(self, hidden: Tensor, mask: Tensor, concept: int, largest: Tensor) -> Tensor:
        """Return what is added to the activations of a batch for one concept."""
        explainer, steps = self.concept_explainer, torch.zeros_like(hidden)
        if self.mode == "add":
            direction = explainer.get_dictionary()[concept].to(hidden)
            steps[mask] = self.strength * self.scale * direction / direction.norm().clamp(min=1e-12)
            return steps
        rows = hidden[mask]
        codes = explainer.encode_activations(rows)
        changed = codes.clone()
        changed[:, concept] = self.strength * float(largest[concept])
        steps[mask] = explainer.displacement(codes, rows)(changed).to(hidden)
        return steps

    def _sizes(self, samples: Sequence[Sample], picked: list[int]) -> list[list[tuple[float, Tensor]]]:
        """Return for each text the lengths of its activations, and the largest amount of each concept."""
        batch = [samples[i] for i in picked]
        hidden = self._hidden(batch)
        found = []
        for rows, moved in zip(hidden, self._moved(batch, hidden), strict=True):
            own = rows[moved] if rows.ndim == 2 else rows[None]
            codes = (
                self.concept_explainer.encode_activations(own).cpu() if len(own) and self.mode == "clamp" else own[:, :0].cpu()
            )
            found.append([(float(row.float().norm()), code) for row, code in zip(own, codes, strict=True)])
        return found
