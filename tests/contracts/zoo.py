"""Every method with options small enough for tests, and every family of models."""

from __future__ import annotations

import interpreto
from interpreto.registry import METHODS as REGISTERED
from tests import tiny

FEW = {
    "Lime": {"n_perturbations": 60},
    "KernelShap": {"n_perturbations": 60},
    "Sobol": {"n_perturbations": 4},
    "IntegratedGradients": {"n_perturbations": 5, "baseline": "mean"},
    "SmoothGrad": {"n_perturbations": 5},
    "SquareGrad": {"n_perturbations": 5},
    "VarGrad": {"n_perturbations": 5},
    "GradientShap": {"n_perturbations": 5, "baseline": "mean"},
    "ExpectedGradients": {"n_perturbations": 3},
    "DeepLiftShap": {"n_baselines": 2},
}
"""Options of methods that have many passes by default."""

METHODS = {getattr(interpreto, method.name): FEW.get(method.name, {}) for method in REGISTERED}
MASK_METHODS = {m: METHODS[m] for m in METHODS if interpreto.registry.find_method(m.__name__).evidence == "scores"}
GRADIENT_METHODS = {m: METHODS[m] for m in METHODS if m not in MASK_METHODS}
SAMPLED = tuple(getattr(interpreto, method.name) for method in REGISTERED if method.sampled)
FAMILIES = list(tiny.CLASSIFIERS)
GENERATORS = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}
