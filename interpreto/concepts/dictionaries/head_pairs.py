"""Attention heads read in the vocabulary: which tokens see which, and what seeing one makes likelier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.concepts.output_names import name_of_token
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import ModelError, OptionError
from interpreto.models.attention_heads import HeadMatrices, head_matrices
from interpreto.models.linear_maps import matrix_of
from interpreto.models.loading import load_for_splitter
from interpreto.validation import check_choice, check_count, is_whole

CIRCUITS = ("ov", "qk")
SIDES = ("top", "bottom")
SCORES = 2**24  # pairs whose scores are held at once


@dataclass(frozen=True)
class TokenPair:
    """Two tokens and what a head makes of them.

    Attributes:
        first: The token that is seen (``"ov"``), or the token that looks (``"qk"``).
        second: The token whose logit rises (``"ov"``), or the token that is looked at (``"qk"``).
        score: Entry of the head's matrix between the two.
    """

    first: str
    second: str
    score: float


def head_pairs(
    model: Any, block: int, head: int, circuit: str = "ov", *, tokenizer: Any = None, k: int = 10, side: str = "top"
) -> list[TokenPair]:
    """Return the pairs of tokens that an attention head connects most, read from its weights alone.

    With embeddings ``E`` and rows ``U`` of the output layer, ``"ov"`` reads ``E W_V W_O Uᵀ``: what seeing the first token adds
    to the logit of the second. ``"qk"`` reads ``E W_Q W_Kᵀ Eᵀ / √r``: how much the first attends to the second. Biases,
    normalizations and positions are left out, so this holds best where little comes between: in first blocks. The matrix of
    all pairs is never held: its largest entries are kept while it is computed in parts.

    Args:
        model: A language model, a splitter of one, or its name.
        block: Number of the block; ``-1``: the last.
        head: Number of the head.
        circuit: ``"ov"`` or ``"qk"``.
        tokenizer: The model's tokenizer, where a model is given.
        k: Number of pairs.
        side: ``"top"``: the largest entries; ``"bottom"``: the smallest.

    Returns:
        Pairs, the most extreme first. Special tokens are in none.

    Raises:
        ModelError: the model has no output layer over a vocabulary, or its attention no matrices per head.
        OptionError: there is no such block or head, or an option is out of range.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts import head_pairs
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> _, tokenizer = demo.load_classifier()
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=2, n_head=2))
        >>> len(head_pairs(model, block=1, head=0, circuit="qk", tokenizer=tokenizer, k=3))
        3

    References:
        Dar, Geva, Gupta and Berant, ACL 2023, https://arxiv.org/abs/2209.02535
    """
    check_choice(circuit, "circuit", CIRCUITS)
    check_choice(side, "side", SIDES)
    check_count(k, "k")
    model, tokenizer = (
        (model.model, model.tokenizer) if isinstance(model, ModelSplitter) else load_for_splitter(model, tokenizer, None, None)
    )
    inputs, outputs = _vocabulary(model)
    matrices = head_matrices(model, tokenizer, block)
    if not is_whole(head) or not 0 <= head < len(matrices.queries):
        raise OptionError(f"`head`: got {head!r}; pass 0 to {len(matrices.queries) - 1}.")
    left, right = _sides(matrices, int(head), circuit, inputs, outputs)
    special = set(tokenizer.all_special_ids)
    ids = torch.tensor([i for i in range(min(len(tokenizer), len(left), len(right))) if i not in special])
    sign = 1 if side == "top" else -1
    values, rows, columns = top_products(sign * left[ids], right[ids], k)
    pairs = zip(values.tolist(), ids[rows].tolist(), ids[columns].tolist(), strict=True)
    return [TokenPair(name_of_token(tokenizer, i), name_of_token(tokenizer, j), sign * value) for value, i, j in pairs]


@torch.no_grad()
def top_products(
    left: Float[Tensor, "n r"], right: Float[Tensor, "m r"], k: int, held: int = SCORES
) -> tuple[Float[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Return the largest entries of ``left rightᵀ``, with their rows and columns, without holding all of it.

    Args:
        left: Rows.
        right: Columns.
        k: Number of entries.
        held: Most entries that are held at once, except that a row is always whole.
    """
    m = len(right)
    values, at = left.new_empty(0), torch.empty(0, dtype=torch.long)
    step = max(1, held // max(1, m))
    for start in range(0, len(left), step):
        part = (left[start : start + step] @ right.T).flatten()
        best = part.topk(min(k, len(part)))
        values, at = torch.cat([values, best.values]), torch.cat([at, best.indices + start * m])
        kept = values.topk(min(k, len(values))).indices
        values, at = values[kept], at[kept]
    return values, at // m, at % m


def _vocabulary(model: nn.Module) -> tuple[Float[Tensor, "v d"], Float[Tensor, "v d"]]:
    """Return the embedding of each token, and the row by which the output layer reads it."""
    embed: Any = getattr(model, "get_input_embeddings", lambda: None)()
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    weight = getattr(embed, "weight", None)
    if not isinstance(head, nn.Module) or not isinstance(weight, Tensor):
        raise ModelError(
            f"`model`: {type(model).__name__} has no output layer over a vocabulary, so that its heads cannot be read in it."
        )
    with torch.no_grad():
        inputs = embed(torch.arange(len(weight), device=weight.device)).float().cpu()
    return inputs, matrix_of(head, inputs.shape[1])[0].T


def _sides(
    matrices: HeadMatrices, head: int, circuit: str, inputs: Float[Tensor, "v d"], outputs: Float[Tensor, "v d"]
) -> tuple[Float[Tensor, "v r"], Float[Tensor, "v r"]]:
    """Return two factors of the head's matrix between tokens."""
    if circuit == "ov":
        return inputs @ matrices.values[head], outputs @ matrices.outputs[head].T
    queries = matrices.queries[head]
    return inputs @ queries / queries.shape[1] ** 0.5, inputs @ matrices.keys[head]
