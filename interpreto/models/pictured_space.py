"""The space of an image's cells and a text's tokens: where a baseline's name points, and what may replace units of either."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, OptionError
from interpreto.inputs.pictures import of_kind
from interpreto.inputs.samples import Readout, Sample
from interpreto.models.embeddings import Baseline, InputSpace
from interpreto.models.forward import Forward
from interpreto.models.image_space import IMAGE_REPLACEMENTS, NO_VOCABULARY
from interpreto.models.pictured_models import PicturedModel, are_cells
from interpreto.models.rows import Rows, plain_rows
from interpreto.validation import shown


class PicturedSpace(InputSpace):
    """Look up the vectors of cells and tokens, and baselines of both.

    A name is of the image's pixels; the embeddings of tokens are then zero for ``"zero"``, and else the mean of the table.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self._mean: Tensor | None = None

    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the vectors of a sample's ids."""
        return self.rows(sample.input_ids, sample)

    def rows(self, ids: Int[Tensor, " l"], sample: Sample) -> Float[Tensor, "l d"]:
        """Return the vectors of other ids in the places of a sample's."""
        if sample.picture is None:
            raise InputError("`inputs`: got a sample of a text, and the model reads an image with it.")
        return self.forward.embeddings.embed(ids)

    def table(self, ids: Int[Tensor, " l"]) -> Float[Tensor, "l d"]:
        """Return the vectors of ids."""
        return self.forward.embeddings.embed(ids)

    def vector(self, name: str, width: int | None = None) -> Float[Tensor, " d"]:
        """Return the vector that tokens have under a name of `IMAGE_REPLACEMENTS`, as wide as asked for."""
        found = self._mean_embedding()
        found = torch.zeros_like(found) if name == "zero" else found
        return found if width is None else torch.nn.functional.pad(found, (0, width - len(found)))

    def _mean_embedding(self) -> Float[Tensor, " d"]:
        model = self.forward.model
        assert isinstance(model, PicturedModel)
        if (found := self._mean) is None:
            layer = model.vectors.layer
            size: Any = getattr(layer, "num_embeddings", None) or next(len(p) for p in layer.parameters() if p.ndim == 2)
            with torch.no_grad():
                sums = [model.vectors.tokens(part).sum(0) for part in torch.arange(size).split(8192)]
            self._mean = found = torch.stack(sums).sum(0) / size
        return found

    def baseline(self, value: Baseline, embeddings: Float[Tensor, "l d"], sample: Sample | None = None) -> Float[Tensor, "l d"]:
        """Return the baseline that an option asks for, for every cell and token."""
        if isinstance(value, str):
            assert sample is not None and sample.picture is not None, "a name is of the sample's image"
            count = sample.picture.cells
            seen = self.rows(of_kind(sample.input_ids[:count], value), sample).to(embeddings)
            seen = torch.nn.functional.pad(seen, (0, embeddings.shape[1] - seen.shape[1]))
            words = self.vector(value, embeddings.shape[1]).to(embeddings)
            return torch.cat([seen, words.expand(len(embeddings) - count, -1)])
        value = torch.as_tensor(value, dtype=embeddings.dtype, device=embeddings.device)
        if value.ndim and value.shape != embeddings.shape:
            raise OptionError(
                f"`baseline`: got shape {tuple(value.shape)}; pass a name ({', '.join(map(repr, IMAGE_REPLACEMENTS))}), a "
                f"number or {tuple(embeddings.shape)}."
            )
        return value.expand_as(embeddings)

    @property
    def size(self) -> int:
        """Raise: cells have no vocabulary.

        Raises:
            OptionError: always.
        """
        raise OptionError(NO_VOCABULARY)


@dataclass(frozen=True, eq=False)
class PicturedReplacement:
    """Replacement of masked units: of cells by other pixels, of tokens by an embedding; see `PicturedSpace`."""

    name: str
    vector: Float[Tensor, " d"] | None = None
    space: PicturedSpace | None = None
    token_id: None = None

    def ready(self, space: PicturedSpace) -> PicturedReplacement:
        """Return the replacement with its embedding."""
        return replace(self, space=space, vector=space.vector(self.name))

    def rows(self, sample: Sample, mask: Float[Tensor, "r u"], readout: Readout | None = None) -> Rows:
        """Return the perturbed inputs of ``sample`` under ``mask``."""
        plain = plain_rows(sample, len(mask), readout)
        length = plain.ids.shape[1]
        masked = sample.units.spread(mask).bool()[:, :length]
        masked = torch.nn.functional.pad(masked, (0, length - masked.shape[1]))  # the readout's suffix is never masked
        cells = are_cells(plain.ids)
        ids = torch.where(masked & cells, of_kind(plain.ids, self.name), plain.ids)
        return replace(plain, ids=ids, replaced=masked & ~cells)


def read_pictured_replacement(value: Any) -> PicturedReplacement:
    """Return the replacement of an option; ``auto`` is the image's mean color, and the mean embedding.

    Raises:
        OptionError: there is no such replacement.
    """
    if value == "auto":
        return PicturedReplacement("mean")
    if not isinstance(value, str) or value not in IMAGE_REPLACEMENTS:
        raise OptionError(
            f"`replacement`: got {shown(value)}; units of an image and its text are replaced by "
            f"{', '.join(map(repr, IMAGE_REPLACEMENTS))}; pass one of these."
        )
    return PicturedReplacement(value)
