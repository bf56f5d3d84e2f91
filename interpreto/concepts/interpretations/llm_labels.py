"""Labels by a language model, by the name and the options of the reference library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.choices import Choice, read_member
from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.examples import CLOSE, OPEN, Example
from interpreto.concepts.interpretations.judged_labels import ASK, JudgedLabels
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import OptionError
from interpreto.judges.base import Chat
from interpreto.validation import check_count


class SamplingMethod(Choice):
    """Choice of the examples of a concept that a language model is shown."""

    TOP = "top"
    QUANTILE = "quantile"
    RANDOM = "random"


class LLMLabels(JudgedLabels):
    """Label concepts by a language model that is shown units and their activations from 0 to 10.

    It is `ThemeLabels` with the options of the reference library. One unit per text is shown, so that no text votes twice,
    and a part of the texts is held out, on which labels are scored.

    Args:
        concept_explainer: Fitted concepts with a splitter.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        llm_interface: An `LLMInterface`, a `Judge`, or a function from a chat to a text.
        sampling_method: ``"top"``, ``"quantile"`` or ``"random"``.
        k_examples: Examples per concept.
        k_context: Units shown before and after each example.
        system_prompt: Instruction in place of ours.
        control: As in `JudgedLabels`; the reference library has none, so it is off.
        held_out: Share of the texts that are held out.
        random_state: Seed of the split and of what is drawn.
        use_vocab: Refused: see the error.
        use_unique_words: Refused: see the error.

    Raises:
        OptionError: an option is out of range.
    """

    sampling_methods = SamplingMethod
    activation_granularities = ActivationGranularity

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        activation_granularity: Any = None,
        *,
        llm_interface: Any,
        sampling_method: Any = SamplingMethod.TOP,
        k_examples: int = 30,
        k_context: int = 0,
        system_prompt: str | None = None,
        control: bool = False,
        held_out: float = 0.5,
        random_state: int = 0,
        use_vocab: bool = False,
        use_unique_words: int | bool = 0,
    ) -> None:
        if use_vocab or use_unique_words:
            raise OptionError(
                "`use_vocab`, `use_unique_words`: words alone are no examples of texts; label them by TopKInputs, or pass the "
                "words as inputs."
            )
        super().__init__(
            concept_explainer,
            llm_interface,
            activation_granularity,
            k_examples=k_examples,
            sampling=str(read_member(SamplingMethod, sampling_method, "sampling_method").value),
            context=check_count(k_context, "k_context", 0),
            control=control,
            held_out=held_out,
            random_state=random_state,
            system_prompt=system_prompt,
        )

    def prompt(self, examples: Sequence[Example]) -> Chat:
        """Return units with their activations; with their context, where there is any."""
        largest = max((float(example.amounts.max()) for example in examples if len(example.amounts)), default=0.0)
        instruction = f"Units of texts activate one concept, by the numbers from 0 to 10. Say what the concept is. {ASK}"
        if not self.context:
            pairs = [f'("{e.units[0]}", {e.levels(largest)[0]})' for e in examples if e.units]
            return self._chat(instruction, ", ".join(pairs))
        lines = []
        for i, example in enumerate(examples):
            pairs = zip(example.units, example.levels(largest), strict=True)
            marked = example.marked().replace(OPEN, "<<").replace(CLOSE, ">>")
            lines += [f"Example {i + 1}: {marked}", "Activations: " + ", ".join(f'("{unit}", {v})' for unit, v in pairs)]
        return self._chat(instruction, "\n".join(lines))
