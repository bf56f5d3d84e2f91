"""Transcoders: what a step computes, what is found of planted maps, and what units and offsets change."""

from __future__ import annotations

from inspect import getdoc, signature
from types import SimpleNamespace

import pytest
import torch

from interpreto import ModelWithSplitPoints, demo
from interpreto.concepts import CrosscoderConcepts, CrossLayerTranscoderConcepts, TranscoderConcepts, load_concepts
from interpreto.concepts.activations import Activations
from interpreto.concepts.coders.gates import coder_options, gate_of
from interpreto.concepts.coders.standard import Standard
from interpreto.concepts.coders.training import CoderTraining
from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.saes.sparse_codes import SparseCodes
from interpreto.errors import InputError, OptionError

KINDS = ("relu", "topk", "batchtopk", "jumprelu")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(n=2000, c=6, d=12, o=10, seed=0):
    """Return sparse rows, what a layer of ``c`` rectified units makes of them, and what its units read and write."""
    generator = torch.Generator().manual_seed(seed)
    read = torch.linalg.qr(torch.randn(d, c, generator=generator)).Q.T
    write = torch.linalg.qr(torch.randn(o, c, generator=generator)).Q.T
    codes = (1 + torch.rand(n, c, generator=generator)) * (torch.rand(n, c, generator=generator) < 0.15)
    return codes @ read, codes @ write, read, write


