"""One dictionary for all layers of a model: factors, and the layers in which each is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.adapters.scikit_learn import load_scikit_learn, solving
from interpreto.concepts.concept_model import Dictionary
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.solvers.coordinate_descent import Penalty
from interpreto.concepts.solvers.least_squares import encode
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.models.devices import read_device
from interpreto.validation import check_count, check_positive, check_seed


class Factors(Dictionary):
    """Rows of one layer as non-negative sparse sums of factors, ``x ≈ s · Φ α``, for rows of size ``s``.

    Args:
        nb_concepts: Number of factors.
        alpha: Weight of the L1 penalty on the codes, for rows whose numbers have a mean square of 1.
        max_iter: Maximum number of passes over the rows.
        batch_size: Rows per step.
    """

    axes: ClassVar = {**Dictionary.axes, "scale": "1"}

    scale: Tensor

    def __init__(self, nb_concepts: int, alpha: float = 1.0, max_iter: int = 20, batch_size: int = 256) -> None:
        super().__init__(nb_concepts)
        self.alpha = check_positive(alpha, "alpha")
        self.max_iter = check_count(max_iter, "max_iter")
        self.batch_size = check_count(batch_size, "batch_size")
        self.register_buffer("scale", torch.empty(0, dtype=torch.float32))

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Learn the factors of the rows of this layer alone."""
        rows = activations.read()
        scale = size_of(rows)
        self.take(self.factors(rows.double() / scale, random_state).to(rows) * scale, scale)

    def factors(self, rows: Float[Tensor, "n d"], random_state: int) -> Float[Tensor, "c d"]:
        """Learn factors of rows of size 1, each of norm 1 at most."""
        solver = load_scikit_learn("decomposition").MiniBatchDictionaryLearning(
            self.nb_concepts,
            alpha=self.alpha,
            max_iter=self.max_iter,
            batch_size=min(self.batch_size, len(rows)),
            fit_algorithm="cd",
            positive_code=True,
            transform_max_iter=10_000,
            random_state=random_state,
        )
        with solving("TransformerFactors", random_state, "raise `max_iter`"):
            solver.fit(rows.cpu().numpy())
        return torch.from_numpy(solver.components_).to(rows)

    def take(self, dictionary: Float[Tensor, "c d"], scale: float) -> None:
        """Store factors, in the size of the rows."""
        self.scale = dictionary.new_tensor([scale])
        self.learned(dictionary)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the non-negative codes of least squared error and L1 penalty, ``(n, c)``."""
        return encode(activations / self.scale, self.dictionary / self.scale, Penalty(self.alpha))


class FactorConcepts(DictionaryConcepts):
    """Factors of the activations at one split point; `TransformerFactors` learns those of several together.

    Examples:
        >>> import torch
        >>> activations = torch.rand(100, 8, generator=torch.Generator().manual_seed(0))
        >>> concepts = FactorConcepts(None, nb_concepts=4).fit(activations).encode_activations(activations)
        >>> bool((concepts >= 0).all())
        True

    References:
        Yun, Chen, Olshausen and LeCun, DeeLIO 2021, https://arxiv.org/abs/2103.15949
    """

    model_class = Factors


class TransformerFactors:
    """One dictionary for the activations at all split points, and the layers in which each factor is active.

    The rows of each layer are divided by their size, as later layers would outweigh earlier ones, and stacked; codes are
    non-negative and sparse. A factor that is active in the first layers alone is of words, one of the middle of sentences.

    Args:
        splitter: The model, split at several layers; None to work on activations alone.
        nb_concepts: Number of factors.
        alpha: Weight of the L1 penalty on the codes.
        max_iter: Maximum number of passes over the rows.
        batch_size: Rows per step.
        device: Device of the factors.
        random_state: Seed of everything that is drawn.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import TransformerFactors
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [0, 1, 2], tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences("movie")][:20]
        >>> factors = TransformerFactors(splitter, nb_concepts=8).fit(splitter.get_activations(texts))
        >>> tuple(factors.layer_profile().shape), factors.at("bert.encoder.layer.1").nb_concepts
        ((3, 8), 8)

    References:
        Yun, Chen, Olshausen and LeCun, DeeLIO 2021, https://arxiv.org/abs/2103.15949
    """

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        *,
        alpha: float = 1.0,
        max_iter: int = 20,
        batch_size: int = 256,
        device: torch.device | str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.splitter, self.nb_concepts = splitter, check_count(nb_concepts, "nb_concepts")
        self.options: dict[str, Any] = {"alpha": alpha, "max_iter": max_iter, "batch_size": batch_size}
        Factors(nb_concepts, **self.options)  # checks them
        self.device, self.random_state = read_device(device), check_seed(random_state)
        self._explainers: dict[str, FactorConcepts] = {}
        self._profile: Tensor | None = None

    @property
    def split_points(self) -> list[str]:
        """Return the split points whose factors were learned, in the order of the activations."""
        return list(self._explainers)

    def fit(self, activations: Mapping[str, Tensor]) -> TransformerFactors:
        """Learn the factors of all layers together, and return them.

        Args:
            activations: ``(n, d)`` by split point, of one width.

        Raises:
            InputError: there are fewer than two layers, or widths differ.
        """
        if not isinstance(activations, Mapping) or len(activations) < 2 or len({r.shape[1] for r in activations.values()}) > 1:
            raise InputError(
                "`activations`: pass rows of one width at two split points or more, as ModelWithSplitPoints(model, [0, 1]) "
                ".get_activations(texts) returns; FactorConcepts learns factors of one."
            )
        rows = {name: Activations(values, self.device).read() for name, values in activations.items()}
        scales = {name: size_of(values) for name, values in rows.items()}
        stacked = torch.cat([values.double() / scales[name] for name, values in rows.items()])
        shared = Factors(self.nb_concepts, **self.options).factors(stacked, self.random_state)
        for name, values in rows.items():
            own = FactorConcepts(
                self.splitter, self.nb_concepts, name, self.device, random_state=self.random_state, **self.options
            )
            own.concept_model.take((shared * scales[name]).to(values), scales[name])
            self._explainers[name] = own
        self._profile = torch.stack(
            [self._explainers[name].encode_activations(values).mean(0) for name, values in rows.items()]
        )
        return self

    def at(self, split_point: str) -> FactorConcepts:
        """Return the factors as concepts of one layer, with effects, interpretations and files.

        Raises:
            ModelError: the factors have not been learned.
            OptionError: they are not of this split point.
        """
        if not self._explainers:
            raise ModelError("These TransformerFactors are not fitted; call `fit(activations)` first.")
        if split_point not in self._explainers:
            raise OptionError(f"`split_point`: got {split_point!r}; pass one of {', '.join(map(repr, self._explainers))}.")
        return self._explainers[split_point]

    def layer_profile(self) -> Float[Tensor, "m c"]:
        """Return the mean code of each factor in each layer, over the activations of `fit`.

        Raises:
            ModelError: the factors have not been learned.
        """
        if self._profile is None:
            raise ModelError("These TransformerFactors are not fitted; call `fit(activations)` first.")
        return self._profile.cpu()


def size_of(rows: Float[Tensor, "n d"]) -> float:
    """Return the root mean square of the numbers of some rows; 1 for rows of zeros."""
    return float(rows.double().square().mean().sqrt()) or 1.0
