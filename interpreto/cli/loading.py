"""Load the model of a command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transformers

from interpreto import demo
from interpreto.errors import ModelError, OptionError
from interpreto.models.sentence_transformers import MODULES
from interpreto.models.similarity import SimilarityModel
from interpreto.validation import shown


def load_model(model: str | None, device: str | None = None) -> tuple[Any, Any]:
    """Return a model in evaluation mode and its tokenizer.

    Args:
        model: A repository or a folder; None: the embedded classifier.
        device: Where to put it; None: it stays where it is.

    Raises:
        ModelError: There is no such folder or repository, or it holds no model.
        OptionError: There is no such device.
    """
    place = None if device is None else read_device(device)
    found: Any
    found, tokenizer = demo.load_classifier() if model is None else _loaded(model)
    return (found if place is None else found.to(place)), tokenizer


def read_device(name: str) -> torch.device:
    """Return a device that computes; ``"auto"`` is the fastest that there is, a whole number one of CUDA's.

    Raises:
        OptionError: There is no such device.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdecimal() else name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises any of these
        reason = str(error).splitlines()[0].rstrip(".")
        raise OptionError(f"`--device`: got {name!r}; {reason}. Pass cpu, or auto for the fastest that there is.") from error
    return device


def _loaded(name: str) -> tuple[Any, Any]:
    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.startswith((".", "~", os.sep)) or name.count("/") > 1):
        raise ModelError(f"`--model`: there is no folder {shown(name)}.")
    source = str(folder) if folder.is_dir() else name
    shows = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        return _read(source)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        if folder.is_dir():
            raise ModelError(f"`--model`: no model can be read from the folder {shown(name)}: {reason}") from error
        raise ModelError(
            f"`--model`: there is no folder {shown(name)}, and the Hugging Face hub gave no model of that name ({reason}). "
            "Set HF_HUB_OFFLINE=1 to use what was downloaded before, without asking the hub."
        ) from error
    finally:
        if shows:
            transformers.utils.logging.enable_progress_bar()


def _read(source: str) -> tuple[Any, Any]:
    if (Path(source) / MODULES).is_file():
        model = SimilarityModel.from_folder(source)
        return model, model.tokenizer
    config = transformers.AutoConfig.from_pretrained(source)
    kinds = {
        "AutoModelForSeq2SeqLM": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "AutoModelForCausalLM": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
        "AutoModelForTokenClassification": transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        "AutoModelForQuestionAnswering": transformers.MODEL_FOR_QUESTION_ANSWERING_MAPPING,
        "AutoModelForMaskedLM": transformers.MODEL_FOR_MASKED_LM_MAPPING,
        "AutoModelForNextSentencePrediction": transformers.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING,
    }
    declared, kind = set(config.architectures or []), "AutoModelForSequenceClassification"
    for name, mapping in kinds.items():
        if type(config) in mapping and declared & {cls.__name__ for cls in _classes(mapping[type(config)])}:
            kind = name
    return getattr(transformers, kind).from_pretrained(source).eval(), transformers.AutoTokenizer.from_pretrained(source)


def _classes(found: Any) -> tuple[type, ...]:
    return found if isinstance(found, tuple) else (found,)
