"""Every method with options small enough for tests, and every family of models."""

from __future__ import annotations

from interpreto import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
    SquareGrad,
    VarGrad,
)
from tests import tiny

MASK_METHODS = {
    Occlusion: {},
    Lime: {"n_perturbations": 60},
    KernelShap: {"n_perturbations": 60},
    Sobol: {"n_token_perturbations": 4},
}
GRADIENT_METHODS = {
    Saliency: {},
    InputXGradient: {},
    IntegratedGradients: {"n_perturbations": 5, "baseline": "mean"},
    SmoothGrad: {"n_perturbations": 5},
    SquareGrad: {"n_perturbations": 5},
    VarGrad: {"n_perturbations": 5},
    GradientShap: {"n_perturbations": 5, "baseline": "mean"},
}
METHODS = {**MASK_METHODS, **GRADIENT_METHODS}
SAMPLED = (Lime, KernelShap, Sobol, SmoothGrad, SquareGrad, VarGrad, GradientShap)
FAMILIES = list(tiny.CLASSIFIERS)
GENERATORS = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}
