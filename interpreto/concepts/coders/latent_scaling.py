"""Latent scaling: how much of a concept's direction a place has, by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.activations import ROWS
from interpreto.concepts.coders.model import Coder
from interpreto.errors import OptionError
from interpreto.validation import check_choice

Target = Literal["error", "reconstruction", "activations"]


@dataclass(frozen=True, eq=False)
class LatentScaling:
    """Scales of concepts at places.

    Attributes:
        scales: β of each concept at each place ``(c, p)``: how much of the concept's strongest direction there is, where 1 is
            as much as the code says; NaN for concepts that no row has.
        strongest: Place at which each concept's direction is largest ``(c,)``.
        target: What was fitted.
    """

    scales: Float[Tensor, "c p"]
    strongest: Int[Tensor, " c"]
    target: str

    @property
    def ratios(self) -> Float[Tensor, "c p"]:
        """Return the scales as shares of that at the strongest place: near 0 where a concept is truly absent."""
        return self.scales / self.scales.gather(1, self.strongest[:, None])


def latent_scaling(model: Coder, rows: Float[Tensor, "n w"], sizes: Float[Tensor, "c p"], target: str) -> LatentScaling:
    """Fit each concept's strongest direction to what each place has, in units of the typical size of activations there.

    For the code z of a concept with the direction d, β = Σ z⟨y, d⟩ / (Σ z² ‖d‖²).

    Args:
        model: A crosscoder.
        rows: Joint rows.
        sizes: Norm of each concept's direction at each place, in these units.
        target: See `CrosscoderConcepts.latent_scaling`.

    Raises:
        OptionError: there is no such target, or the places have different widths.
    """
    check_choice(target, "target", get_args(Target))
    widths = set(model.wiring.writes)
    if len(widths) > 1:
        raise OptionError(
            f"`activations`: the places have widths {sorted(widths)}; a direction has a meaning at one of them only."
        )
    units, strongest = model.units.double(), sizes.argmax(1)
    own = torch.stack(model.wiring.written(model.atoms.double())) / units[:, None, None]
    best = own.permute(1, 0, 2)[torch.arange(len(strongest)), strongest]
    products = torch.zeros_like(sizes, dtype=torch.float64)
    squares = products.new_zeros(len(sizes))
    for batch in rows.split(ROWS):
        with torch.no_grad():
            codes = model.encode(batch)
            rebuilt = model.decode(codes, batch)
        values = {"error": batch - rebuilt, "reconstruction": rebuilt, "activations": batch}[target].double()
        codes = codes.double()
        squares += codes.square().sum(0)
        for place, part in enumerate(model.wiring.written(values)):
            products[:, place] += (codes * (part / units[place] @ best.T)).sum(0)
    if target == "error":  # what the concept itself writes is no error
        products += squares[:, None] * (own * best).sum(2).T
    return LatentScaling(products / (squares * best.square().sum(1))[:, None], strongest, target)
