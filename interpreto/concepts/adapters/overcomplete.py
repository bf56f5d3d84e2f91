"""Load overcomplete. Only this file imports it, when one of its models is first used."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Literal

from interpreto.errors import OptionError

PACKAGE = "overcomplete"


def load_overcomplete(part: Literal["optimization", "sae"]) -> ModuleType:
    """Import a part of overcomplete without the imports of its top level (torchvision, timm, OpenCV, matplotlib).

    A later ``import overcomplete`` still gives the whole package: its top level is run when one of its names is first used.

    Raises:
        ImportError: overcomplete is not installed; the message says how to install it.

    Examples:
        >>> load_overcomplete("sae").TopKSAE.__name__
        'TopKSAE'

    References:
        Fel et al., 2025, https://github.com/KempnerInstitute/overcomplete.
    """
    if PACKAGE not in sys.modules:
        _place_bare_package()
    try:
        return importlib.import_module(f"{PACKAGE}.{part}")
    except ImportError as error:
        raise ImportError(f"overcomplete.{part} cannot be imported ({error}). {_how_to_install()}") from error


def find_class(name: str) -> type:
    """Return a class of overcomplete by its name, such as ``"overcomplete.sae.QSAE"``.

    Raises:
        OptionError: overcomplete has no such class.
        ImportError: overcomplete is not installed.
    """
    package, _, rest = name.partition(".")
    part, _, short = rest.partition(".")
    if package != PACKAGE or part not in ("optimization", "sae") or not short:
        raise OptionError(
            f"`concept_model`: got {name!r}; pass a class, an instance, or a name such as 'overcomplete.optimization.SemiNMF' "
            "or 'overcomplete.sae.QSAE'."
        )
    module = load_overcomplete(part)  # type: ignore[arg-type]  (checked above)
    found = getattr(module, short.rpartition(".")[2], None)
    if not isinstance(found, type):
        known = ", ".join(sorted(key for key, value in vars(module).items() if isinstance(value, type)))
        raise OptionError(f"`concept_model`: overcomplete.{part} has no class {short!r}; it has {known}.")
    return found


def name_of(model: Any) -> str | None:
    """Return the name by which `find_class` finds a model's class; None if it is not one of overcomplete's."""
    module = type(model).__module__.split(".")
    return ".".join([*module[:2], type(model).__name__]) if module[0] == PACKAGE and len(module) > 1 else None


def _place_bare_package() -> None:
    """Register the package overcomplete without running its top level, which is run when it is first needed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.loader is None:
        raise ImportError(f"overcomplete is not installed. {_how_to_install()}")
    package, loader = module_from_spec(spec), spec.loader

    def run_top_level(name: str) -> Any:
        if name.startswith("__"):  # what inspect and doctest ask of any module
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
        del package.__dict__["__getattr__"]
        try:
            loader.exec_module(package)
        except BaseException:
            package.__dict__["__getattr__"] = run_top_level
            raise
        return getattr(package, name)

    package.__dict__["__getattr__"] = run_top_level
    sys.modules[PACKAGE] = package


def _how_to_install() -> str:
    return (
        'Type: pip install "overcomplete>=0.3,<0.4". Next to a CPU-only torch, whose torchvision would break transformers, '
        'type: pip install einops scikit-learn && pip install --no-deps "overcomplete>=0.3,<0.4".'
    )
