"""One value per word and target over many texts: NormLIME and its relatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.shared_surrogate import fit_shared, text_surrogates
from interpreto.errors import InputError, OptionError
from interpreto.validation import check_choice, check_count, shown

REDUCTIONS = ("normlime", "mean_abs", "mean")


@dataclass(frozen=True, eq=False)
class GlobalAttribution:
    """Values of words over many explained texts; words are found by their text, wherever they are.

    Attributes:
        words: The words, as they are written first.
        targets: Names of the targets.
        values: ``(w, t)`` values; NaN where a word is in no text that was explained for the target.
        counts: ``(w, t)`` numbers of texts.
        reduce: Definition of the values: one of `of`'s, or ``"fast_normlime"`` of `fit`.
    """

    words: tuple[str, ...]
    targets: tuple[str, ...]
    values: Float[Tensor, "w t"]
    counts: Int[Tensor, "w t"]
    reduce: str

    @staticmethod
    def of(
        explanations: Iterable[AttributionOutput],
        reduce: str = "normlime",
        *,
        key: Callable[[str], str] = str.casefold,
        positive: bool = False,
        min_count: int = 1,
    ) -> GlobalAttribution:
        """Summarize explanations; their order plays no part.

        With c(x, v) the sum of the attributions of word v in text x, and E(v) the texts that have it:

        - ``"normlime"``: mean over E(v) of c(x, v)² / ‖c(x)‖₁: large where the word has much of what the text has;
        - ``"mean_abs"``: mean over E(v) of |c(x, v)|;
        - ``"mean"``: mean over E(v) of c(x, v), with its sign.

        Args:
            explanations: What any method's call returns.
            reduce: The definition.
            key: Text under which units are counted as one word.
            positive: Leave out the words of a text that speak against the target.
            min_count: Smallest number of texts of a word.

        Raises:
            OptionError: There is no such definition.
            InputError: Nothing was explained, or no word is frequent enough.

        Examples:
            >>> from interpreto import Occlusion, demo
            >>> from interpreto.attributions import GlobalAttribution
            >>> texts = [sentence.text for sentence in demo.load_sentences("movie")[:20]]
            >>> found = GlobalAttribution.of(Occlusion(*demo.load_classifier())(texts, "positive"))
            >>> found.targets, len(found.top(3))
            (('positive',), 3)

        References:
            Ahern et al., 2019, https://arxiv.org/abs/1909.04200.
        """
        check_choice(reduce, "reduce", REDUCTIONS)
        check_count(min_count, "min_count")
        forms: dict[str, str] = {}
        sums: dict[tuple[str, str], tuple[float, int]] = {}
        for explanation in explanations:
            for label, row in zip(explanation.target_labels, explanation.attributions.double(), strict=True):
                words = _by_word(explanation.elements, row.nan_to_num().tolist(), key, forms)
                kept = {word: value for word, value in words.items() if value > 0 or not positive}
                norm = sum(map(abs, kept.values()))
                for word, value in kept.items():
                    total, count = sums.get((word, label), (0.0, 0))
                    sums[word, label] = total + _part(value, norm, reduce), count + 1
        if not sums:
            raise InputError("`explanations`: there is nothing in it; pass what an explainer's call returns.")
        return _table(sums, forms, reduce, min_count)

    @staticmethod
    def fit(
        explainer: Any,
        inputs: Any,
        targets: Any = "all",
        *,
        strength: float = 1.0,
        key: Callable[[str], str] = str.casefold,
        min_count: int = 1,
    ) -> GlobalAttribution:
        """Fit one linear surrogate to the masks of all texts, FastNormLIME: a coefficient per word and target.

        Texts have an intercept each, and share the coefficients of their words: ``argmin Σ ω (y − b − zᵀw)² + strength · ‖w‖²``
        over all perturbed inputs. A word twice in a text counts twice. In a few masks of many texts a word is tried in as many
        contexts as in many masks of few texts, so that a small ``n_perturbations`` is enough.

        Args:
            explainer: A `Lime` or `GLime` of a classifier, whose masks and weights ω are taken.
            inputs: Texts, as an explainer's call takes them.
            targets: Targets, as an explainer's call takes them.
            strength: Weight of the squared coefficients.
            key: Text under which units are counted as one word.
            min_count: Smallest number of texts of a word.

        Raises:
            OptionError: The explainer fits no linear surrogate, or the strength is out of range.
            InputError: There are no texts, or no word is frequent enough.

        Examples:
            >>> from interpreto import Lime, demo
            >>> from interpreto.attributions import GlobalAttribution
            >>> texts = ["A gorgeous film.", "A dull film.", "Gorgeous, not dull."]
            >>> found = GlobalAttribution.fit(Lime(*demo.load_classifier()), texts)
            >>> found.top(1, "positive")[0][0], found.top(1, "negative")[0][0]
            ('gorgeous', 'dull')

        References:
            Ahern et al., 2019, https://arxiv.org/abs/1909.04200; Li et al., 2023, https://doi.org/10.1016/j.artint.2022.103823.
        """
        check_count(min_count, "min_count")
        forms: dict[str, str] = {}
        found = fit_shared(text_surrogates(explainer, inputs, targets), strength, key, forms)
        if not found:
            raise InputError("`inputs`: got none; there is nothing to fit.")
        entries = {pair: (value * count, count) for pair, (value, count) in found.items()}
        return _table(entries, forms, "fast_normlime", min_count)

    def top(self, k: int = 10, target: str | int | None = None) -> list[tuple[str, float]]:
        """Return the words of largest value for a target, with their values; None: the first target.

        Raises:
            OptionError: There is no such target.
        """
        column = self.values[:, self._column(target)]
        order = column.nan_to_num(-torch.inf).argsort(descending=True, stable=True)[: check_count(k, "k")]
        return [(self.words[i], float(column[i])) for i in order.tolist() if not column[i].isnan()]

    def prior(self, target: str | int | None = None) -> dict[str, float]:
        """Return the values of a target by word, as `LimeWithPrior` takes them; None: the first target.

        Raises:
            OptionError: There is no such target.
        """
        column = self.values[:, self._column(target)].tolist()
        return {word: value for word, value in zip(self.words, column, strict=True) if not math.isnan(value)}

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row per word and target: ``word``, ``target``, ``value``, ``n_texts``.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]

        rows = [
            (word, target, float(self.values[i, j]), int(self.counts[i, j]))
            for j, target in enumerate(self.targets)
            for i, word in enumerate(self.words)
            if self.counts[i, j]
        ]
        return pd.DataFrame(rows, columns=["word", "target", "value", "n_texts"])

    def _column(self, target: str | int | None) -> int:
        if target is None:
            return 0
        if isinstance(target, str) and target in self.targets:
            return self.targets.index(target)
        if isinstance(target, int) and 0 <= target < len(self.targets):
            return target
        raise OptionError(f"`target`: got {shown(target)}; there are {', '.join(map(repr, self.targets))}.")

    def __repr__(self) -> str:
        return f"GlobalAttribution({self.reduce}, {len(self.words)} words, targets={self.targets})"


def _by_word(texts: list[str], values: list[float], key: Callable[[str], str], forms: dict[str, str]) -> dict[str, float]:
    """Return the sum of the values of each word of a text."""
    found: dict[str, float] = {}
    for text, value in zip(texts, values, strict=True):
        word = key(text.strip())
        forms.setdefault(word, text.strip())
        found[word] = found.get(word, 0.0) + value
    return found


def _part(value: float, norm: float, reduce: str) -> float:
    if reduce == "normlime":
        return value * value / norm if norm else 0.0
    return abs(value) if reduce == "mean_abs" else value


def _table(
    sums: dict[tuple[str, str], tuple[float, int]], forms: dict[str, str], reduce: str, min_count: int
) -> GlobalAttribution:
    kept = {pair: entry for pair, entry in sums.items() if entry[1] >= min_count}
    if not kept:
        raise InputError(f"`min_count`: no word is in {min_count} texts.")
    words, targets = sorted({word for word, _ in kept}), sorted({target for _, target in kept})
    values = torch.full((len(words), len(targets)), torch.nan, dtype=torch.float64)
    counts = torch.zeros(len(words), len(targets), dtype=torch.long)
    rows, columns = {word: i for i, word in enumerate(words)}, {target: j for j, target in enumerate(targets)}
    for (word, target), (total, count) in kept.items():
        values[rows[word], columns[target]], counts[rows[word], columns[target]] = total / count, count
    return GlobalAttribution(tuple(forms[word] for word in words), tuple(targets), values.float(), counts, reduce)
