"""Partition SHAP: Owen values of a hierarchy of units."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.games.hierarchy import Hierarchy
from interpreto.attributions.games.rounds import Rounds
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations.partition import PartitionPerturbator
from interpreto.models.alternatives import ReplacedBy


class PartitionShap(AttributionExplainer):
    """Compute Owen values over paragraphs, sentences, clauses and words; they sum to ``f(x) − f(everything masked)``.

    The units of a group join or leave together, before they play with each other: a sentence is weighed as a whole, then its
    clauses, then its words. Some ``u²`` coalitions are enough to be exact. With a smaller budget the groups that matter most
    are opened first; units of a group that was not opened share its value equally, and their standard error is NaN.

    Args:
        n_perturbations: Most coalitions; None: 500, or ``4u`` if that is more.
        hierarchy: ``"auto"``: by paragraphs, sentences and clauses, then balanced halves; ``"balanced"``: halves alone; or a
            function from the texts of the units to nested lists of their numbers.

    Raises:
        OptionError: The hierarchy is not of the text's units.

    Examples:
        >>> from interpreto import PartitionShap, demo
        >>> explanation = PartitionShap(*demo.load_classifier())("A gorgeous film. The story, though, is dull.")[0]
        >>> gap = explanation.base_scores - explanation.reference_scores
        >>> bool((explanation.attributions.sum(1) - gap).abs() < 1e-5)
        True

    References:
        Owen, 1977, https://doi.org/10.1007/978-3-642-45494-3_7; Lundberg and Lee, NeurIPS 2017,
        https://arxiv.org/abs/1705.07874.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        hierarchy: Hierarchy = "auto",
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        parts = {"perturbator": PartitionPerturbator(n_perturbations, hierarchy), "evidence": Rounds()}
        super().__init__(model, tokenizer, batch_size, replacement=replacement, **parts, **options)
