"""Base of explainers of transcoders and crosscoders: places, training, directions and what is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import read_activations
from interpreto.concepts.coders.gates import coder_options
from interpreto.concepts.coders.joint_splitter import OTHER, JointSplitter
from interpreto.concepts.coders.model import Coder
from interpreto.concepts.coders.standard import Standard
from interpreto.concepts.coders.training import CoderTraining
from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.declared import check_options, declare
from interpreto.concepts.joint_rows import JOINT
from interpreto.concepts.saes.fitting import TrainedConcepts
from interpreto.concepts.saes.options import TrainingOptions
from interpreto.concepts.saes.parallel import Ranks
from interpreto.concepts.saes.trainer import train
from interpreto.errors import InputError, OptionError


class CoderConcepts(TrainedConcepts, ABC):
    """Base of explainers whose concepts are read at some places and written at some places.

    The split point is a joint one: the places that are read, then those that are written, with ``" + "`` between their
    names, and a row of activations is theirs, one after the other. `encode_activations` needs the first part alone.

    Attributes:
        read: Names of the places that are read; empty where nothing names them.
        written: Names of the places that are written.
        published: What the files say of a published one; empty otherwise.
        own_defaults: Defaults of the options of all coders that this explainer has instead.
    """

    concept_model: Coder
    own_defaults: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "own_defaults" in vars(cls):
            declare(cls, coder_options, cls.own_defaults)

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int,
        given: Mapping[str, Any],
        *,
        read: Sequence[str],
        written: Sequence[str],
        reads: int,
        writes: int,
        device: torch.device | str,
        random_state: int,
        options: Mapping[str, Any],
        layered: bool = False,
        skip: bool = False,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: A splitter with the places, a pair of them, or None.
            nb_concepts: Number of concepts.
            given: Options that all coders have; see `coder_options`.
            read: Names of the places that are read.
            written: Names of the places that are written.
            reads: Number of places that are read.
            writes: Number of places that are written; 0: those that are read.
            device: Device of the concept model.
            random_state: Seed of everything that is drawn.
            options: Further options of the explainer's constructor, for `save`.
            layered: See `Coder`.
            skip: See `Coder`.
        """
        check_options(type(self).__name__, coder_options, given)
        gate, kept = coder_options(nb_concepts, **{**self.own_defaults, **given})
        self.gate = gate
        model = Coder(
            nb_concepts,
            reads=reads,
            writes=writes,
            activation=gate.kind,
            k=gate.k if gate.kind == "topk" else None,
            layered=layered,
            skip=skip,
        )
        self.read, self.written = tuple(read), tuple(written)
        places = tuple(dict.fromkeys([*read, *written]))
        joint = None if splitter is None else _joint(splitter, places, self.written)
        point = JOINT.join(places) if places else None
        super().__init__(joint, model, point, device, random_state=random_state, options={**kept, **options})
        self.history = []
        self.published: dict[str, Any] = dict(kept.get("published") or {})
        self.variance_explained: float | None = None

    @property
    def has_differentiable_displacement(self) -> bool:
        """Return True: what is written is linear in the concepts."""
        return True

    @property
    def first_written(self) -> int:
        """Return the first column of a joint row that is written: those before are only read."""
        return self.concept_model.wiring.first_written

    @abstractmethod
    def _wiring(self, widths: Sequence[int]) -> Wiring:
        """Return the columns of rows of places of these widths."""

    def _train(self, activations: Any, overwrite: bool, options: TrainingOptions, tqdm_bar: bool | None) -> None:
        if self.concept_model.layered and self.concept_model.has_skip:
            raise OptionError(
                "`skip`: skip connections of several layers are read from files, and not learned; pass skip=False."
            )
        given = self.by_place(activations)
        places = tuple(self.split_point.split(JOINT)) if self.split_point else tuple(given)
        self._check_count(places)
        if missing := [place for place in places if place not in given]:
            raise InputError(f"`activations`: holds {', '.join(given)}; {', '.join(missing)} are needed to learn.")
        for place in places:
            self._check_source(given[place], place)
        rows = read_activations(given, JOINT.join(places), self.device)
        if self.is_fitted and not overwrite:
            raise OptionError("`overwrite`: this explainer is already fitted; pass overwrite=True to learn its concepts anew.")
        wiring = self._wiring([int(given[place].shape[1]) for place in places])
        standard = Standard.measured(rows, wiring, places).shared_by(Ranks.of_this_training(options.distributed))
        training = CoderTraining(self.nb_concepts, wiring, self.gate, self.concept_model.has_skip)
        self.history = []
        self.concept_model.forget()
        history = train(training, standard.of(rows), options, self.random_state, tqdm_bar)
        with torch.no_grad():
            widths = wiring.reads if wiring.shared else (*wiring.reads, *wiring.writes)
            self.concept_model.take(standard.folded(training.tensors()), torch.tensor(widths, device=self.device))
        self.history = history

    def by_place(self, activations: Any) -> dict[str, Any]:
        """Return activations by place, from whatever holds those of each.

        Raises:
            InputError: they are of other places, or not of as many.
        """
        if isinstance(activations, Mapping):
            return dict(activations)
        if not isinstance(activations, Sequence) or isinstance(activations, str):
            raise InputError(
                f"`activations`: got {type(activations).__name__}; pass a dictionary by split point, or one tensor for "
                "each place."
            )
        if len(activations) == 2 and all(isinstance(own, Mapping) for own in activations):
            first, second = activations
            return {**first, **{OTHER + name: rows for name, rows in second.items()}}
        names = self.split_point.split(JOINT) if self.split_point else [f"place {i}" for i in range(len(activations))]
        if len(names) < len(activations):
            raise InputError(f"`activations`: got {len(activations)} of them, for {', '.join(names)}.")
        return dict(zip(names, activations, strict=False))

    def _check_source(self, source: Any, place: str) -> None:
        """Refuse what are no activations of a place: of integers, of another shape, or a store of another place or model."""
        named = self.split_point is not None
        read_activations(source, place.removeprefix(OTHER) if named else None, self.device)
        check_model = getattr(source, "check_model", None)
        if callable(check_model) and named and isinstance(self.splitter, JointSplitter):
            splitter, name = self.splitter.home(place)
            check_model(splitter.model, name)

    def _check_count(self, places: Sequence[str]) -> None:
        """Refuse another number of places than the concept model has."""
        wanted = self.concept_model.reads + self.concept_model.writes
        if len(places) != wanted:
            raise InputError(f"`activations`: got {len(places)} places ({', '.join(places)}); {wanted} are read and written.")

    def displacement(
        self, concepts: Float[Tensor, "u c"], activations: Float[Tensor, "u d"] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return ``changed -> (changed − concepts) · dictionary``: nothing, where rows are only read."""
        before = concepts.detach().to(self.device, self.concept_model.dtype)
        dictionary = self.get_dictionary()

        def by(changed: Tensor) -> Tensor:
            m = len(changed) // max(1, len(before))
            return (changed.to(before) - before.repeat(m, 1)) @ dictionary

        return by

    def directions(self, place: str | int = -1) -> Float[Tensor, "c d"]:
        """Return what one unit of each concept writes at a place.

        Args:
            place: Name of a place that is written, or its number among them.

        Raises:
            ModelError: the concepts have not been learned.
            OptionError: nothing is written there.
        """
        self.check_fitted()
        return self.concept_model.wiring.written(self.concept_model.atoms)[self._number(place)]

    def written_at(self) -> dict[str, Float[Tensor, "c d"]]:
        """Return the directions of the concepts at each place of the first model that is written, by its name."""
        self.check_fitted()
        parts = self.concept_model.wiring.written(self.concept_model.atoms)
        named = dict(zip(self.written, parts, strict=True)) if self.written else {}
        return {place: part for place, part in named.items() if not place.startswith(OTHER)}

    def read_by(self, concept: int) -> tuple[str, ...]:
        """Return the places that a concept reads: of layers, its own alone."""
        return (self.read[self._group(concept)],) if self.concept_model.layered else self.read

    def written_by(self, concept: int) -> tuple[str, ...]:
        """Return the places that a concept may write: of layers, its own and those after it."""
        return self.written[self._group(concept) :] if self.concept_model.layered else self.written

    def codes_of(self, concepts: Sequence[int], rows: Float[Tensor, "n w"]) -> Float[Tensor, "n k"]:
        """Compute the codes of some concepts that read the same places, from what these hold.

        Args:
            concepts: Their numbers.
            rows: What `read_by` names, one place after the other.
        """
        self.check_fitted()
        model = self.concept_model
        return model.codes_of(list(concepts), rows.to(self.device, model.dtype))

    def _group(self, concept: int) -> int:
        """Return the number of the group, and of the layer, that a concept is in."""
        return int(concept) // (self.nb_concepts // self.concept_model.wiring.groups)

    def written_rows(self, concepts: Float[Tensor, "n c"], activations: Any = None) -> list[Float[Tensor, "n d"]]:
        """Compute what concepts write, at each written place.

        Args:
            concepts: Amount of each concept in each row.
            activations: What is read, which a skip connection needs.

        Returns:
            A tensor for each written place, in order.
        """
        self.check_fitted()
        model = self.concept_model
        rows = None if activations is None else self.rows(activations)
        return model.wiring.written(model.decode(concepts.to(self.device, model.dtype), rows))

    def errors(self, activations: Any) -> list[Float[Tensor, "n d"]]:
        """Compute what concepts leave unexplained at each written place: the activations less what is written there.

        Raises:
            InputError: the activations of a written place are missing.
        """
        rows = self.rows(activations)
        wiring = self.concept_model.wiring
        if rows.shape[1] != wiring.row_width:
            raise InputError("`activations`: those of the written places are needed too.")
        rebuilt = self.concept_model.decode(self.concept_model.encode(rows), rows)
        return wiring.written(rows[:, wiring.first_written :] - rebuilt)

    def explained(self, activations: Any) -> list[float]:
        """Compute the share of the variance at each written place that concepts explain; at most 1.

        Returns:
            1 − Σ‖error‖² / Σ‖row − mean‖² for each written place, in order.
        """
        errors = self.errors(activations)
        wiring = self.concept_model.wiring
        parts = wiring.written(self.rows(activations)[:, wiring.first_written :])
        return [
            1 - float(error.square().sum() / (part - part.mean(0)).square().sum())
            for error, part in zip(errors, parts, strict=True)
        ]

    def rows(self, activations: Any) -> Float[Tensor, "n w"]:
        """Return joint rows, or the part that is read, on the concepts' device."""
        self.check_fitted()
        given = activations if isinstance(activations, Tensor) else self.by_place(activations)
        if isinstance(given, dict) and self.split_point is None:
            found = read_activations(given, JOINT.join(given), self.device)
        else:
            found = read_activations(given, self.split_point, self.device)
        if found.d not in self.concept_model.row_widths:
            told = " or ".join(map(str, self.concept_model.row_widths))
            raise InputError(f"`activations`: got width {found.d}, and the concepts were learned on {told}.")
        return found.read().to(self.concept_model.dtype)

    def _number(self, place: str | int) -> int:
        """Return the number of a written place."""
        count = len(self.concept_model.wiring.writes)
        if isinstance(place, str):
            if place not in self.written:
                raise OptionError(f"`place`: got {place!r}; written are {', '.join(map(repr, self.written)) or 'numbers'}.")
            return self.written.index(place)
        if not -count <= place < count:
            raise OptionError(f"`place`: got {place}, and {count} places are written.")
        return place % count


def read_places(value: Any, name: str) -> list[str]:
    """Return names of places, from one name, a joint one, or several; none of None.

    Raises:
        OptionError: it is something else, or a place occurs twice.
    """
    if value is None:
        return []
    found = value.split(JOINT) if isinstance(value, str) else list(value) if isinstance(value, Sequence) else [value]
    if not found or not all(isinstance(place, str) for place in found) or len(set(found)) < len(found):
        raise OptionError(f"`{name}`: got {value!r}; pass paths of modules as the splitter names them, each once.")
    return found


def _joint(splitter: Any, places: Sequence[str], written: Sequence[str]) -> JointSplitter:
    """Return the splitter of several places."""
    if isinstance(splitter, JointSplitter):
        splitter = splitter.splitters
    return JointSplitter(splitter if isinstance(splitter, Sequence) else [splitter], places, written)
