"""Functions of torch by the backward rule that they have, and those that have none."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from interpreto.models.secants import ELEMENTWISE_PRODUCTS, MATRIX_PRODUCTS, Function

PRODUCTS: frozenset[Function] = MATRIX_PRODUCTS | ELEMENTWISE_PRODUCTS | {torch.einsum}
ACTIVATIONS: frozenset[Function] = frozenset(
    {
        *(F.gelu, F.silu, F.relu, torch.relu, Tensor.relu, F.elu, F.leaky_relu, F.relu6, F.mish, F.hardswish, F.celu, F.selu),
        *(torch.tanh, Tensor.tanh, F.tanh, torch.sigmoid, Tensor.sigmoid, F.sigmoid, F.softplus),
    }
)
SOFTMAX: frozenset[Function] = frozenset({F.softmax, torch.softmax, Tensor.softmax})
POWERS: frozenset[Function] = frozenset({torch.pow, Tensor.pow, Tensor.__pow__})
SQUARES: frozenset[Function] = frozenset({torch.square, Tensor.square})
INVERSE_ROOTS: frozenset[Function] = frozenset({torch.rsqrt, Tensor.rsqrt})
ELEMENTWISE: frozenset[Function] = frozenset(
    {
        *(*ACTIVATIONS, *SQUARES, *INVERSE_ROOTS, F.logsigmoid, torch.sqrt, Tensor.sqrt, torch.exp, Tensor.exp),
        *(torch.log, Tensor.log, torch.log1p, Tensor.log1p, torch.expm1, Tensor.expm1, torch.reciprocal, Tensor.reciprocal),
        *(torch.abs, Tensor.abs, torch.erf, Tensor.erf, torch.sin, Tensor.sin, torch.cos, Tensor.cos),
        *(torch.clamp, Tensor.clamp),
    }
)
QUOTIENTS: frozenset[Function] = frozenset({torch.div, Tensor.div, Tensor.__truediv__, torch.true_divide})
LOG_SOFTMAX: frozenset[Function] = frozenset({F.log_softmax, torch.log_softmax, Tensor.log_softmax})
LOG_SUMS: frozenset[Function] = frozenset({torch.logsumexp, Tensor.logsumexp})
MAX_POOLS: frozenset[Function] = frozenset({F.max_pool2d, F.max_pool2d_with_indices, torch.max_pool2d})
MAXIMA: frozenset[Function] = frozenset({torch.amax, Tensor.amax})
COSINES: frozenset[Function] = frozenset({torch.cosine_similarity, F.cosine_similarity})
NORMALIZATIONS: frozenset[Function] = frozenset({F.layer_norm, *([F.rms_norm] if hasattr(F, "rms_norm") else [])})

OF_RELEVANCE: Mapping[Function, str] = {
    F.group_norm: "torch.nn.functional.group_norm",
    F.instance_norm: "torch.nn.functional.instance_norm",
    torch.prod: "torch.prod",
    Tensor.prod: "torch.prod",
    torch.var: "torch.var",
    Tensor.var: "torch.var",
}
"""Functions without a rule of relevance propagation whose gradient × input is not their value."""
OF_DEEP_LIFT: Mapping[Function, str] = {
    **OF_RELEVANCE,
    **dict.fromkeys((torch.norm, Tensor.norm, torch.linalg.norm, torch.linalg.vector_norm), "torch.linalg.norm"),
    **dict.fromkeys((torch.cdist, F.pairwise_distance), "torch.cdist"),
    **dict.fromkeys((torch.std, Tensor.std), "torch.std"),
    **dict.fromkeys((torch.max, Tensor.max), "torch.max"),
    **dict.fromkeys((torch.min, Tensor.min, torch.amin, Tensor.amin), "torch.min"),
    **dict.fromkeys((F.max_pool1d, F.max_pool3d, torch.max_pool1d, torch.max_pool3d), "torch.nn.functional.max_pool1d"),
    **dict.fromkeys((torch.maximum, Tensor.maximum, torch.minimum, Tensor.minimum), "torch.maximum"),
}
"""Functions without a secant, which are not linear either."""
