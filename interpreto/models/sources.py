"""Where models and tokenizers are kept: folders, and the hub, which need not be reachable."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import nn

from interpreto.errors import ModelError, TokenizerError
from interpreto.validation import shown

Found = TypeVar("Found")
SECONDS = 3.0  # for the hub to accept a connection, before it counts as unreachable


def is_name(source: Any) -> bool:
    """Return True for a folder or an id, as text or as a path."""
    return isinstance(source, (str, os.PathLike))


def fetched(source: str, read: Callable[[str, bool], Found], what: str) -> Found:
    """Return what is read from a folder, or else from the hub: without asking it where it cannot be reached.

    Args:
        source: A folder or an id.
        read: Takes the folder or the id, and whether only local files may be read.
        what: What is read, for messages.

    Raises:
        ModelError: there is no such folder and no such id, or nothing can be read from it.
    """
    kind = TokenizerError if what == "tokenizer" else ModelError
    folder = Path(source).expanduser()
    if folder.is_dir():
        try:
            return _quietly(read, str(folder), True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if isinstance(error, (ModelError, TokenizerError)):
                raise
            raise kind(f"`{what}`: no {what} can be read from the folder {shown(source)} ({_reason(error)}).") from error
    if folder.is_file():
        raise kind(f"`{what}`: {shown(source)} is a file; pass the folder that holds it.")
    if source.startswith((".", "~", os.sep)) or source.count("/") > 1 or "\\" in source or not source.strip():
        raise kind(f"`{what}`: there is no folder {shown(source)}.")
    offline = not hub_is_reachable()
    try:
        return _quietly(read, source, offline)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, (ModelError, TokenizerError)):
            raise
        if offline:
            raise kind(
                f"`{what}`: there is no folder {shown(source)}, nothing of that name was downloaded before, and the hub of "
                "Hugging Face is not reachable. Pass a folder, set HF_HOME to where models were downloaded, or HF_ENDPOINT or "
                "HTTPS_PROXY to a way to the hub."
            ) from error
        raise kind(
            f"`{what}`: there is no folder {shown(source)}, and the hub of Hugging Face gave no {what} of that name "
            f"({_reason(error)})."
        ) from error


def hub_is_reachable() -> bool:
    """Return True if the hub accepts a connection, or a proxy may reach it; False where the user says that it is offline."""
    from huggingface_hub import constants  # noqa: PLC0415  # comes with transformers

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    address = urlsplit(constants.ENDPOINT)
    if address.scheme in getproxies():
        return True
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=SECONDS):
            return True
    except OSError:
        return False


def find_tokenizer(model: Any) -> Any:
    """Return the tokenizer that lies where a model was loaded from; nothing is downloaded for it.

    Raises:
        TokenizerError: there is none.
    """
    place = getattr(model, "name_or_path", None) or getattr(getattr(model, "config", None), "_name_or_path", None)
    if isinstance(place, str) and place:
        from transformers import AutoTokenizer  # noqa: PLC0415  # slow to import

        try:
            return _quietly(lambda name, offline: AutoTokenizer.from_pretrained(name, local_files_only=offline), place, True)
        except (OSError, ValueError, KeyError, RuntimeError):
            pass
    where = f", and there is none in {shown(place)}, from which the model came" if place else ""
    raise TokenizerError(
        f"`tokenizer`: got None{where}; pass the model's tokenizer: AutoTokenizer.from_pretrained(...), or load both by "
        "interpreto.load(...)."
    )


def find_processor(model: Any) -> Any:
    """Return the image processor that lies where a model was loaded from; None: there is none."""
    place = getattr(model, "name_or_path", None)
    if not isinstance(place, str) or not place:
        return None
    from transformers import AutoImageProcessor  # noqa: PLC0415  # slow to import

    try:
        return _quietly(lambda name, offline: AutoImageProcessor.from_pretrained(name, local_files_only=offline), place, True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError):
        return None


def find_whole_processor(model: Any) -> Any:
    """Return the processor of images and texts that lies where a model was loaded from.

    Raises:
        TokenizerError: there is none.
    """
    place = getattr(model, "name_or_path", None)
    if isinstance(place, str) and place:
        from transformers import AutoProcessor  # noqa: PLC0415  # slow to import

        try:
            return _quietly(lambda name, offline: AutoProcessor.from_pretrained(name, local_files_only=offline), place, True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError):
            pass
    raise TokenizerError(
        f"`tokenizer`: got None; pass the processor of {type(model).__name__}: AutoProcessor.from_pretrained(...)."
    )


def read_tokenizer(value: Any) -> Any:
    """Return a tokenizer, given itself, a processor that holds it, or its folder or id.

    Raises:
        TokenizerError: it is something else.
    """
    if is_name(value):
        from transformers import AutoTokenizer  # noqa: PLC0415  # slow to import

        name = os.fspath(value)
        return fetched(name, lambda n, offline: AutoTokenizer.from_pretrained(n, local_files_only=offline), "tokenizer")
    if not is_tokenizer(value) and is_tokenizer(inner := getattr(value, "tokenizer", None)):
        return inner  # a processor
    if not is_tokenizer(value):
        hint = " The model comes first, then its tokenizer." if isinstance(value, nn.Module) else ""
        raise TokenizerError(
            f"`tokenizer`: got {type(value).__name__}; pass a Hugging Face tokenizer, a repository or a folder.{hint}"
        )
    return value


def is_tokenizer(value: Any) -> bool:
    """Return True for an object with the interface of a Hugging Face tokenizer."""
    return hasattr(value, "convert_ids_to_tokens")


def _quietly(read: Callable[[str, bool], Found], name: str, offline: bool) -> Found:
    """Read without the progress bars of transformers."""
    from transformers.utils import logging  # noqa: PLC0415  # slow to import

    shows = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return read(name, offline)
    finally:
        if shows:
            logging.enable_progress_bar()


def _reason(error: BaseException) -> str:
    """Return the first line of an error."""
    text = " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())
    return text.rstrip(".") if len(text) <= 160 else f"{text[:160]}…"
