"""Effects of concepts on outputs: the methods that all explainers of concepts share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.downstream import Downstream
from interpreto.concepts.importance import effects_of, normalized
from interpreto.inputs.units import GranularityAggregationStrategy


class ConceptEffects(ABC):
    """Computes how a model's outputs change with concepts, from the model downstream of the split point."""

    @abstractmethod
    def _downstream(
        self,
        split_point: str | None,
        activation_granularity: Any,
        aggregation_strategy: GranularityAggregationStrategy | str | None,
        inference_mode: Any,
    ) -> Downstream:
        """Return the model's outputs as a function of the concepts."""

    def concept_output_gradient(  # noqa: PLR0917  # in the reference's order
        self,
        inputs: Any,
        targets: Any = None,
        split_point: str | None = None,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        concepts_x_gradients: bool = True,
        normalization: bool = True,
        tqdm_bar: bool | None = None,
        batch_size: int | None = None,
        *,
        inference_mode: Any = None,
    ) -> list[Float[Tensor, ...]]:
        """Compute how each output changes with each concept of each unit.

        Only the model downstream of the split point is differentiated. The part of the activations that the concepts do not
        explain stays in place.

        Args:
            inputs: Texts, or any other form that the splitter reads; of a `SplitterForClassification` also its activations
                ``(n, d)``.
            targets: Of a classifier, class ids or names: one, several for all inputs, or a list of such lists, one for each
                input; None: every output. Of a language model, what follows each input, as text or ids, explained token by
                token (numbers are ids of tokens); None: what the splitter's model writes, or, where it writes nothing, the
                text's own tokens from the second on, if a decoder reads them.
            split_point: The concepts' own, or None.
            activation_granularity: The unit of the explanation. None: a token; the text where activations have one row per
                text.
            aggregation_strategy: How the activations of a unit's tokens become the row that is encoded; None: the mean.
            concepts_x_gradients: Multiply by the concepts.
            normalization: Divide, for each input and target, by the sum of the sizes over units and concepts: sizes then sum
                to 1, or are all 0.
            tqdm_bar: Show the texts done; None: after two seconds, in terminals and notebooks.
            batch_size: Texts per pass; None: as the splitter has it.
            inference_mode: The score; see `InferenceModes`. None: logits of a classifier, log-probabilities of a language
                model.

        Returns:
            For each input a tensor ``(t, g, c)`` of targets, units and concepts, on the CPU.

        Raises:
            ModelError: the concepts are not fitted, or no gradient passes through their decoder.
            OptionError, InputError, TargetError, TaskError: what cannot be explained as asked.

        Examples:
            >>> from interpreto import SplitterForClassification, demo
            >>> from interpreto.concepts import PCAConcepts
            >>> model, tokenizer = demo.load_classifier()
            >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
            >>> texts = ["A charming film.", "Dull.", "Not my cup of tea."]
            >>> explainer = PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(texts)[0])
            >>> [tuple(gradients.shape) for gradients in explainer.concept_output_gradient(texts, targets=["positive"])]
            [(1, 1, 2), (1, 1, 2), (1, 1, 2)]
        """
        downstream = self._downstream(split_point, activation_granularity, aggregation_strategy, inference_mode)
        samples = downstream.samples_with_targets(inputs, targets)
        method = "gradient_x_concept" if concepts_x_gradients else "gradient"
        effects = effects_of(downstream, samples, method, batch_size=batch_size, tqdm_bar=tqdm_bar)
        return normalized(effects) if normalization else effects

    def concept_output_attribution(  # noqa: D417  # the others are those of `concept_output_gradient`
        self,
        inputs: Any,
        targets: Any = None,
        method: str = "gradient_x_concept",
        split_point: str | None = None,
        activation_granularity: Any = None,
        *,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        n_steps: int = 32,
        tqdm_bar: bool | None = None,
        batch_size: int | None = None,
        inference_mode: Any = None,
    ) -> list[Float[Tensor, ...]]:
        """Compute the effect of each concept of each unit on each output.

        The arguments that are not described here are those of `concept_output_gradient`.

        Args:
            method: ``"gradient"``; ``"gradient_x_concept"``; ``"integrated_gradients"`` on the line from no concepts to
                those that there are, which sums to the score minus the score without concepts; ``"ablation"``: the score
                lost without one concept of one unit.
            n_steps: Points of the integral.

        Returns:
            For each input a tensor ``(t, g, c)``, on the CPU, in the unit of the score (per unit of the concept for
            ``"gradient"``).

        References:
            Sundararajan, Taly and Yan, ICML 2017, https://arxiv.org/abs/1703.01365; over concepts, Fel et al., 2023,
            https://arxiv.org/abs/2306.07304.
        """
        downstream = self._downstream(split_point, activation_granularity, aggregation_strategy, inference_mode)
        samples = downstream.samples_with_targets(inputs, targets)
        return effects_of(downstream, samples, method, n_steps=n_steps, batch_size=batch_size, tqdm_bar=tqdm_bar)
