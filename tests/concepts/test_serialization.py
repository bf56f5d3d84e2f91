"""Concepts in a file: what comes back is what went in, bit for bit, without the model and without code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from interpreto import concepts
from interpreto.concepts import (
    DictionaryLearningExplainer,
    NeuronsAsConcepts,
    PCAConcepts,
    SAEExplainer,
    TopKSAEConcepts,
    load_concepts,
)
from interpreto.errors import FileError, ModelError, OptionError
from tests.concepts.dictionaries.test_dictionaries import ALL as DICTIONARIES
from tests.concepts.dictionaries.test_dictionaries import Splitter, data
from tests.concepts.saes.test_saes import ALL as SAES
from tests.concepts.saes.test_saes import Own

FOREIGN = ("overcomplete.optimization.NMF", "overcomplete.optimization.SemiNMF")
FOREIGN_SAES = (
    "overcomplete.sae.TopKSAE",
    "overcomplete.sae.BatchTopKSAE",
    "overcomplete.sae.JumpSAE",
    "overcomplete.sae.MpSAE",
)


def rows():
    return data(positive=True)


def make(kind):
    if isinstance(kind, str):
        if kind.startswith("overcomplete.sae"):
            return SAEExplainer(None, kind, 6, random_state=3).fit(rows(), nb_epochs=2)
        return DictionaryLearningExplainer(None, kind, 6, random_state=3).fit(rows())
    if kind in SAES:
        return kind(None, 6, random_state=3).fit(rows(), nb_epochs=2)
    if kind is NeuronsAsConcepts:
        return kind(None).fit(rows())
    return kind(None, 6, random_state=3).fit(rows())


@pytest.mark.parametrize("kind", [*DICTIONARIES, *SAES, NeuronsAsConcepts, *FOREIGN, *FOREIGN_SAES])
def test_what_is_loaded_encodes_and_decodes_bit_for_bit(kind, tmp_path):
    explainer = make(kind)
    path = tmp_path / "concepts.safetensors"
    explainer.save(path)
    loaded = load_concepts(path)
    assert type(loaded) is type(explainer) and loaded.is_fitted
    codes = explainer.encode_activations(rows())
    assert torch.equal(loaded.encode_activations(rows()), codes)
    assert torch.equal(loaded.decode_concepts(codes), explainer.decode_concepts(codes))
    assert torch.equal(loaded.get_dictionary(), explainer.get_dictionary())
    assert (loaded.nb_concepts, loaded.random_state) == (explainer.nb_concepts, explainer.random_state)
    assert getattr(loaded, "history", None) == getattr(explainer, "history", None)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_every_explainer_of_the_package_can_be_saved():
    elsewhere = {
        "ProbeConcepts",
        "CAVConcepts",
        "FactorConcepts",
        "AgglomerativeConcepts",
        "PublishedSAEConcepts",
        "TranscoderConcepts",
        "CrossLayerTranscoderConcepts",
        "CrosscoderConcepts",
    }  # saved by tests of their own
    names = {name for name in concepts.__all__ if name.endswith("Concepts")} | {"Cockatiel"}
    assert names - elsewhere == {kind.__name__ for kind in (*DICTIONARIES, *SAES, NeuronsAsConcepts)} - elsewhere


def test_clusters_of_the_first_release_are_read(tmp_path):
    """It wrote the variance within clusters, whose root is the deviation that is written now."""
    explainer = concepts.KMeansConcepts(None, nb_concepts=3).fit(rows())
    path = tmp_path / "concepts.safetensors"
    explainer.save(path)
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    old = {**{k: v for k, v in tensors.items() if k != "deviation"}, "variance": tensors["deviation"].square()}
    save_file(old, path, metadata=metadata)
    torch.testing.assert_close(load_concepts(path).encode_activations(rows()), explainer.encode_activations(rows()))


def test_float64_stays(tmp_path):
    explainer = PCAConcepts(None, 4).fit(data().double())
    explainer.save(tmp_path / "file")
    assert load_concepts(tmp_path / "file").get_dictionary().dtype == torch.float64


def test_options_come_back(tmp_path):
    TopKSAEConcepts(None, 6, k=2).fit(rows(), nb_epochs=1).save(tmp_path / "file")
    loaded = load_concepts(tmp_path / "file")
    assert loaded.concept_model.k == 2
    loaded.fit(rows(), overwrite=True, nb_epochs=1)


def test_the_split_point_is_the_splitters(tmp_path):
    PCAConcepts(Splitter(), 4, "layer.2").fit(data()).save(tmp_path / "file")
    assert load_concepts(tmp_path / "file").split_point == "layer.2"
    splitter = Splitter()
    assert load_concepts(tmp_path / "file", splitter).splitter is splitter

    class Other:
        split_points = ("layer.7",)

    with pytest.raises(OptionError, match=r"got 'layer.2'; the splitter has 'layer.7'"):
        load_concepts(tmp_path / "file", Other())


def test_a_model_of_ones_own_needs_its_class(tmp_path):
    explainer = SAEExplainer(None, Own, 6).fit(rows(), nb_epochs=1)
    explainer.save(tmp_path / "file")
    with pytest.raises(OptionError, match=r"concepts of a Own; pass its class"):
        load_concepts(tmp_path / "file")
    for given in (Own, Own(12, 6)):
        loaded = load_concepts(tmp_path / "file", concept_model=given)
        assert torch.equal(loaded.encode_activations(rows()), explainer.encode_activations(rows()))


def test_loading_needs_neither_the_language_model_nor_scikit_learn(tmp_path):
    for kind in (DICTIONARIES[0], SAES[0]):
        make(kind).save(tmp_path / f"{kind.__name__}.safetensors")
    code = f"""
