"""Signatures of explainers of concepts in the reference: as they are at run time, with the options of the concept model."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class RuntimeSignatures(griffe.Extension):
    """Show classes that declare a concept model with the signature and the arguments that `declare` gives them."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        if not {"model_class", "own_defaults"} & {*cls.members}:
            return
        found = getattr(importlib.import_module(cls.module.path), cls.name)
        if "__signature__" not in vars(found):
            return
        parameters = [
            griffe.Parameter(
                parameter.name,
                annotation=parameter.annotation if isinstance(parameter.annotation, str) else None,
                kind=griffe.ParameterKind[parameter.kind.name.lower()],
                default=None if parameter.default is parameter.empty else repr(parameter.default),
            )
            for parameter in found.__signature__.parameters.values()
        ]
        receiver = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(receiver, *parameters), parent=cls))
        if cls.docstring is not None:
            cls.docstring.value = inspect.getdoc(found) or ""
