"""Every method with options small enough for tests, and every family of models."""

from __future__ import annotations

import interpreto
from interpreto.registry import TEXT_METHODS as REGISTERED
from tests import tiny

FEW = {
    "Lime": {"n_perturbations": 60},
    "KernelShap": {"n_perturbations": 60},
    "Sobol": {"n_perturbations": 4},
    "PartitionShap": {"n_perturbations": 60},
    "PermutationShap": {"n_perturbations": 60},
    "Banzhaf": {"n_perturbations": 60},
    "GLime": {"n_perturbations": 60},
    "LimeWithPrior": {"n_perturbations": 60},
    "Rise": {"n_perturbations": 30},
    "ContextCite": {"n_perturbations": 30, "granularity": "word", "replacement": "auto"},
    "ReAGent": {"n_perturbations": 30, "enough": 0.99},
    "At2": {"granularity": "word"},
    "IntegratedGradients": {"n_perturbations": 5, "baseline": "mean"},
    "SmoothGrad": {"n_perturbations": 5},
    "SquareGrad": {"n_perturbations": 5},
    "VarGrad": {"n_perturbations": 5},
    "GradientShap": {"n_perturbations": 5, "baseline": "mean"},
    "TransitionAttention": {"n_perturbations": 3},
    "BidirectionalAttention": {"n_perturbations": 3},
    "ExpectedGradients": {"n_perturbations": 3},
    "DeepLiftShap": {"n_baselines": 2},
}
"""Options of methods that have many passes by default."""

DOUBLING = ("ExactShapley",)
"""Methods whose cost doubles with each unit: tests/attributions/games has their contracts, on short texts."""

METHODS = {getattr(interpreto, m.name): FEW.get(m.name, {}) for m in REGISTERED if m.name not in DOUBLING}


def reading(evidence):
    """Return the methods that read this evidence."""
    return {m: METHODS[m] for m in METHODS if interpreto.registry.find_method(m.__name__).evidence == evidence}


MASK_METHODS, GRADIENT_METHODS, ATTENTION_METHODS = map(reading, ("scores", "gradients", "attention"))
CLIPPED = [m for m in ATTENTION_METHODS if m.__name__ in ("GenericAttention", "TransitionAttention", "BidirectionalAttention")]
"""Methods that keep the positive part of gradients, so that a contrast and its reverse differ."""
SAMPLED = tuple(getattr(interpreto, method.name) for method in REGISTERED if method.sampled)
DRAWN = (*SAMPLED, interpreto.ReAGent)
"""Methods whose masks or noise are drawn, with standard errors or without."""
SCORES_OF_THEIR_OWN = (interpreto.ContextCite, interpreto.ReAGent, interpreto.At2)
"""Methods that fit the log-odds or the probability, or explain an answer as a whole: a contrast is no difference to them."""
FAMILIES = list(tiny.CLASSIFIERS)
GENERATORS = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}


def covers(method, family):
    """Return False where a method reads attention and a family has none, or has two stacks, which ALTI refuses."""
    if method.__name__ == "Alti" and family in tiny.SEQ2SEQ:
        return False
    return family != "mamba" or method not in ATTENTION_METHODS
