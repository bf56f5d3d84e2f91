"""Adapters of foreign concept models: overcomplete's, or any object with ``fit``, ``encode`` and ``decode``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.adapters.overcomplete import find_class, name_of
from interpreto.concepts.concept_model import ConceptModel, FittableModel, ForeignModel, restore, state_of
from interpreto.errors import ModelError, OptionError
from interpreto.seeding import seeded
from interpreto.validation import check_seed


def build_model(model: Any, nb_concepts: int | None, random_state: int, options: Mapping[str, Any]) -> ConceptModel:
    """Build the concept model of a class, an instance, or a name of overcomplete's.

    Raises:
        OptionError: it lacks ``fit``, ``encode`` or ``decode``, or the class does not take the options.
    """
    found = find_class(model) if isinstance(model, str) else model
    if not isinstance(found, type):
        if options:
            raise OptionError(f"`concept_model`: an instance has its options already; got {', '.join(options)} as well.")
        return _fittable(found, nb_concepts, random_state)
    random_state = check_seed(random_state)
    arguments = {"nb_concepts": 20 if nb_concepts is None else nb_concepts, **options}
    with seeded(random_state):
        try:
            instance = found(**arguments)
        except TypeError as error:
            if (name_of_class := f"{found.__module__}").startswith("overcomplete.sae"):
                raise OptionError(
                    f"`concept_model`: {found.__name__} is of {name_of_class}; pass it to SAEExplainer."
                ) from error
            raise OptionError(f"`concept_model`: {found.__name__} cannot be made with {arguments} ({error}).") from error
    return _fittable(instance, None, random_state)


def _fittable(model: Any, nb_concepts: int | None, random_state: int) -> ConceptModel:
    """Return a concept model of interpreto as it is, and any other model in an adapter."""
    if not isinstance(model, ConceptModel):
        return ExternalModel(model, nb_concepts, random_state)
    if not callable(getattr(model, "fit", None)):
        raise OptionError(f"`concept_model`: {type(model).__name__} is trained by gradients; pass it to SAEExplainer.")
    return model


class ExternalModel(FittableModel, ForeignModel):
    """Adapt a foreign model to the interface of `ConceptModel`.

    The global random generators are seeded while it runs, and restored after, so that its results are reproducible.

    Args:
        model: Has ``fit``, ``encode`` and ``decode``, and ``get_dictionary`` if the decoder is not linear. A model without
            ``fit``, or with a true attribute ``fitted``, is used as it is.
        nb_concepts: Number of concepts, if the model has no such attribute.
        random_state: Seed of the global generators while it runs.
    """

    def __init__(self, model: Any, nb_concepts: int | None, random_state: int) -> None:
        missing = [name for name in ("fit", "encode", "decode") if not callable(getattr(model, name, None))]
        if missing not in ([], ["fit"]):
            raise OptionError(
                f"`concept_model`: {type(model).__name__} has no {', '.join(missing)}; a concept model has all three, and a "
                "trained one the last two."
            )
        if (name_of(model) or "").startswith("overcomplete.sae."):
            raise OptionError(f"`concept_model`: {type(model).__name__} is trained by gradients; pass it to SAEExplainer.")
        count = getattr(model, "nb_concepts", nb_concepts)
        if count is None:
            raise OptionError(f"`nb_concepts`: {type(model).__name__} does not say how many it learns; pass the number.")
        if nb_concepts not in (None, count):
            raise OptionError(f"`nb_concepts`: got {nb_concepts}, and this {type(model).__name__} learns {count}.")
        super().__init__(int(count))
        self.model = model
        self.random_state = random_state
        self.learned = bool(missing or getattr(model, "fitted", False))
        if self.learned:
            self._probe()

    @property
    def is_fitted(self) -> bool:
        """Return True if the model was fitted here, is used as it is, or has a true attribute ``fitted``."""
        return self.learned

    def allocate(self, width: int, device: torch.device) -> None:
        """Do nothing: the model is made without a width."""

    def loaded(self) -> None:
        """Mark the model as fitted, once its state is restored."""
        if isinstance(self.model, nn.Module) and "fitted" in vars(self.model):
            vars(self.model)["fitted"] = True
        self.learned = True
        self._probe()

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Learn the concepts by the model's own ``fit``.

        Raises:
            OptionError: the model has none.
        """
        if not callable(getattr(self.model, "fit", None)):
            raise OptionError(f"`concept_model`: {type(self.model).__name__} has no `fit`; it is used as it is.")
        self.learned = False  # until it has learned: a foreign model that is interrupted is no model
        self._place(activations.device)
        with seeded(random_state, activations.device):
            self.model.fit(activations.read())
        if isinstance(self.model, nn.Module):
            restore(self.model, state_of(self.model))  # laid out as they will be when they are loaded
        self.learned = True
        self._probe()

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the codes ``(n, c)`` of rows; of several results (overcomplete: pre-codes and codes), the last."""
        self._place(activations.device)
        with seeded(self.random_state, activations.device):
            codes = self.model.encode(activations)
        return self._as_rows(codes[-1] if isinstance(codes, tuple) else codes, activations, "encode")

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Reconstruct rows ``(n, d)`` from their codes."""
        self._place(concepts.device)
        return self._as_rows(self.model.decode(concepts), concepts, "decode")

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the direction of each concept."""
        if callable(getattr(self.model, "get_dictionary", None)):
            return torch.as_tensor(self.model.get_dictionary()).detach()
        one_each = torch.eye(self.nb_concepts, dtype=self.dtype)
        with torch.no_grad():
            return self.decode(one_each) - self.decode(torch.zeros_like(one_each))

    def _as_rows(self, value: Any, given: Tensor, name: str) -> Tensor:
        rows = torch.as_tensor(value).to(given.device)
        if rows.ndim != 2 or len(rows) != len(given):
            raise ModelError(
                f"`concept_model`: its `{name}` gave {tuple(rows.shape)} for {tuple(given.shape)}; one row for each."
            )
        return rows

    def _place(self, device: torch.device) -> None:
        if isinstance(self.model, nn.Module) and "device" in vars(self.model):
            vars(self.model)["device"] = device  # overcomplete's keep it next to their tensors, which have moved

    def _probe(self) -> None:
        """Test if gradients pass through ``encode`` and ``decode``."""
        width = self.get_dictionary().shape[1]
        self.has_differentiable_encoder = _passes_gradients(self.encode, width, self.dtype)
        self.has_differentiable_decoder = _passes_gradients(self.decode, self.nb_concepts, self.dtype)


def _passes_gradients(function: Any, width: int, dtype: torch.dtype) -> bool:
    with torch.inference_mode(False), torch.enable_grad():
        rows = torch.ones(1, width, dtype=dtype, requires_grad=True)
        try:
            (gradient,) = torch.autograd.grad(function(rows).sum(), rows, allow_unused=True)
        except (RuntimeError, TypeError, ValueError):
            return False
    return gradient is not None
