"""Write sparse autoencoders as SAELens reads them, with a card, and publish them on the hub."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from interpreto.concepts.joint_rows import JOINT
from interpreto.concepts.pretrained.sae_lens import CONFIG, VERSION, WEIGHTS, as_sae_lens
from interpreto.errors import FileError, OptionError
from interpreto.models.hook_points import block_list
from interpreto.storage import replacing

if TYPE_CHECKING:
    from interpreto.concepts.base import ConceptExplainer

CARD = """---
library_name: saelens
tags: [sparse-autoencoder, interpreto]
---

# {title}

A sparse autoencoder of {concepts} concepts of width {width}, trained with interpreto ({kind}) on `{model}` at `{place}`.

{measured}

Read it with `interpreto.load_sae("{folder}")`, or with SAELens: `SAE.load_from_disk("{folder}")`.
"""


def save_sae_lens(explainer: ConceptExplainer, folder: str | PathLike[str], activations: Tensor | None = None) -> None:
    """Write an autoencoder in the layout of SAELens: a folder of ``cfg.json``, ``sae_weights.safetensors`` and a card.

    The codes that SAELens computes of it are ours to rounding: center and scale become part of the biases.

    Args:
        explainer: A fitted sparse autoencoder: vanilla, TopK, BatchTopK, JumpReLU, or a published one; or a transcoder of one
            place, without TopK.
        folder: Where to write; it is made.
        activations: Rows on which the card's statistics are measured, joint ones for a transcoder; None: it has none.

    Raises:
        ModelError: it is not fitted, or SAELens has no such architecture.
        FileError: the folder cannot be written.
    """
    explainer.check_fitted()
    with torch.no_grad():
        cfg, tensors = as_sae_lens(explainer.concept_model)
    c, d = explainer.get_dictionary().shape
    target, described = Path(folder).expanduser(), _described(explainer)
    cfg = {
        "d_in": d,
        "d_sae": c,
        "dtype": "float32",
        "device": "cpu",
        "reshape_activations": "none",
        **{name: value for name, value in cfg.items() if name != "model_from_pretrained_kwargs"},
        "metadata": {"sae_lens_version": VERSION, **described, **_facts(cfg)},
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"`path`: {str(target)!r} cannot be made ({error}); pass the name of a folder.") from error
    with replacing(target / WEIGHTS) as partial:
        save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}, partial)
    with replacing(target / CONFIG) as partial:
        partial.write_text(json.dumps(cfg, indent=2), encoding="utf-8")
    with replacing(target / "README.md") as partial:
        partial.write_text(_card(explainer, target.name, described, activations), encoding="utf-8")


def push_to_hub(
    explainer: ConceptExplainer,
    repository: str,
    name: str | None = None,
    *,
    activations: Tensor | None = None,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Publish an autoencoder on the hub, in the layout of SAELens, with a card of what was measured.

    Args:
        explainer: A fitted sparse autoencoder.
        repository: Id of the repository, which is made if there is none.
        name: Folder within the repository, for several in one; None: its root.
        activations: Rows on which the card's statistics are measured.
        private: A repository that is made can be seen by its owners alone.
        token: Token of the hub; None: the one that is logged in.

    Returns:
        Address of the commit.

    Raises:
        ModelError: it is not fitted, or SAELens has no such architecture.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415  # comes with transformers

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / (name or repository).rpartition("/")[2]
        save_sae_lens(explainer, folder, activations)
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=str(folder), path_in_repo=name))


def _facts(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return what SAELens keeps among its metadata."""
    name = "model_from_pretrained_kwargs"
    return {name: cfg[name]} if name in cfg else {}


def _described(explainer: ConceptExplainer) -> dict[str, Any]:
    """Return the model and the place, by TransformerLens' name where it has one."""
    published = dict(getattr(explainer, "published", {}))
    if explainer.splitter is None:
        ends: dict[str, str] = {"hook": "hook_name", "reads": "hook_name", "writes": "hook_name_out"}
        told = {name: value[0] if isinstance(value, list) else value for name, value in published.items() if name != "layout"}
        return {str(ends.get(name, name)): value for name, value in told.items()}
    model, places = explainer.splitter.model, str(explainer.split_point).split(JOINT)
    name = getattr(model.config, "_name_or_path", "") or model.config.model_type
    described = {**published, "model_name": name}
    for place, end in zip(places, ("", "_out"), strict=False):
        described |= {f"hook_name{end}": _hook(place, model), f"hf_hook_name{end}": place.replace(":input", ".input")}
    return described


def _hook(place: str, model: Any) -> str:
    """Return a place by TransformerLens' name, where it has one."""
    try:
        path, _ = block_list(model)
        found = re.fullmatch(rf"{re.escape(path)}\.(\d+)(:input)?", place)
    except OptionError:
        found = None
    return f"blocks.{found[1]}.hook_resid_{'pre' if found[2] else 'post'}" if found else place


def _card(explainer: ConceptExplainer, title: str, described: Mapping[str, Any], activations: Tensor | None) -> str:
    """Return the text of a card, with what is measured on rows."""
    c, d = explainer.get_dictionary().shape
    lines = ["Nothing was measured for this card."]
    if activations is not None:
        lines = measured(explainer, activations)
    return CARD.format(
        title=title,
        concepts=f"{c:,}",
        width=f"{d:,}",
        kind=type(explainer).__name__,
        model=described.get("model_name", "a model that is not named"),
        place=described.get("hook_name", "a place that is not named"),
        measured="\n".join(lines),
        folder=title,
    )


def measured(explainer: ConceptExplainer, activations: Tensor) -> list[str]:
    """Return a table of what is measured on rows: variance explained, concepts per row, concepts that no row has."""
    model = explainer.concept_model
    rows = activations.to(explainer.device, model.dtype)
    with torch.no_grad():
        codes = explainer.encode_activations(rows)
        rebuilt = model.decode(codes, rows)
    rows = rows[:, rows.shape[1] - rebuilt.shape[1] :]  # of a transcoder, what is written
    share = 1 - float((rows - rebuilt).square().sum() / (rows - rows.mean(0)).square().sum())
    return [
        f"| measured on {len(rows):,} rows | |",
        "| --- | ---: |",
        f"| variance explained | {share:.3f} |",
        f"| concepts per row | {float((codes != 0).sum(1).float().mean()):.1f} |",
        f"| concepts that no row has | {100 * float((codes == 0).all(0).float().mean()):.1f} % |",
    ]
