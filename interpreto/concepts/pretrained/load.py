"""Load a sparse autoencoder that somebody has published."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interpreto.concepts.coders.base import CoderConcepts, read_places
from interpreto.concepts.pretrained.coders import PublishedCoder
from interpreto.concepts.pretrained.explainer import PublishedSAEConcepts
from interpreto.concepts.pretrained.fit import SENTENCES, variance_explained
from interpreto.concepts.pretrained.layouts import read_published
from interpreto.concepts.pretrained.places import neighbors, split_point_of
from interpreto.concepts.pretrained.published import Published
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import FileError, MismatchWarning, ModelError, OptionError
from interpreto.models.sources import fetched, find_tokenizer


def load_sae(
    source: str | PathLike[str],
    name: str | None = None,
    *,
    model: nn.Module | None = None,
    tokenizer: Any = None,
    splitter: ModelSplitter | Sequence[ModelSplitter] | None = None,
    split_point: str | Sequence[str] | None = None,
    check: bool = True,
    norm_scaling_factor: float | None = None,
    revision: str | None = None,
    device: torch.device | str = "cpu",
) -> PublishedSAEConcepts | CoderConcepts:
    """Load a published sparse autoencoder, a transcoder or a crosscoder as concepts.

    Read are the layouts of SAELens (old and new), Gemma Scope 1 and 2, sparsify, dictionary_learning, Llama Scope and
    Goodfire, and circuit-tracer's of transcoders, told by the files. With a model, the place where it reads is found by its
    name, and checked: on 20 sentences it must explain some of the variance there. Codes are the publisher's, in the
    publisher's units and in float32. Nothing is unpickled.

    Args:
        source: A folder, a file in it, or a repository of the hub. A folder of that name comes first.
        name: The autoencoder's folder within the source, such as ``"layer_12/width_16k/average_l0_82"``.
        model: The model that it reads; a splitter is made at the right place.
        tokenizer: Its tokenizer; None: the one of the model's repository.
        splitter: A splitter of yours instead of a model, one of whose split points is the place; for a crosscoder of two
            models, a pair.
        split_point: The place, a module's path (``"path:input"``: what it is given); None: the one that the files name. Of a
            transcoder, the place that is read and the one that is written; of several layers, all that are read, then all
            that are written; of a crosscoder, all places.
        check: Refuse a place where it explains no variance.
        norm_scaling_factor: What the autoencoder multiplies rows by, where its publisher keeps that elsewhere.
        revision: Revision of the repository.
        device: Device of the concept model.

    Returns:
        A fitted explainer, whose ``published`` holds what the files say, and whose ``variance_explained`` the share that
        was measured (None where nothing was): `PublishedSAEConcepts`, `TranscoderConcepts`,
        `CrossLayerTranscoderConcepts` or `CrosscoderConcepts`. Of several written places it is the least share.

    Raises:
        FileError: there is no such folder or repository, its layout is not known, or it is damaged or would run code.
        OptionError: the place is not one of the model's or the splitter's.
        ModelError: it explains nothing there; the message lists what it explains at the places around.

    Examples:
        >>> import tempfile, torch
        >>> from interpreto import load_sae
        >>> from interpreto.concepts import TopKSAEConcepts
        >>> rows = torch.randn(256, 128, generator=torch.Generator().manual_seed(0))
        >>> trained = TopKSAEConcepts(None, nb_concepts=16, k=3).fit(rows, nb_epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained.save(folder, layout="sae_lens")
        ...     sae = load_sae(folder)
        >>> sae
        PublishedSAEConcepts(nb_concepts=16, split_point=None, fitted)
        >>> torch.allclose(sae.encode_activations(rows), trained.encode_activations(rows), atol=1e-4)
        True

    References:
        Lieberum et al., 2024, https://arxiv.org/abs/2408.05147 (Gemma Scope); He et al., 2024,
        https://arxiv.org/abs/2410.20526 (Llama Scope).
    """
    if model is not None and splitter is not None:
        raise OptionError("`splitter`: got a model as well; pass one of them.")
    found = read_published(_folder(source, name, revision), norm_scaling_factor)
    if isinstance(found, PublishedCoder):
        return _coder(found, (model, tokenizer, splitter), split_point, check=check, device=device)
    if splitter is not None and not isinstance(splitter, ModelSplitter):
        raise OptionError("`splitter`: got several, and an autoencoder reads one place; pass one.")
    if split_point is not None and not isinstance(split_point, str):
        raise OptionError(f"`split_point`: got {split_point!r}, and an autoencoder reads one place; pass its path.")
    with torch.inference_mode(False), torch.no_grad():
        place = _place(found, model, splitter, split_point)
        if model is not None:
            tokenizer = find_tokenizer(model) if tokenizer is None else tokenizer
            splitter = ModelWithSplitPoints(model, str(place), tokenizer=tokenizer)
        facts = {"layout": found.layout, **({"hook": found.hook} if found.hook else {}), **found.facts}
        explainer = PublishedSAEConcepts(splitter, len(found.tensors["atoms"]), place, "cpu", published=facts, **found.options)
        for tensor_name, tensor in found.tensors.items():
            explainer.concept_model.register_buffer(tensor_name, tensor.clone())
        explainer.to(device)
    if splitter is not None:
        _warn_of_tokens(found, splitter.tokenizer)
        explainer.variance_explained = _checked(explainer, splitter, str(place), check)
    return explainer


def _folder(source: str | PathLike[str], name: str | None, revision: str | None) -> Path:
    """Return the folder or file of an autoencoder, fetched if need be.

    Raises:
        FileError: there is none.
    """
    path = Path(source).expanduser()
    if path.exists():
        found = path if name is None else path / name
        if not found.exists():
            there = sorted(inner.name for inner in path.iterdir()) if path.is_dir() else []
            raise FileError(f"`name`: got {name!r}, and {str(path)!r} holds {', '.join(there[:12]) or 'nothing'}.")
        return found
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # comes with transformers

    def read(repository: str, offline: bool) -> str:
        wanted = None if name is None else [f"{name}/*", name, "config.yaml"]
        return snapshot_download(repository, revision=revision, allow_patterns=wanted, local_files_only=offline)

    try:
        folder = Path(fetched(str(source), read, "autoencoder"))
    except ModelError as error:
        raise FileError(str(error).replace("`autoencoder`", "`source`")) from error
    found = folder if name is None else folder / name
    if not found.exists():
        raise FileError(f"`name`: the repository {str(source)!r} has no {name!r}.")
    return found


def _coder(
    found: PublishedCoder,
    given: tuple[nn.Module | None, Any, ModelSplitter | Sequence[ModelSplitter] | None],
    split_point: str | Sequence[str] | None,
    *,
    check: bool,
    device: torch.device | str,
) -> CoderConcepts:
    """Return a transcoder or a crosscoder as concepts, and check it where a model is given.

    Raises:
        OptionError: its places are not known, or none of the splitter's.
        ModelError: it explains nothing there.
    """
    model, tokenizer, splitter = given
    first = splitter[0] if isinstance(splitter, Sequence) else splitter
    own = first.model if first is not None else model
    read, written = _ends(found, own, read_places(split_point, "split_point"))
    with torch.inference_mode(False), torch.no_grad():
        if model is not None:
            if not read:
                raise OptionError("`split_point`: the files do not say where it reads; pass all places.")
            tokenizer = find_tokenizer(model) if tokenizer is None else tokenizer
            splitter = ModelWithSplitPoints(model, list(dict.fromkeys([*read, *written])), tokenizer=tokenizer, truncation=True)
        explainer = found.explainer(splitter, read, written).to(device)
        if explainer.splitter is None or not check:
            return explainer
        samples = explainer.splitter.samples(list(SENTENCES), "all_tokens")
        later = torch.cat([torch.arange(len(sample.units)) > 0 for sample in samples])
        shares = explainer.explained(explainer.splitter.activations_of(samples)[later])
    if found.facts.get("prepend_bos"):
        _warn_of_first_token(explainer.splitter.tokenizer)
    explainer.variance_explained = min(shares)
    if min(shares) > 0:
        return explainer
    told = ", ".join(f"{place!r} {share:.2f}" for place, share in zip(explainer.written, shares, strict=True))
    raise ModelError(
        f"`split_point`: reading {', '.join(map(repr, explainer.read))}, it explains {told}, where 1 is all of the variance "
        "and 0 is what the mean explains. Check that this is the model that was read, or pass split_point or check=False."
    )


def _ends(found: PublishedCoder, model: nn.Module | None, places: list[str]) -> tuple[list[str], list[str]]:
    """Return the places that are read and written, by the model's names; none without a model.

    Raises:
        OptionError: they are not known, or not as many as it has.
    """
    if model is None:
        return [], []
    count = len(found.widths)
    if not places and found.reads:
        places = [split_point_of(hook, model) for hook in dict.fromkeys([*found.reads, *found.writes])]
    if found.kind == "crosscoder":
        return places, places
    if len(places) != count:
        raise OptionError(
            f"`split_point`: got {len(places)} places, and the {found.kind} reads and writes {count}; pass all that are read, "
            "then all that are written."
        )
    return places[: count // 2], places[count // 2 :]


def _place(found: Published, model: Any, splitter: ModelSplitter | None, split_point: str | None) -> str | None:
    """Return the split point; None without a model.

    Raises:
        OptionError: it is not known, or none of the splitter's.
    """
    read = splitter.model if splitter is not None else model
    if read is None:
        return split_point
    hook = found.facts.get("hf_hook_name") or found.hook
    if split_point is None and hook is None:
        raise OptionError("`split_point`: the files do not say where the autoencoder reads; pass a module's path.")
    place = split_point_of(str(hook), read) if split_point is None else split_point
    if splitter is not None and place not in splitter.split_points:
        raise OptionError(
            f"`splitter`: the autoencoder reads {place!r}, and this splitter {', '.join(map(repr, splitter.split_points))}; "
            "pass a splitter of that place, or model=... and let it be made."
        )
    return place


def _checked(explainer: PublishedSAEConcepts, splitter: ModelSplitter, place: str, check: bool) -> float | None:
    """Return the share of the variance that is explained at the place.

    Raises:
        ModelError: there is none.
    """
    if not check:
        return None
    model, tokenizer = splitter.model, splitter.tokenizer
    (share,) = variance_explained(explainer.concept_model, model, tokenizer, [place]).values()
    if share > 0:
        return share
    around = variance_explained(explainer.concept_model, model, tokenizer, neighbors(place, model))
    better = ", ".join(f"{near!r} {value:.2f}" for near, value in around.items() if not math.isnan(value))
    told = (
        f"has another width than {explainer.get_dictionary().shape[1]}" if math.isnan(share) else f"is explained to {share:.2f}"
    )
    raise ModelError(
        f"`split_point`: {place!r} {told}, where 1 is all of the variance and 0 is what the mean explains. "
        f"Around it: {better or 'no place of that width'}. Check that this is the model that was read, or pass split_point or "
        "check=False."
    )


def _warn_of_tokens(found: Published, tokenizer: Any) -> None:
    """Warn where the autoencoder was trained on texts that begin with a token that this tokenizer does not add."""
    if found.facts.get("prepend_bos") and tokenizer is not None:
        _warn_of_first_token(tokenizer)


def _warn_of_first_token(tokenizer: Any) -> None:
    """Warn where a tokenizer adds no token of beginnings."""
    ids = list(tokenizer("a").input_ids)
    if not ids or ids[0] != tokenizer.bos_token_id:
        warnings.warn(
            "The autoencoder was trained on texts that begin with the token of beginnings, which this tokenizer does not add; "
            "first tokens may have other codes than published.",
            MismatchWarning,
            stacklevel=4,
        )