def fitted(kind=TranscoderConcepts, count=8, rows=None, **options):
    x, y = (drawn(200, 5), drawn(200, 4, seed=1)) if rows is None else rows
    return kind(None, count, **options).fit([x, y], nb_epochs=2, batch_size=64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("skip", [False, True])
def test_folded_weights_compute_what_was_trained_in_standard_units(kind, skip):
    x, y = 3 + 2 * drawn(64, 5), 5 * drawn(64, 4, seed=1) - 7
    rows, wiring = Activations(torch.cat([x, y], 1), torch.device("cpu")), Wiring((5,), (4,))
    standard = Standard.measured(rows, wiring, ["x", "y"])
    training = CoderTraining(8, wiring, gate_of(kind, 8, 3, 0.1, 3e-3), skip)
    spread = training.start(standard.of(rows), 0)
    assert spread.variance == pytest.approx(1, rel=1e-5)
    with torch.no_grad():
        for parameter in training.parameters():
            parameter.add_(0.2 * drawn(*parameter.shape, seed=3))
        training.calibrate(standard.of(rows), spread, 0)
        learned = training.learn(standard.of(rows).read(), 1.0, torch.ones(64))
    explainer = TranscoderConcepts(None, 8, activation=kind, k=3, skip=skip)
    explainer.concept_model.take(standard.folded(training.tensors()), torch.tensor([5, 4]))
    codes, scale = explainer.encode_activations(x), float((y - y.mean(0)).square().sum(1).mean().sqrt())
    torch.testing.assert_close(codes, learned.codes.relu() * scale, atol=1e-3, rtol=1e-4)
    (written,) = explainer.written_rows(codes, x)
    torch.testing.assert_close(written, learned.reconstruction * scale + y.mean(0), atol=2e-3, rtol=1e-3)
    assert torch.equal(codes, explainer.encode_activations(torch.cat([x, y], 1)))  # joint rows have the same codes


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_a_step_in_closed_form_is_autograds(kind, skip, monkeypatch):
    x, y = drawn(64, 5), drawn(64, 4, seed=1)
    rows, wiring = torch.cat([x, y], 1), Wiring((5,), (4,))
    weights, found = torch.where(torch.arange(64) % 7 == 0, 0.2, 1.0), []
    for fast in (True, False):
        training = CoderTraining(48, wiring, gate_of(kind, 48, 3, 0.1, 3e-3), skip)
        training.start(Activations(rows, rows.device), 0)
        if not fast:
            monkeypatch.setattr(type(training.gate), "learn", lambda *_: None)
        learned = training.learn(rows, 0.7, weights)
        assert isinstance(learned.codes, SparseCodes) == (fast and kind != "relu")  # half of ReLU's codes are not zero
        assert ("_Dense" in str(learned.reconstruction.grad_fn)) == (fast and kind == "relu" and not skip)
        loss = (weights * (y - learned.reconstruction).square().sum(1)).mean() + learned.penalty
        codes = learned.codes.dense() if isinstance(learned.codes, SparseCodes) else learned.codes
        found.append([codes, learned.reconstruction, loss, *torch.autograd.grad(loss, list(training.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_of_another_gate_is_refused(tmp_path):
    x, y = drawn(60, 5), drawn(60, 4, seed=1)
    options = {"nb_epochs": 1, "checkpoint": tmp_path / "file"}
    TranscoderConcepts(None, 8, activation="relu").fit([x, y], **options)
    for other in ({"activation": "jumprelu"}, {"activation": "relu", "l1": 0.2}, {"activation": "relu", "skip": True}):
        with pytest.raises(OptionError, match=r"`checkpoint`: .* is of a training with"):
            TranscoderConcepts(None, 8, **other).fit([x, y], **options)


def test_an_interrupted_overwriting_leaves_no_fitted_explainer(monkeypatch):
    explainer = fitted(k=2)
    monkeypatch.setattr(CoderTraining, "calibrate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explainer.fit([drawn(200, 5), drawn(200, 4)], overwrite=True, nb_epochs=1)
    assert not explainer.is_fitted and explainer.history == []
    monkeypatch.undo()
    explainer.fit([drawn(200, 5), drawn(200, 4)], nb_epochs=1)
    assert explainer.is_fitted and len(explainer.history) == 1


def test_a_planted_layer_is_recovered():
    x, y, read, write = planted()
    explainer = TranscoderConcepts(None, 12, k=1, activation="batchtopk").fit([x, y], nb_epochs=25, batch_size=100, lr=1e-2)
    model = explainer.concept_model
    written, reads = (torch.nn.functional.normalize(t, dim=1) for t in (model.atoms, model.encoder_weight))
    best, own = (written @ write.T).max(0)
    assert float(best.min()) > 0.97 and len(own.unique()) == 6
    assert float((reads[own] * read).sum(1).min()) > 0.8
    assert explainer.explained([x, y])[0] > 0.95


def test_a_skip_transcoder_without_codes_is_the_affine_fit():
    x = drawn(300, 5) @ drawn(5, 5, seed=2) + 4
    y = x @ drawn(5, 3, seed=3) + 0.3 * drawn(300, 3, seed=4) - 2
    explainer = TranscoderConcepts(None, 4, activation="relu", l1=1e4, skip=True).fit([x, y], nb_epochs=1, lr=1e-9)
    model = explainer.concept_model
    ones = torch.cat([x, torch.ones(300, 1)], 1).double()
    best = torch.linalg.lstsq(ones, y.double()).solution.float()
    torch.testing.assert_close(model.skip, best[:-1].T, atol=1e-4, rtol=1e-4)
    (error,) = explainer.errors([x, y])
    codes = explainer.encode_activations(x)
    rest = error + codes @ model.atoms
    assert float((rest.T.double() @ ones).abs().max()) < 2e-2 * 300  # orthogonal to what is read, and to a constant


def test_offset_and_scale_of_either_end_change_no_code_but_its_unit():
    x, y = drawn(300, 5), drawn(300, 4, seed=1).relu()
    plain = fitted(rows=(x, y), k=3)
    moved = fitted(rows=(16 * x + 3, 4 * y - 5), k=3)
    a, b = plain.encode_activations(x), moved.encode_activations(16 * x + 3)
    torch.testing.assert_close(4 * a, b, atol=2e-2, rtol=1e-2)
    assert torch.allclose(moved.directions().norm(dim=1), torch.ones(8), atol=1e-5)


def test_concepts_of_a_layer_write_to_no_earlier_one_and_the_layers_sum():
    x, y = [drawn(120, 4, seed=i) for i in range(3)], [drawn(120, 5, seed=9 + i) for i in range(3)]
    explainer = CrossLayerTranscoderConcepts(None, 12, layers=3, activation="relu").fit([*x, *y], nb_epochs=3, batch_size=40)
    for layer in range(3):
        reaches = explainer.directions(layer).norm(dim=1) > 0
        assert reaches.tolist() == [explainer.layer_of(c) <= layer for c in range(12)]
    model, codes = explainer.concept_model, explainer.encode_activations(torch.cat(x, 1))
    changed = [*x[:1], x[1] + 1, x[2]]
    apart = (explainer.encode_activations(torch.cat(changed, 1)) - codes).abs().sum(0) > 0
    assert not apart[:4].any() and not apart[8:].any()  # each group reads its own layer
    wanted = [
        sum(codes[:, 4 * layer : 4 * layer + 4] @ explainer.directions(m)[4 * layer : 4 * layer + 4] for layer in range(m + 1))
        for m in range(3)
    ]
    for m, rows in enumerate(explainer.written_rows(codes)):
        bias = model.wiring.written(model.decoder_bias)[m]
        torch.testing.assert_close(rows, wanted[m] + bias, atol=1e-5, rtol=1e-5)


def test_one_layer_across_layers_is_a_transcoder():
    x, y = drawn(150, 5), drawn(150, 4, seed=1)
    one = TranscoderConcepts(None, 6, k=2).fit([x, y], nb_epochs=2)
    across = CrossLayerTranscoderConcepts(None, 6, layers=1, k=2).fit([x, y], nb_epochs=2)
    torch.testing.assert_close(one.encode_activations(x), across.encode_activations(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((TranscoderConcepts, {"activation": name, "skip": True}) for name in KINDS),
        (CrossLayerTranscoderConcepts, {"layers": 1}),
    ],
)
def test_a_saved_transcoder_computes_the_same_bit_for_bit(kind, options, tmp_path):
    explainer, x = fitted(kind, **options), drawn(50, 5, seed=7)
    explainer.save(tmp_path / "file")
    loaded = load_concepts(tmp_path / "file")
    assert type(loaded) is kind and loaded.history == explainer.history
    codes = explainer.encode_activations(x)
    assert torch.equal(loaded.encode_activations(x), codes)
    assert torch.equal(loaded.written_rows(codes, x)[0], explainer.written_rows(codes, x)[0])
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()


def test_two_trainings_are_equal_and_a_finished_one_is_taken_as_it_is(tmp_path):
    x, y = drawn(200, 5), drawn(200, 4, seed=1)
    whole = TranscoderConcepts(None, 8, k=2).fit([x, y], nb_epochs=4, batch_size=50, checkpoint=tmp_path / "whole")
    again = TranscoderConcepts(None, 8, k=2).fit([x, y], nb_epochs=4, batch_size=50, checkpoint=tmp_path / "whole")
    assert torch.equal(whole.encode_activations(x), again.encode_activations(x)) and whole.history == again.history


def test_a_displacement_moves_what_is_written_alone():
    explainer, x = fitted(k=3), drawn(20, 5)
    codes = explainer.encode_activations(x)
    changed = codes.clone()
    changed[:, 2] += 1.5
    moved = explainer.displacement(codes)(changed)
    assert torch.equal(moved[:, :5], torch.zeros(20, 5))
    torch.testing.assert_close(moved[:, 5:], 1.5 * explainer.directions()[2].expand(20, -1))


class Stored:
    """Rows that say where they were read, as stores do."""

    def __init__(self, rows, split_point):
        self.rows, self.config, self.checked = rows, SimpleNamespace(split_point=split_point), []
        self.shape, self.dtype = rows.shape, rows.dtype

    def batches(self, size, generator=None):
        order = torch.arange(len(self.rows)) if generator is None else torch.randperm(len(self.rows), generator=generator)
        return iter(self.rows[order].split(size))

    def read(self):
        return self.rows

    def check_model(self, model, split_point):
        self.checked.append((model, split_point))


def test_stores_are_those_of_the_places_and_of_the_model():
    model, tokenizer = demo.load_classifier()
    places = ["bert.encoder.layer.1.intermediate:input", "bert.encoder.layer.1.output.dense"]
    stores = [Stored(drawn(60, 128, seed=i), place) for i, place in enumerate(places)]
    splitter = ModelWithSplitPoints(model, places, tokenizer=tokenizer)
    TranscoderConcepts(splitter, 8, k=1).fit(stores, nb_epochs=1)
    assert [store.checked for store in stores] == [[(model, place)] for place in places]
    with pytest.raises(InputError, match=r"read at 'bert.encoder.layer.1.output.dense', and the explainer is of '.*input'"):
        TranscoderConcepts(splitter, 8, k=1).fit(stores[::-1], nb_epochs=1)
    with pytest.raises(InputError, match=r"holds .*:input; .*output.dense are needed to learn"):
        TranscoderConcepts(splitter, 8, k=1).fit({places[0]: stores[0]}, nb_epochs=1)


@pytest.mark.parametrize("kind", [TranscoderConcepts, CrossLayerTranscoderConcepts, CrosscoderConcepts])
def test_options_of_all_coders_are_declared_once_and_shown_at_each(kind):
    shown, there = signature(kind).parameters, signature(coder_options).parameters
    names = [name for name in there if name != "nb_concepts"]
    assert names == ["activation", "k", "l1", "l0", "published"]
    for name in names:
        own = kind.own_defaults.get(name, there[name].default)
        assert shown[name].kind is shown[name].KEYWORD_ONLY and shown[name].default == own
        assert f"\n    {name}: " in getdoc(kind)
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in shown.values())
    count = {"layers": 1} if kind is CrossLayerTranscoderConcepts else {"places": 2} if kind is CrosscoderConcepts else {}
    assert kind(None, 8, **count).concept_model_options["activation"] == shown["activation"].default
    with pytest.raises(OptionError, match=f"`beta`: got 1, and {kind.__name__} has no such option; it has activation"):
        kind(None, 8, beta=1, **count)


def test_what_cannot_be_asked_is_refused():
    x, y = drawn(30, 5), drawn(30, 4)
    with pytest.raises(InputError, match=r"1 places .* 2 are read and written"):
        TranscoderConcepts(None, 4, k=1).fit([x])
    with pytest.raises(InputError, match="same n units"):
        TranscoderConcepts(None, 4, k=1).fit([x, y[:9]])
    with pytest.raises(InputError, match="all rows of 'place 1' are equal"):
        TranscoderConcepts(None, 4, k=1).fit([x, torch.ones(30, 4)])
    with pytest.raises(OptionError, match="`nb_concepts`: got 5"):
        CrossLayerTranscoderConcepts(None, 5, layers=2)
    with pytest.raises(OptionError, match="number of layers"):
        CrossLayerTranscoderConcepts(None, 4)
    with pytest.raises(InputError, match=r"got torch\.int64; pass floats"):
        TranscoderConcepts(None, 4, k=1).fit([x, torch.arange(120).view(30, 4)])
    with pytest.raises(InputError, match="got ndarray; pass a tensor"):
        TranscoderConcepts(None, 4, k=1).fit([x.numpy(), y.numpy()])
    explainer = fitted(k=2, skip=True)
    with pytest.raises(OptionError, match="skip connection"):
        explainer.written_rows(torch.zeros(2, 8))
    with pytest.raises(InputError, match="written places are needed"):
        explainer.errors(x)
    with pytest.raises(OptionError, match="1 places are written"):
        explainer.directions(3)
    with pytest.raises(OptionError, match="already fitted"):
        explainer.fit([x, y])