import sys
from pathlib import Path
from interpreto.concepts import load_concepts
for path in Path({str(tmp_path)!r}).glob("*.safetensors"):
    load_concepts(path)
print([name for name in ("sklearn", "overcomplete", "nnsight", "transformers.models.bert") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_what_cannot_be_written_is_told(tmp_path):
    with pytest.raises(ModelError, match="SkPCA keeps what it learned elsewhere"):
        DictionaryLearningExplainer(None, "overcomplete.optimization.SkPCA", 3).fit(rows()).save(tmp_path / "file")
    with pytest.raises(ModelError, match="not fitted"):
        PCAConcepts(None).save(tmp_path / "file")
    explainer = SAEExplainer(None, Own, 6, criterion=lambda x, x_hat, *_: (x - x_hat).square().mean()).fit(rows(), nb_epochs=1)
    with pytest.raises(ModelError, match="cannot be written as JSON"):
        explainer.save(tmp_path / "file")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    explainer = concepts.PCAConcepts(None, 3).fit(data(60, 8))
    path = tmp_path / "concepts.safetensors"
    explainer.save(path)
    before = path.read_bytes()

    def half(_tensors, path, **_options):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(OSError, match="no space left"):
        explainer.save(path)
    assert path.read_bytes() == before
    with pytest.raises(FileError, match=r"`path`: there is no folder '.*nowhere' to write 'concepts' into"):
        explainer.save(tmp_path / "nowhere" / "concepts")
    with pytest.raises(FileError, match=r"`path`: .* is a folder; pass the name of a file"):
        explainer.save(tmp_path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="there is no file"):
        load_concepts(tmp_path / "none")
    (tmp_path / "text").write_text("concepts")
    with pytest.raises(FileError, match="cannot be read as concepts"):
        load_concepts(tmp_path / "text")
    save_file({"a": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(FileError, match="nothing of interpreto"):
        load_concepts(tmp_path / "other")
    PCAConcepts(None, 3).fit(data()).save(tmp_path / "file")
    with safe_open(tmp_path / "file", "pt") as file:
        facts, tensors = json.loads(file.metadata()["interpreto"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for change, message in (
        ({"explainer": "importlib"}, "'importlib', which this version does not know"),
        ({"explainer": "load_concepts"}, "does not know"),
        ({"format": "interpreto concepts 9"}, "reads 'interpreto concepts 1'"),
        ({"options": {"nothing": 1}}, "incomplete"),
    ):
        save_file(tensors, tmp_path / "changed", metadata={"interpreto": json.dumps(facts | change)})
        with pytest.raises(FileError, match=message):
            load_concepts(tmp_path / "changed")


def rewritten(source, path, change=lambda tensors: tensors, **facts):
    """A copy of a file of concepts, with other tensors or facts."""
    with safe_open(source, "pt") as file:
        header, tensors = json.loads(file.metadata()["interpreto"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(change(tensors), path, metadata={"interpreto": json.dumps(header | facts)})
    return path


@pytest.mark.parametrize("kind", [*DICTIONARIES, *SAES, NeuronsAsConcepts, FOREIGN[0], FOREIGN_SAES[0]])
def test_a_file_that_is_not_what_the_model_declares_is_refused(kind, tmp_path):
    source = tmp_path / "file"
    make(kind).save(source)
    names = list(rewritten_names(source))
    for name in names:

        def without(tensors, name=name):
            return {key: value for key, value in tensors.items() if key != name} or {"other": torch.ones(1)}

        def broken(tensors, name=name):
            wrong = tensors[name].double() * torch.nan if tensors[name].is_floating_point() else tensors[name].float()
            return tensors | {name: wrong.to(tensors[name].dtype) if tensors[name].is_floating_point() else wrong}

        def longer(tensors, name=name):
            return tensors | {name: torch.cat([tensors[name].reshape(-1), tensors[name].reshape(-1)[:1]])}

        def low(tensors, name=name):
            return tensors | {name: tensors[name].half() if tensors[name].is_floating_point() else tensors[name].int()}

        for change in (without, broken, longer, low):
            with pytest.raises(FileError, match="damaged or incomplete"):
                load_concepts(rewritten(source, tmp_path / "changed", change))
    for name in ("encode", "nb_concepts", "_buffers", "training", "learned", "forward", "model.encode", "unknown"):
        with pytest.raises(FileError, match="damaged or incomplete"):
            load_concepts(rewritten(source, tmp_path / "changed", lambda tensors, name=name: {**tensors, name: torch.zeros(3)}))


def rewritten_names(source):
    with safe_open(source, "pt") as file:
        return list(file.keys())


@pytest.mark.parametrize(
    "facts",
    [
        {"nb_concepts": 5}, {"nb_concepts": "3"}, {"nb_concepts": -1}, {"width": 7}, {"width": None}, {"options": []},
        {"options": {"k": 99}}, {"random_state": -1}, {"random_state": "a"}, {"history": [{"epoch": "x"}]}, {"history": 3},
        {"explainer": 3}, {"explainer": None}, {"explainer": "ConceptAutoEncoderExplainer"},
    ],
)  # fmt: skip
def test_facts_that_do_not_fit_are_refused(facts, tmp_path):
    TopKSAEConcepts(None, 6, k=2).fit(rows(), nb_epochs=1).save(tmp_path / "file")
    with pytest.raises(FileError, match="damaged or incomplete"):
        load_concepts(rewritten(tmp_path / "file", tmp_path / "changed", **facts))


def test_what_is_loaded_in_inference_mode_lets_gradients_pass_afterwards(tmp_path):
    PCAConcepts(None, 3).fit(data()).save(tmp_path / "file")
    with torch.inference_mode():
        loaded = load_concepts(tmp_path / "file")
    inputs = data()[:2].clone().requires_grad_()
    torch.autograd.grad(loaded.encode_activations(inputs).sum(), inputs)


def test_whole_numbers_of_numpy_are_taken_and_written(tmp_path):
    code = f"""
import numpy as np, torch
from interpreto.concepts import TopKSAEConcepts, load_concepts
explainer = TopKSAEConcepts(None, np.int64(6), k=np.int64(2), random_state=np.int64(1))
explainer.fit(torch.rand(50, 8), nb_epochs=np.int64(1), batch_size=np.int32(10)).save({str(tmp_path / "file")!r})
loaded = load_concepts({str(tmp_path / "file")!r})
print(loaded.concept_model.k, loaded.nb_concepts, loaded.random_state)
"""  # in a process of its own: under pytest annotations are checked
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "2 6 1"
