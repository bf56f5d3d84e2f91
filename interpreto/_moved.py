"""Old import paths, kept for one release: a module that moved is found under its old name, with a `DeprecationWarning`."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "cli_compare": "cli.compare",
    "commons": "inputs.units",
    "commons.granularity": "inputs.units",
    "commons.llm_interface": "judges.llm_interface",
    "concepts.aims": "concepts.outputs",
    "concepts.attribution": "concepts.importance",
    "concepts.bridge": "concepts.inputs_to_concepts",
    "concepts.methods": "concepts",
    "concepts.methods.autoencoder": "concepts.saes.base",
    "concepts.methods.checkpoint": "concepts.saes.checkpoint",
    "concepts.methods.codes": "concepts.solvers.least_squares",
    "concepts.methods.convex_nmf": "concepts.dictionaries.convex_nmf",
    "concepts.methods.descent": "concepts.solvers.coordinate_descent",
    "concepts.methods.dictionary": "concepts.dictionaries.explainer",
    "concepts.methods.external": "concepts.adapters.foreign_models",
    "concepts.methods.external_autoencoder": "concepts.adapters.foreign_saes",
    "concepts.methods.factorization": "concepts.dictionaries.factorization",
    "concepts.methods.kmeans": "concepts.dictionaries.kmeans",
    "concepts.methods.linear": "concepts.dictionaries.linear",
    "concepts.methods.neurons": "concepts.dictionaries.neurons",
    "concepts.methods.nmf": "concepts.dictionaries.nmf",
    "concepts.methods.overcomplete": "concepts.adapters.overcomplete",
    "concepts.methods.sae": "concepts.saes.explainers",
    "concepts.methods.scikit_learn": "concepts.adapters.scikit_learn",
    "concepts.methods.seeding": "seeding",
    "concepts.methods.semi_nmf": "concepts.dictionaries.semi_nmf",
    "concepts.methods.sparse_autoencoders": "concepts.saes.architectures",
    "concepts.methods.sparse_coding": "concepts.dictionaries.sparse_coding",
    "concepts.methods.supports": "concepts.solvers.active_set",
    "concepts.methods.training": "concepts.saes.trainer",
    "concepts.model": "concepts.concept_model",
    "concepts.saving": "concepts.serialization",
    "concepts.splitters.heads": "models.classifier_head",
    "concepts.splitters.layouts": "models.hook_points",
    "concepts.splitters.loading": "models.loading",
    "concepts.splitters.pooling": "inputs.pooling",
    "concepts.splitters.ports": "models.hook_points",
    "concepts.splitters.reading": "inputs.streaming",
    "concepts.splitters.split_model": "models.activations",
    "concepts.splitters.tracing": "models.interventions",
    "concepts.store": "concepts.activation_store",
    "concepts.upper_half": "concepts.downstream",
    "continuations": "inputs.continuations",
    "encoding": "inputs.text",
    "files": "storage",
    "granularity": "inputs.units",
    "inference": "models",
    "inference.batching": "models.batching",
    "inference.contexts": "models.contexts",
    "inference.embedding": "models.embeddings",
    "inference.forward": "models.forward",
    "inference.gradients": "models.gradients",
    "inference.modes": "models.modes",
    "inference.positions": "models.padding",
    "inference.prefix": "models.kv_cache",
    "inference.replacement": "models.masking",
    "inference.scorer": "models.scorer",
    "inference.shared_prefix": "models.prefix_sharing",
    "inference.shortcuts": "models.options",
    "metrics.attributions.bounds": "metrics.attributions.normalized_aopc",
    "metrics.attributions.curves": "metrics.attributions.perturbation_curves",
    "metrics.attributions.measures": "metrics.attributions.readouts",
    "metrics.attributions.rows": "metrics.attributions.cases",
    "metrics.attributions.soft": "metrics.attributions.soft_perturbation",
    "metrics.attributions.subsets": "metrics.attributions.subset_correlations",
    "metrics.concepts.curves": "metrics.concepts.perturbation_curves",
    "metrics.concepts.dictionary": "metrics.concepts.stability",
    "metrics.concepts.distributions": "metrics.concepts.reconstruction",
    "metrics.concepts.faithfulness": "metrics.concepts",
    "metrics.concepts.loss": "metrics.concepts.loss_recovered",
    "metrics.concepts.outputs": "concepts.outputs",
    "metrics.concepts.spaces": "metrics.concepts.reconstruction_error",
    "metrics.intervals": "intervals",
    "metrics.orders": "metrics.ranking",
    "metrics.statistics": "statistics",
    "samples": "inputs.samples",
    "targets": "inputs.targets",
    "tasks": "models.tasks",
    "tasks.base": "models.tasks.base",
    "tasks.classification": "models.tasks.classification",
    "tasks.generation": "models.tasks.generation",
    "tasks.resolve": "models.tasks.resolve",
    "visualizations.concept_data": "concepts.summaries",
    "visualizations.concept_names": "concepts.labels",
    "visualizations.concept_views": "concepts.views",
    "visualizations.showing": "visualizations.display",
}
"""Old module path: new one, both below ``interpreto``."""

RENAMED = {
    "encoding": {"Encoder": "InputReader", "Encoding": "TokenizedInput", "decoded": "inputs.decoding.decoded"},
    "granularity": {"Tokens": "inputs.segmentation.Tokens", "segment": "inputs.segmentation.segment"},
    "continuations": {"Continuer": "ContinuationTokenizer"},
    "inference": {"Shortcuts": "EngineOptions"},
    "inference.shortcuts": {"Shortcuts": "EngineOptions"},
    "metrics.attributions.bounds": {"every_set": "all_subsets", "highest_walk": "highest_path"},
    "metrics.attributions.rows": {"Row": "Case", "rows_of": "cases_of"},
    "metrics.attributions.subsets": {"sets_of_size": "subsets_of_size"},
    "samples": {"Aim": "Targets", "Reading": "Readout"},
    "tasks": {"Request": "GenerationRequest"},
    "tasks.base": {"Request": "GenerationRequest"},
}
"""Old module path: old names in it, and the new ones; a name in another module than the rest has its path too."""


class MovedModule(ModuleType):
    """A module under its old name: attributes are those of the new one."""

    _home: str
    _renamed: dict[str, str]

    def __init__(self, name: str, home: str, renamed: dict[str, str]) -> None:
        super().__init__(name, f"Moved to `{home}`.")
        self.__dict__.update(_home=home, _renamed=renamed, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(*self._place(name))

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("__"):
            self.__dict__[name] = value
        else:
            setattr(*self._place(name), value)

    def _place(self, name: str) -> tuple[ModuleType, str]:
        """Return the module that has a name now, and the name there."""
        path, _, new = self._renamed.get(name, name).rpartition(".")
        return importlib.import_module(f"interpreto.{path}" if path else self._home), new


class MovedFinder:
    """Find and load modules by their old names; without importlib.abc, which imports a good part of the standard library."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        old = fullname.removeprefix("interpreto.")
        loader: Any = self
        return ModuleSpec(fullname, loader, is_package=True) if old != fullname and old in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        old = spec.name.removeprefix("interpreto.")
        home = f"interpreto.{MOVED[old]}"
        message = f"`{spec.name}` moved to `{home}`; the old path goes with the next release."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return MovedModule(spec.name, home, RENAMED.get(old, {}))

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: a moved module has no code of its own."""


def install() -> None:
    """Add the finder before Python's own, once: a folder that an older checkout left behind must not hide the new home."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        finder: Any = MovedFinder()
        sys.meta_path.insert(0, finder)
