"""Models of images as models of ids: cells of pixels take the place of tokens, and their table that of the embedding layer."""

from __future__ import annotations

import inspect
import math
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import InputError, ModelError
from interpreto.inputs.image_processors import is_image_processor
from interpreto.inputs.pictures import Picture, parts_of, picture_of
from interpreto.models.attention import AttentionMap, AttentionReader
from interpreto.models.devices import device_of
from interpreto.models.watching import watching

PIXELS_A_PASS = 2**20
"""About how many pixels a forward pass reads, so that rows of small images are many and those of large ones few."""
USUAL = 224
MOST_ROWS = 128
MOST_EXTRA = 16  # class tokens and registers before those of patches
TEXT_INPUTS = ("input_ids", "inputs_embeds")


def reads_images(model: Any, processor: Any = None) -> bool:
    """Return True if a model reads images: it says so, or it is given an image processor, or a function in its place."""
    if not isinstance(model, nn.Module):
        return False
    if isinstance(model, ImageModel):
        return True
    named = getattr(model, "main_input_name", None)
    if named == "pixel_values" and "input_ids" not in _parameters(model):
        return True
    if is_image_processor(processor) and not hasattr(processor, "convert_ids_to_tokens"):
        return not hasattr(processor, "tokenizer") or named == "pixel_values"
    plain = getattr(model, "config", None) is None and not any(name in _parameters(model) for name in TEXT_INPUTS)
    is_tokenizer = hasattr(processor, "convert_ids_to_tokens") or hasattr(processor, "tokenizer")
    return plain and not is_tokenizer and callable(processor) and not isinstance(processor, nn.Module | type)


def _parameters(model: nn.Module) -> list[str]:
    return list(inspect.signature(model.forward).parameters)


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the type of a model's numbers."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


class Cells(nn.Module):
    """The table of all cells of pixels, by id."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = [model]  # not a part of this module

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Return the pixels of cells; rows of images with smaller cells end in zeros."""
        device = device_of(self._model[0]) or ids.device
        numbers, kinds, places = (part.flatten().cpu() for part in parts_of(ids))
        pictures = {number: picture_of(number) for number in numbers.unique().tolist()}
        width = max(picture.width for picture in pictures.values())
        out = torch.zeros(len(places), width, device=device, dtype=torch.promote_types(dtype_of(self._model[0]), torch.float32))
        for number, picture in pictures.items():
            for kind in kinds[numbers == number].unique().tolist():
                there = ((numbers == number) & (kinds == kind)).nonzero()[:, 0]
                out[there.to(device), : picture.width] = picture.table(kind, device)[places[there].to(device)].to(out)
        return out.view(*ids.shape, width)


