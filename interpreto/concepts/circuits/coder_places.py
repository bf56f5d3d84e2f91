"""Places of circuits of transcoders: where a text enters the model, where concepts are read, and where they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.concepts.circuits.parts import ERROR
from interpreto.concepts.circuits.tokens import place_name
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import INPUT, HookPoint, block_list, find_hook_points
from interpreto.models.several_edits import in_order
from interpreto.models.sublayer_points import sublayer_points

EMBEDDING = "embedding"
"""Name of what a text enters the first block as."""


@dataclass(frozen=True, eq=False)
class Group:
    """Concepts of a transcoder that read one place: all of them, or those of one layer.

    Attributes:
        coder: The transcoder.
        number: Number of the group in it.
        read: The place that is read.
        written: Number among the places of the coder, of each place of the circuit that is written.
    """

    coder: CoderConcepts
    number: int
    read: HookPoint
    written: Mapping[int, int]

    @property
    def home(self) -> int:
        """Return the place of the circuit where the concepts stand: the first that they write."""
        return min(self.written)

    @property
    def first(self) -> int:
        """Return the number of its first concept."""
        return self.number * self.size

    @property
    def size(self) -> int:
        """Return the number of its concepts."""
        return self.coder.nb_concepts // self.coder.concept_model.wiring.groups

    def encoder(self, chosen: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """Return the encoder's weight and bias of some of its concepts."""
        model = self.coder.concept_model
        return model.encoder_weight[self.first + chosen], model.encoder_bias[self.first + chosen]

    def directions(self, place: int, chosen: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Return what some of its concepts write at a place of the circuit."""
        model = self.coder.concept_model
        return model.wiring.written(model.atoms)[self.written[place]][self.first + chosen]


@dataclass(frozen=True, eq=False)
class CoderPlace:
    """A place of the model whose activations are nodes of the circuit.

    Attributes:
        point: Where.
        name: Its name.
        layer: Beginning of the names of its concepts.
        rest: Name of what no concept explains there: the error, all of a feed-forward layer, or the embedding.
        home: The concepts that stand here; None: there are none.
        writers: The concepts that write here.
    """

    point: HookPoint
    name: str
    layer: str
    rest: str
    home: Group | None
    writers: tuple[Group, ...]


@dataclass(frozen=True, eq=False)
class CoderPlaces:
    """All places of a circuit of transcoders.

    Attributes:
        places: Where the text enters, and then the places that are written, in the order of the model.
        points: All places that are read or written, in this order.
    """

    places: tuple[CoderPlace, ...]
    points: tuple[HookPoint, ...]

    @staticmethod
    def of(splitter: TokenSplitter, coders: Sequence[CoderConcepts], row: SplitInput) -> CoderPlaces:
        """Find the places of a model.

        Args:
            splitter: The model.
            coders: Its transcoders.
            row: A text, by which the order of the places is found.

        Raises:
            OptionError: two transcoders write one place, or one writes before it reads.
            ModelError: what a block without a transcoder adds is not found, or blocks run several times.
        """
        model, recorder = splitter.model, splitter.recorder
        path, blocks = block_list(model)
        _check_depth(model, len(blocks))
        ends = [(find_hook_points(model, coder.read), find_hook_points(model, coder.written)) for coder in coders]
        names = [point.name for _, written in ends for point in written]
        for name in names:
            if names.count(name) > 1:
                raise OptionError(f"`explainers`: two of them write {name!r}; pass one transcoder for each place.")
        bare = _feed_forward(recorder, row, names)
        (start,) = find_hook_points(model, [f"{path}.0{INPUT}"])
        every = {point.name: point for read, written in ends for point in (*read, *written)}
        every |= {start.name: start} | {point.name: point for point in bare.values()}
        points = in_order(recorder, row, list(every.values()))
        order = [point.name for point in points]
        if order[0] != start.name:
            raise OptionError(
                f"`explainers`: {order[0]!r} is reached before the first block; circuits begin at {start.name!r}."
            )
        found = [point for point in points if point.name in {*names, *(p.name for p in bare.values())}]
        numbers = {point.name: i + 1 for i, point in enumerate(found)}
        groups = [group for coder, own in zip(coders, ends, strict=True) for group in _groups(coder, *own, numbers, order)]
        homes = {group.home: group for group in groups}
        layers = _layer_names([place_name(point.name) for point in found])
        given = {point.name: name for name, point in bare.items()}
        places = [CoderPlace(start, EMBEDDING, EMBEDDING, EMBEDDING, None, ())]
        for number, (point, layer) in enumerate(zip(found, layers, strict=True), 1):
            writers = tuple(group for group in groups if number in group.written)
            rest = given.get(point.name, f"{layer} {ERROR}")
            places.append(CoderPlace(point, place_name(point.name), layer, rest, homes.get(number), writers))
        return CoderPlaces(tuple(places), tuple(points))


def _check_depth(model: nn.Module, blocks: int) -> None:
    """Refuse a model that runs its blocks several times, of which only the first run would be replaced."""
    config = getattr(model, "config", None)
    depth = getattr(getattr(config, "get_text_config", lambda: config)(), "num_hidden_layers", blocks)
    if isinstance(depth, int) and depth > blocks:
        raise ModelError(
            f"`splitter`: {type(model).__name__} runs {blocks} blocks in {depth} layers; circuits of transcoders need "
            "a block for each layer."
        )


def _groups(
    coder: CoderConcepts,
    read: Sequence[HookPoint],
    written: Sequence[HookPoint],
    numbers: Mapping[str, int],
    order: Sequence[str],
) -> list[Group]:
    """Return the groups of a transcoder, each of which writes after it has read."""
    found = []
    for number, point in enumerate(read):
        later = {numbers[place.name]: m for m, place in enumerate(written) if m >= number}
        for place in written[number:]:
            if order.index(place.name) <= order.index(point.name):
                raise OptionError(
                    f"`explainers`: {place.name!r} is written before {point.name!r} is read; name the read one first."
                )
        found.append(Group(coder, number, point, later))
    if any(numbers[a.name] >= numbers[b.name] for a, b in pairwise(written)):
        raise OptionError(f"`explainers`: the written places {[p.name for p in written]} are not in the order of the model.")
    return found


def _feed_forward(recorder: ActivationRecorder, row: SplitInput, written: Sequence[str]) -> dict[str, HookPoint]:
    """Return the feed-forward layers that no transcoder writes, by their names as nodes."""
    path, blocks = block_list(recorder.model)

    def covered(number: int) -> bool:
        block = f"{path}.{number}"
        inside = [name.removeprefix(block) for name in written if name == block or name.startswith(f"{block}.")]
        return any("att" not in name.casefold() for name in inside)

    bare = [number for number in range(len(blocks)) if not covered(number)]
    if not bare:
        return {}
    found = {}
    for number, points in enumerate(sublayer_points(recorder, row)):
        if number not in bare:
            continue
        if points.feed_forward is None:
            raise ModelError(
                f"`explainers`: no feed-forward layer was found in {path}.{number}, which has no transcoder; pass one that "
                "writes there."
            )
        found[f"layer {number} feed-forward"] = points.feed_forward
    return found


def _layer_names(names: Sequence[str]) -> list[str]:
    """Return the layers of places, such as ``"layer 3"``; whole names where two places are in one layer."""
    short = [" ".join(name.split()[:2]) if name.startswith("layer ") else name for name in names]
    return short if len(set(short)) == len(short) else list(names)
