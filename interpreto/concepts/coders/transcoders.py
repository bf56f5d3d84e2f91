"""Explainers of concepts by transcoders: of one place, and across layers."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import torch

from interpreto.aliases import aliases
from interpreto.concepts.coders.base import CoderConcepts, read_places
from interpreto.concepts.coders.joint_splitter import JointSplitter
from interpreto.concepts.coders.wiring import Wiring
from interpreto.errors import ModelError, OptionError
from interpreto.validation import check_flag


class LayerConcepts(CoderConcepts, ABC):
    """Base of concepts that are written elsewhere than they are read."""

    def decode_concepts(self, concepts: Any, activations: Any = None) -> NoReturn:
        """Raise an error that says what these concepts give instead of the rows that they are read from."""
        raise ModelError(
            f"A {type(self).__name__} does not reconstruct the rows that it reads, so that metrics of reconstructions are not "
            "defined; see written_rows(concepts, activations), errors(activations) and explained(activations)."
        )


class TranscoderConcepts(LayerConcepts):
    """Concepts that are read at one place and written at another, such as the input and the output of an MLP.

    ``y ≈ D z(x) + c``, with ``S x`` added where ``skip=True``: sparse concepts of what a layer computes, not of what passes
    through it. A concept is read where `split_point` is, and its effects on outputs, steering and directions are where
    ``writes_to`` is; there, everything that concepts do not explain stays as it is.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import TranscoderConcepts
        >>> model, tokenizer = demo.load_classifier()
        >>> mlp = ["bert.encoder.layer.1.intermediate:input", "bert.encoder.layer.1.output.dense"]
        >>> splitter = ModelWithSplitPoints(model, mlp, tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:40]]
        >>> transcoder = TranscoderConcepts(splitter, nb_concepts=32, k=4).fit(splitter.get_activations(texts), nb_epochs=2)
        >>> transcoder.read, transcoder.written
        (('bert.encoder.layer.1.intermediate:input',), ('bert.encoder.layer.1.output.dense',))
        >>> tuple(transcoder.inputs_to_concepts("A charming film.").shape), tuple(transcoder.directions().shape)
        ((4, 32), (32, 128))

    References:
        Dunefsky, Chlenski and Nanda, NeurIPS 2024, https://arxiv.org/abs/2406.11944; the skip connection, Paulo, Shabalin
        and Belrose, 2025, https://arxiv.org/abs/2501.18823
    """

    own_defaults: ClassVar = {}

    @aliases(model_with_split_points="splitter")
    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        writes_to: str | None = None,
        skip: bool = False,
        **options: Any,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: A splitter with both places; None to work on activations alone.
            nb_concepts: Number of concepts.
            split_point: The place that is read; None: the splitter's only other one.
            device: Device of the concept model.
            random_state: Seed of everything that is drawn.
            writes_to: The place that is written; None: the splitter's last one.
            skip: Learn a linear map of what is read as well.
            **options: Options that all coders have.
        """
        read, written = _ends(splitter, read_places(split_point, "split_point"), read_places(writes_to, "writes_to"))
        if len(read) > 1 or len(written) > 1:
            raise OptionError(
                f"`split_point`: got {', '.join(read)} and {', '.join(written)}; a transcoder reads one place and writes one. "
                "See CrossLayerTranscoderConcepts."
            )
        super().__init__(
            splitter,
            nb_concepts,
            options,
            read=read,
            written=written,
            reads=1,
            writes=1,
            device=device,
            random_state=random_state,
            skip=check_flag(skip, "skip"),
            options={
                "writes_to": written[0] if written else None,
                "skip": skip,
            },
        )

    def _wiring(self, widths: Sequence[int]) -> Wiring:
        return Wiring((widths[0],), tuple(widths[1:]))


class CrossLayerTranscoderConcepts(LayerConcepts):
    """Concepts of each layer that write to this and to all later layers.

    With L layers the concepts are in L equal groups: those of the l-th group read the l-th place of ``split_point``, and
    write to the l-th place of ``writes_to`` and those after it, ``y_m ≈ Σ_{l ≤ m} D_lm z_l + c_m``. What a layer adds to an
    earlier one's concept, again and again, is then one concept. Effects on outputs hold what all written places are given.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import CrossLayerTranscoderConcepts
        >>> x, y = (torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
        >>> coder = CrossLayerTranscoderConcepts(None, nb_concepts=8, layers=2, k=2).fit([*x, *y], nb_epochs=1)
        >>> [int(coder.directions(layer).norm(dim=1).count_nonzero()) for layer in (0, 1)]
        [4, 8]

    References:
        Ameisen et al., 2025, https://transformer-circuits.pub/2025/attribution-graphs/methods.html
    """

    own_defaults: ClassVar = {}

    @aliases(model_with_split_points="splitter")
    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        writes_to: Sequence[str] | None = None,
        layers: int | None = None,
        skip: bool = False,
        **options: Any,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: A splitter with all places; None to work on activations alone.
            nb_concepts: Number of concepts of all layers together: a multiple of the number of layers.
            split_point: The places that are read, in the order of the layers.
            device: Device of the concept model.
            random_state: Seed of everything that is drawn.
            writes_to: The places that are written, in the order of the layers.
            layers: Number of layers, where no places are named.
            skip: Each layer also writes a linear map of what it reads, as some published ones do; read from files only.
            **options: Options that all coders have.
        """
        written = read_places(writes_to, "writes_to")
        read = [place for place in read_places(split_point, "split_point") if place not in written]
        count = len(written) or layers
        if count is None or len(read) != len(written) or layers not in (None, count):
            raise OptionError(
                f"`writes_to`: got {len(written)} places, {len(read)} that are read, and layers={layers}; pass as many places "
                "of both, one for each layer, or the number of layers."
            )
        super().__init__(
            splitter,
            nb_concepts,
            options,
            read=read,
            written=written,
            reads=count,
            writes=count,
            device=device,
            random_state=random_state,
            layered=True,
            skip=check_flag(skip, "skip"),
            options={
                "writes_to": written or None,
                "layers": count,
                "skip": skip,
            },
        )

    def layer_of(self, concept: int) -> int:
        """Return the number of the layer that a concept reads, from 0."""
        return int(concept) // (self.nb_concepts // self.concept_model.reads)

    def _wiring(self, widths: Sequence[int]) -> Wiring:
        count = self.concept_model.reads
        return Wiring(tuple(widths[:count]), tuple(widths[count:]), layered=True)


def _ends(splitter: Any, read: list[str], written: list[str]) -> tuple[list[str], list[str]]:
    """Return the places that are read and written, the missing ones as a splitter of two places has them."""
    points = list(splitter.places if isinstance(splitter, JointSplitter) else getattr(splitter, "split_points", []))
    if splitter is not None and not written:
        written = [point for point in points if point not in read][-1:]
    read = [place for place in read if place not in written]
    if splitter is not None and not read:
        read = [point for point in points if point not in written]
    if len(read) != len(written) or (splitter is not None and not read):
        raise OptionError(
            f"`split_point`: got {', '.join(read) or 'none'} to read and {', '.join(written) or 'none'} to write; pass a "
            "splitter with both places, and name them by split_point and writes_to."
        )
    return read, written