class ImageModel(nn.Module):
    """Read ids of cells, and run an image model on their pixels.

    Args:
        model: A model of transformers that takes ``pixel_values``, or any module from a batch of images ``(b, c, h, w)`` to
            logits ``(b, classes)``. Held as it is.

    Attributes:
        fixed_length: Rows of different lengths are never padded to share a batch.
    """

    fixed_length = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.cells = model, Cells(model)
        self.training = False  # of this module alone
        self.cells.training = False
        self._tokens: dict[tuple[int, ...], int] = {}
        self._named = "pixel_values" in _parameters(model)
        config = getattr(model, "config", None)
        names = ("id2label", "problem_type", "name_or_path", "image_size", "patch_size")
        self.config = SimpleNamespace(
            **{name: getattr(config, name, None) for name in names}, pad_token_id=None, is_encoder_decoder=False
        )

    @property
    def explained(self) -> nn.Module:
        """Return the user's model."""
        return getattr(self.model, "explained", self.model)

    @property
    def rows_a_pass(self) -> int:
        """Return how many rows a forward pass holds, by the size of the model's images."""
        return rows_of_size(self.config.image_size)

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of cells."""
        return self.cells

    def forward(self, input_ids: Int[Tensor, "b l"], attention_mask: Tensor | None = None) -> SimpleNamespace:
        """Return the logits of the images whose cells are given."""
        numbers, kinds, places = parts_of(input_ids.cpu())
        picture = picture_of(int(numbers[0, 0]))
        plain = not self.cells._forward_hooks and not self.cells._forward_pre_hooks  # nothing moves or watches the cells
        if (
            plain
            and bool((numbers == numbers[0, 0]).all())
            and places.shape[1] == picture.cells  # rows of activations have a place for the class token too
            and torch.equal(places, torch.arange(picture.cells).expand_as(places))
        ):
            return SimpleNamespace(logits=self._logits(picture.drawn(kinds, device_of(self.model) or input_ids.device)))
        cells, numbers = self.cells(input_ids), numbers[:, 0]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        pictures = [picture_of(number) for number in numbers.tolist()]
        for row, picture in enumerate(pictures):
            by_shape.setdefault(tuple(picture.pixels.shape), []).append(row)
        if len(by_shape) == 1:
            return SimpleNamespace(logits=self._logits(pixels_of(pictures, cells)))
        parts = [self._logits(pixels_of([pictures[row] for row in rows], cells[rows])) for rows in by_shape.values()]
        order = torch.tensor([row for rows in by_shape.values() for row in rows], device=cells.device)
        return SimpleNamespace(logits=torch.cat(parts)[order.argsort()])

    def tokens_of(self, ids: Int[Tensor, "b l"]) -> int:
        """Return how many tokens the model makes of an image, class tokens included; measured once per size of image."""
        shape = tuple(picture_of(int(parts_of(ids[0, :1])[0])).pixels.shape)
        if shape not in self._tokens:
            self._tokens[shape] = first_map(self, ids[:1].to(device_of(self.model) or ids.device))
        return self._tokens[shape]

    def of_cells(self, picture: Picture, rows: Float[Tensor, "t q"]) -> Float[Tensor, "t l"]:
        """Return the mean over each cell's pixels of the values of the tokens that they are in; class tokens come first.

        Raises:
            ModelError: the tokens are no grid of patches.
        """
        (_, h, w), patch = picture.pixels.shape, self.config.patch_size
        if patch is None:
            m = n = math.isqrt(rows.shape[1])
            sides = h // m, w // n
        else:
            sides = patch if isinstance(patch, (list, tuple)) else (patch, patch)
            m, n = h // sides[0], w // sides[1]
        if not 0 <= rows.shape[1] - m * n <= MOST_EXTRA:
            raise ModelError(
                f"`model`: {type(self.model).__name__} attends with {rows.shape[1]} tokens, and the image has {m} × {n} "
                "patches; use a method that masks units or reads gradients."
            )
        grid = rows[:, rows.shape[1] - m * n :].reshape(len(rows), 1, m, n)
        pixels = grid.repeat_interleave(sides[0], 2).repeat_interleave(sides[1], 3)
        pixels = torch.nn.functional.pad(pixels, (0, w - pixels.shape[3], 0, h - pixels.shape[2]))
        return picture.pooled(pixels[:, 0])

    def _logits(self, pixels: Float[Tensor, "b c h w"]) -> Tensor:
        """Return what the model makes of pixels."""
        parameter = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        given = pixels if parameter is None else pixels.to(parameter.dtype)
        try:
            output = self.model(pixel_values=given) if self._named else self.model(given)
        except (RuntimeError, ValueError, TypeError) as error:
            if any(
                said in str(error) for said in ("doesn't match model", "shapes cannot be multiplied", "channel", "to match")
            ):
                raise InputError(
                    f"`inputs`: {type(self.model).__name__} does not read images of shape {tuple(pixels.shape[1:])} "
                    f"({str(error).splitlines()[0]:.120}); let its processor make them."
                ) from error
            raise
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if logits is None and isinstance(output, (tuple, list)) and isinstance(output[0], Tensor):
            logits = output[0]
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise ModelError(
                f"`model`: {type(self.model).__name__} returns no row of logits per image; load it with its classification "
                "head (AutoModelForImageClassification)."
            )
        return logits


def rows_of_size(size: Any) -> int:
    """Return how many rows a forward pass holds of images of a size, as a config has it; None: not known."""
    size = size or USUAL
    sides = size if isinstance(size, (list, tuple)) else (size, size)
    return max(1, min(MOST_ROWS, PIXELS_A_PASS // (sides[0] * sides[1])))


def first_map(model: nn.Module, ids: Int[Tensor, "1 l"]) -> int:
    """Return how many tokens attend to each other in the first layer of attention.

    Raises:
        ModelError: there is none, or it is within windows.
    """
    found: list[int] = []

    def see(layer: AttentionMap) -> Tensor:
        found.append(layer.weights.shape[-2])
        return layer.weights

    reader = AttentionReader(model, 1, visit=see)
    with torch.no_grad(), watching(model, reader):
        model(ids)
    reader.checked()
    return found[0]


def pixels_of(pictures: list[Picture], cells: Float[Tensor, "b l d"]) -> Float[Tensor, "b c h w"]:
    """Return the pixels of rows of cells, each in the order of its own picture."""
    first = pictures[0]
    if all(picture is first for picture in pictures):
        return first.to_pixels(cells)
    found: list[Tensor | None] = [None] * len(pictures)
    for picture in dict.fromkeys(pictures):
        rows = [row for row, other in enumerate(pictures) if other is picture]
        for row, pixels in zip(rows, picture.to_pixels(cells[rows]), strict=True):
            found[row] = pixels
    return torch.stack([pixels for pixels in found if pixels is not None])
