"""The classes of SAELens, sparsify and dictionary_learning, without what their packages import beside.

SAELens is built on TransformerLens, which brings much along that its autoencoders do not use: two empty classes stand for it.
"""

from __future__ import annotations

import importlib
import logging
import sys
from contextlib import contextmanager
from dataclasses import field
from importlib.util import find_spec
from types import ModuleType

from torch import nn


class HookPoint(nn.Module):
    def forward(self, x):
        return x


class HookedRootModule(nn.Module):
    def setup(self):
        pass


@contextmanager
def importing(package, *modules, **stubs):
    """Import modules of a package whose own ``__init__`` is not run, beside stubs of what it needs."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None, f"{package} is not installed: make test"
    bare = ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations)
    bare.__version__, bare.logger = "6.0.0", logging.getLogger(package)
    before = dict(sys.modules)
    try:
        sys.modules[package] = bare
        for name, found in stubs.items():
            sys.modules[name.replace("__", ".")] = found
        yield [importlib.import_module(f"{package}.{name}") for name in modules]
    finally:
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in (package, *(stub.split("__")[0] for stub in stubs)):
                del sys.modules[name]


def sae_lens():
    """Return SAELens' ``from_disk`` for each architecture."""
    parent, points, model = ModuleType("transformer_lens"), ModuleType("hook_points"), ModuleType("HookedTransformer")
    parent.__path__ = []
    points.HookPoint = HookPoint
    model.HookedRootModule = HookedRootModule
    stubs = {"transformer_lens": parent, "transformer_lens__hook_points": points, "transformer_lens__HookedTransformer": model}
    names = ["registry", "saes.sae", "saes.standard_sae", "saes.topk_sae", "saes.jumprelu_sae", "saes.gated_sae"]
    with importing("sae_lens", *names, **stubs) as (registry, base, standard, topk, jump, gated):
        for name, kind in {
            "standard": (standard.StandardSAE, standard.StandardSAEConfig),
            "topk": (topk.TopKSAE, topk.TopKSAEConfig),
            "jumprelu": (jump.JumpReLUSAE, jump.JumpReLUSAEConfig),
            "gated": (gated.GatedSAE, gated.GatedSAEConfig),
        }.items():
            if name not in registry.SAE_CLASS_REGISTRY:
                registry.register_sae_class(name, *kind)
        return base.SAE


def sae_lens_transcoders():
    """Return SAELens' classes of transcoders by architecture, each with its ``from_disk``."""
    parent, points, model = ModuleType("transformer_lens"), ModuleType("hook_points"), ModuleType("HookedTransformer")
    parent.__path__ = []
    points.HookPoint = HookPoint
    model.HookedRootModule = HookedRootModule
    stubs = {"transformer_lens": parent, "transformer_lens__hook_points": points, "transformer_lens__HookedTransformer": model}
    with importing("sae_lens", "registry", "saes.transcoder", **stubs) as (registry, module):
        kinds = {
            "transcoder": "Transcoder",
            "skip_transcoder": "SkipTranscoder",
            "jumprelu_transcoder": "JumpReLUTranscoder",
            "jumprelu_skip_transcoder": "JumpReLUSkipTranscoder",
        }
        for name, kind in kinds.items():
            if name not in registry.SAE_CLASS_REGISTRY:
                registry.register_sae_class(name, getattr(module, kind), getattr(module, f"{kind}Config"))
        return {name: getattr(module, kind) for name, kind in kinds.items()}


def sparsify():
    """Return sparsify's coder and its configuration."""
    natsort, parsing = ModuleType("natsort"), ModuleType("simple_parsing")
    accelerate, utils = ModuleType("accelerate"), ModuleType("accelerate.utils")
    natsort.natsorted, utils.send_to_device = sorted, None
    parsing.Serializable, parsing.list_field = object, lambda *values: field(default_factory=lambda: list(values))
    stubs = {"natsort": natsort, "simple_parsing": parsing, "accelerate": accelerate, "accelerate__utils": utils}
    missing = {name: stub for name, stub in stubs.items() if find_spec(name.partition("__")[0]) is None}
    with importing("sparsify", "config", "sparse_coder", **missing) as (config, coder):
        return coder.SparseCoder, config.SparseCoderConfig


def dictionary_learning():
    """Return the module of dictionary_learning's dictionaries."""
    with importing("dictionary_learning", "dictionary") as (module,):
        return module
