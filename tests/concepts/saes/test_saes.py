"""Sparse autoencoders: what they promise on real activations, and what each does by definition."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interpreto.concepts import (
    BatchTopKSAEConcepts,
    CrosscoderConcepts,
    CrossLayerTranscoderConcepts,
    GatedSAEConcepts,
    JumpReLUSAEConcepts,
    MatryoshkaSAEConcepts,
    MpSAEConcepts,
    SAEExplainer,
    TopKSAEConcepts,
    TranscoderConcepts,
    VanillaSAEConcepts,
    load_concepts,
)
from interpreto.concepts.adapters.overcomplete import load_overcomplete
from interpreto.concepts.saes import architectures as sparse_autoencoders
from interpreto.concepts.saes.architectures import JumpReLUSAE, MatchingPursuitSAE
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.fitting import TrainedConcepts
from interpreto.concepts.saes.trainer import TrainingOptions
from interpreto.errors import FileError, InputError, InterpretoError, ModelError, OptionError
from tests.concepts.activations import demo_activations
from tests.concepts.dictionaries.test_dictionaries import Store
from tests.concepts.saes.test_distributed import KINDS, activations_of, made

ALL = (
    VanillaSAEConcepts,
    TopKSAEConcepts,
    BatchTopKSAEConcepts,
    JumpReLUSAEConcepts,
    MpSAEConcepts,
    GatedSAEConcepts,
    MatryoshkaSAEConcepts,
)
CONCEPTS = 128


def some_rows(n: int = 600, d: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(n, 12, generator=generator) * (torch.rand(n, 12, generator=generator) < 0.2)
    return codes @ torch.randn(12, d, generator=generator) + 0.02 * torch.randn(n, d, generator=generator)


def explained(explainer: SAEExplainer, rows: Tensor) -> float:
    left = rows - explainer.decode_concepts(explainer.encode_activations(rows))
    return 1 - float(left.double().square().sum() / (rows.double() - rows.double().mean(0)).square().sum())


def l0(explainer: SAEExplainer, rows: Tensor) -> float:
    return float((explainer.encode_activations(rows) != 0).sum(1).float().mean())


# On real activations


@pytest.fixture(scope="module")
def trained() -> dict[type, SAEExplainer]:
    options = {
        TopKSAEConcepts: {"k": 12},
        BatchTopKSAEConcepts: {"k": 12},
        MpSAEConcepts: {"k": 6},
        MatryoshkaSAEConcepts: {"k": 12},
    }
    rows = demo_activations()
    return {kind: kind(None, CONCEPTS, **options.get(kind, {})).fit(rows, nb_epochs=4) for kind in ALL}


@pytest.mark.parametrize("kind", ALL)
def test_an_offset_and_a_scale_change_nothing(kind, trained):
    rows = demo_activations()
    k = getattr(trained[kind].concept_model, "k", None)
    moved = kind(None, CONCEPTS, **({} if k is None else {"k": k})).fit(3 * rows + 100, nb_epochs=4)
    assert abs(explained(moved, 3 * rows + 100) - explained(trained[kind], rows)) < 0.01
    assert l0(moved, 3 * rows + 100) == pytest.approx(l0(trained[kind], rows), rel=0.02)


@pytest.mark.parametrize("kind", [TopKSAEConcepts, BatchTopKSAEConcepts])
def test_rows_have_k_concepts_at_evaluation_too(kind, trained):
    rows = demo_activations()
    explainer = trained[kind]
    assert l0(explainer, rows) == pytest.approx(12, rel=0.05)
    assert explainer.history[-1].l0 == pytest.approx(12, rel=0.05)
    one_by_one = torch.cat([explainer.encode_activations(row[None]) for row in rows[:50]])
    torch.testing.assert_close(one_by_one, explainer.encode_activations(rows[:50]), atol=1e-4, rtol=1e-4)
    assert explained(explainer, rows) > 0.7


@pytest.mark.parametrize("kind", [VanillaSAEConcepts, JumpReLUSAEConcepts])
def test_penalties_that_work_by_default(kind, trained):
    rows = demo_activations()
    wide = kind(None, 256).fit(rows, nb_epochs=6)
    assert l0(wide, rows) <= 0.2 * 256 and explained(wide, rows) >= 0.8
    assert wide.history[-1].dead_fraction < 0.1


@pytest.mark.parametrize("kind", ALL)
def test_the_history_tells_what_evaluation_finds(kind, trained):
    rows = demo_activations()
    history = trained[kind].history
    assert [record.epoch for record in history] == [1, 2, 3, 4] and history[-1].step == 4 * 40
    assert history[-1].explained_variance == pytest.approx(explained(trained[kind], rows), abs=0.02)
    assert history[-1].l0 == pytest.approx(l0(trained[kind], rows), rel=0.05)
    assert history[0].explained_variance < history[-1].explained_variance and history[-1].loss < history[0].loss + 0.5
    codes = trained[kind].encode_activations(rows)
    assert history[-1].dead_fraction == pytest.approx(float((codes == 0).all(0).float().mean()), abs=0.05)


@pytest.mark.parametrize("kind", ALL)
def test_atoms_have_norm_one_and_decoding_is_linear(kind, trained):
    explainer = trained[kind]
    dictionary = explainer.get_dictionary()
    torch.testing.assert_close(dictionary.norm(dim=1), torch.ones(CONCEPTS))
    codes = torch.rand(3, CONCEPTS, generator=torch.Generator().manual_seed(0))
    offset = explainer.decode_concepts(torch.zeros(1, CONCEPTS))
    torch.testing.assert_close(explainer.decode_concepts(codes), codes @ dictionary + offset, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ALL)
def test_encoding_is_deterministic_has_no_graph_and_lets_gradients_pass(kind, trained):
    rows = demo_activations()[:20]
    explainer = trained[kind]
    codes = explainer.encode_activations(rows)
    assert not codes.requires_grad and torch.equal(codes, explainer.encode_activations(rows))
    assert not any(parameter.requires_grad for parameter in explainer.concept_model.parameters())
    explainer.concept_model.eval()
    assert torch.equal(codes, explainer.encode_activations(rows))
    inputs = rows.double().requires_grad_()
    (gradient,) = torch.autograd.grad(explainer.decode_concepts(explainer.encode_activations(inputs)).sum(), inputs)
    assert bool((gradient.abs().sum(1) > 0).all())
    low = explainer.decode_concepts(explainer.encode_activations(rows.bfloat16()))
    assert float((low - explainer.decode_concepts(codes)).norm() / low.norm()) < 0.05


# Training


@pytest.mark.parametrize("kind", ALL)
def test_a_training_is_repeated_exactly_and_draws_from_no_global_generator(kind):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (kind(None, 24, random_state=7).fit(some_rows(), nb_epochs=3, batch_size=100) for _ in range(2))
    assert torch.equal(first.encode_activations(some_rows()), second.encode_activations(some_rows()))
    assert first.history == second.history
    other = kind(None, 24, random_state=8).fit(some_rows(), nb_epochs=3, batch_size=100)
    assert not torch.equal(first.get_dictionary(), other.get_dictionary())
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


class Interruption(Exception):
    """Power was lost."""


@pytest.mark.parametrize("kind", [*ALL, "overcomplete"])
@pytest.mark.parametrize("steps", [3, 13])  # in an epoch, and in a later one
def test_a_resumed_training_is_an_uninterrupted_one(kind, steps, tmp_path, monkeypatch):
    def explainer() -> SAEExplainer:
        return SAEExplainer(None, "overcomplete.sae.BatchTopKSAE", 24, top_k=300) if kind == "overcomplete" else kind(None, 24)

    rows, options = some_rows(), {"nb_epochs": 4, "batch_size": 100}
    whole = explainer().fit(rows, **options)
    path = tmp_path / "training.safetensors"
    from interpreto.concepts.saes import trainer as training

    write, calls = training.write_checkpoint, []

    def write_then_fail(*arguments):
        write(*arguments)
        calls.append(1)
        if len(calls) == steps:
            raise Interruption

    monkeypatch.setattr(training, "write_checkpoint", write_then_fail)
    interrupted = explainer()
    with pytest.raises(Interruption):
        interrupted.fit(rows, checkpoint=path, checkpoint_every=1, **options)
    monkeypatch.undo()
    assert not interrupted.is_fitted
    assert not any(parameter.requires_grad for parameter in interrupted.concept_model.parameters())
    with pytest.raises(ModelError, match="is not fitted"):
        interrupted.encode_activations(rows)
    resumed = interrupted.fit(rows, checkpoint=path, **options)
    assert torch.equal(resumed.encode_activations(rows), whole.encode_activations(rows))
    assert torch.equal(resumed.get_dictionary(), whole.get_dictionary())
    assert resumed.history == whole.history


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "training.safetensors"
    TopKSAEConcepts(None, 24).fit(some_rows(), nb_epochs=1, checkpoint=path)
    with pytest.raises(OptionError, match=r"nb_epochs=1, and this one has nb_epochs=2"):
        TopKSAEConcepts(None, 24).fit(some_rows(), nb_epochs=2, checkpoint=path)
    with pytest.raises(OptionError, match=r"model='TopKSAE'"):
        BatchTopKSAEConcepts(None, 24).fit(some_rows(), nb_epochs=1, checkpoint=path)
    with pytest.raises(OptionError, match=r"`checkpoint`: .* is of a training on other activations"):
        TopKSAEConcepts(None, 24).fit(some_rows() + 0.01, nb_epochs=1, checkpoint=path)
    path.write_text("nothing")
    with pytest.raises(FileError, match="cannot be read"):
        TopKSAEConcepts(None, 24).fit(some_rows(), nb_epochs=1, checkpoint=path)


def test_where_no_checkpoint_can_be_written_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Autoencoder, "start", lambda *_: pytest.fail("it began"))
    with pytest.raises(FileError, match=r"`checkpoint`: there is no folder .*no' to write 'c' into"):
        TopKSAEConcepts(None, 24).fit(some_rows(), checkpoint=tmp_path / "no" / "c")
    with pytest.raises(FileError, match=r"`checkpoint`: .* is a folder"):
        TopKSAEConcepts(None, 24).fit(some_rows(), checkpoint=tmp_path)


def test_a_threshold_is_of_all_rows_in_whatever_order(monkeypatch):
    monkeypatch.setattr(sparse_autoencoders, "MOST_CODES", 1 << 17)  # a quarter of them
    rows = torch.cat([0.3 * some_rows(10_000), 3 * some_rows(10_000)])
    explainer = BatchTopKSAEConcepts(None, 24, k=3).fit(rows, nb_epochs=1)
    assert l0(explainer, rows) == pytest.approx(3, rel=0.05)


def test_dead_concepts_are_revived():
    rows = some_rows()
    dead = TopKSAEConcepts(None, 200, k=2).fit(rows, nb_epochs=10, batch_size=100, revive=False)
    alive = TopKSAEConcepts(None, 200, k=2).fit(rows, nb_epochs=10, batch_size=100)
    assert alive.history[-1].dead_fraction < dead.history[-1].dead_fraction - 0.1


def test_mixed_precision_gives_nearly_the_same():
    rows = some_rows()
    full = TopKSAEConcepts(None, 24, k=3).fit(rows, batch_size=100)
    mixed = TopKSAEConcepts(None, 24, k=3).fit(rows, batch_size=100, mixed_precision=True)
    assert explained(mixed, rows) == pytest.approx(explained(full, rows), abs=0.05)
    assert {parameter.dtype for parameter in mixed.concept_model.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore::interpreto.errors.OutlierWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_runs_for_each(kind):
    options = {"nb_epochs": 2, "batch_size": 100}
    mixed = made(kind).fit(activations_of(kind), mixed_precision=True, **options)
    full = made(kind).fit(activations_of(kind), **options)
    assert mixed.history[-1].explained_variance == pytest.approx(full.history[-1].explained_variance, abs=0.05)
    assert {parameter.dtype for parameter in mixed.concept_model.state_dict().values()} <= {torch.float32, torch.int64}


def test_a_store_is_streamed():
    rows = some_rows()
    store = Store(rows)
    streamed = TopKSAEConcepts(None, 24, k=3).fit(store, nb_epochs=3)
    assert store.reads == 0
    assert torch.equal(streamed.get_dictionary(), TopKSAEConcepts(None, 24, k=3).fit(rows, nb_epochs=3).get_dictionary())


def test_options_of_a_training_are_those_of_fit():
    there = {name: p.default for name, p in signature(TrainedConcepts.fit).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert there == {field.name: field.default for field in fields(TrainingOptions)}
    kinds = (*ALL, SAEExplainer, TranscoderConcepts, CrossLayerTranscoderConcepts, CrosscoderConcepts)
    assert all(kind.fit is TrainedConcepts.fit for kind in kinds)


@pytest.mark.parametrize("name", ["revive", "mixed_precision", "distributed"])
def test_flags_are_true_or_false(name):
    options = TrainingOptions()
    object.__setattr__(options, name, "no")  # which the annotations of the tests would refuse before
    with pytest.raises(OptionError, match=f"`{name}`: got 'no'; pass True or False"):
        options.__post_init__()


def test_activations_are_left_alone():
    rows = some_rows()
    copy = rows.clone()
    VanillaSAEConcepts(None, 24).fit(rows, nb_epochs=1)
    assert torch.equal(rows, copy)


# What each is


def test_jump_relus_pseudo_gradients_are_the_papers():
    model = JumpReLUSAE(3, l0=0.5, bandwidth=0.4, start=0.5)
    rows = torch.tensor([[0.6, 0.1, 2.0], [0.45, 0.55, -1.0]])
    model.draw(3, torch.device("cpu"), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in (model.atoms, model.encoder_weight):
            parameter.copy_(torch.eye(3))
    learned = model.learn(rows, 1.0, torch.ones(2))
    assert learned.codes.tolist() == [[pytest.approx(0.6), 0.0, 2.0], [0.0, pytest.approx(0.55), 0.0]]
    assert float(learned.penalty.detach()) == pytest.approx(0.5 * (2 + 1) / 2)
    (gradient,) = torch.autograd.grad(learned.penalty, model.log_threshold, retain_graph=True)
    # ∂L0/∂θ = −K((z − θ)/ε)/ε a row, K is 1 within ε/2; ∂θ/∂log θ = θ; the mean is over two rows
    torch.testing.assert_close(gradient, 0.5 * torch.tensor([-2.0, -1.0, 0.0]) / 0.4 * 0.5 / 2)
    (gradient,) = torch.autograd.grad(learned.codes.sum(), model.log_threshold)
    torch.testing.assert_close(gradient, -0.5 / 0.4 * torch.tensor([2.0, 1.0, 0.0]) * 0.5)


def test_matching_pursuit_is_overcompletes_and_its_gradient_that_of_every_step():
    theirs = load_overcomplete("sae").MpSAE(16, 40, k=5)
    ours = MatchingPursuitSAE(40, k=5)
    ours.draw(16, torch.device("cpu"), torch.Generator().manual_seed(0))
    rows = torch.randn(50, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.no_grad():
        theirs.dictionary._weights.copy_(ours.atoms)
    expected = theirs.encode(rows)[1]
    codes = ours.codes(rows)
    torch.testing.assert_close(codes, expected, atol=1e-5, rtol=1e-4)
    weight = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    (back,) = torch.autograd.grad((codes * weight).sum(), rows)
    (their_back,) = torch.autograd.grad((expected * weight).sum(), rows)
    torch.testing.assert_close(back, their_back, atol=1e-4, rtol=1e-3)


def test_matching_pursuit_stops_where_nothing_fits():
    ours = MatchingPursuitSAE(2, k=2)
    ours.draw(2, torch.device("cpu"), torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours.atoms.copy_(torch.eye(2))
    assert ours.codes(torch.tensor([[3.0, -1.0], [-1.0, -1.0]])).tolist() == [[3.0, 0.0], [0.0, 0.0]]


# Foreign autoencoders


@pytest.mark.parametrize("name", ["SAE", "TopKSAE", "BatchTopKSAE", "JumpSAE", "MpSAE", "QSAE"])
def test_overcompletes_are_trained_on_centred_rows(name):
    options = {"TopKSAE": {"top_k": 3}, "BatchTopKSAE": {"top_k": 300}, "MpSAE": {"k": 3}}.get(name, {})
    rows = some_rows()
    state = torch.random.get_rng_state()
    kind = getattr(load_overcomplete("sae"), name)
    explainer, moved = (
        SAEExplainer(None, kind, 24, **options).fit(x, batch_size=100, nb_epochs=10) for x in (rows, rows + 100)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert explained(explainer, rows) > 0.1 or name == "QSAE"
    assert explained(moved, rows + 100) == pytest.approx(explained(explainer, rows), abs=0.05)
    codes = explainer.encode_activations(rows)
    assert torch.equal(codes, explainer.encode_activations(rows)) and not codes.requires_grad
    assert explainer.get_dictionary().shape == (24, 16)


def test_an_instance_and_a_criterion_are_used():
    calls = []

    def criterion(x, x_hat, pre_codes, codes, dictionary):
        calls.append(codes.shape)
        return (x - x_hat).square().sum(1).mean() + 0.01 * codes.abs().sum(1).mean()

    model = load_overcomplete("sae").TopKSAE(16, 24, top_k=3)
    explainer = SAEExplainer(None, model, criterion=criterion).fit(some_rows(), nb_epochs=2)
    assert explainer.concept_model.model is model and explainer.nb_concepts == 24 and calls


class Own(nn.Module):
    """A user's autoencoder."""

    def __init__(self, width: int, nb_concepts: int) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(width, nb_concepts), nn.Linear(nb_concepts, width)

    def encode(self, rows: Tensor) -> Tensor:
        return self.encoder(rows).relu()

    def decode(self, codes: Tensor) -> Tensor:
        return self.decoder(codes)


def test_a_module_of_ones_own_is_trained():
    explainer = SAEExplainer(None, Own, 24, l1=0.01).fit(some_rows(), nb_epochs=20, batch_size=100)
    assert explained(explainer, some_rows()) > 0.7
    codes = torch.rand(3, 24, generator=torch.Generator().manual_seed(0))
    offset = explainer.decode_concepts(torch.zeros(1, 24))
    torch.testing.assert_close(explainer.decode_concepts(codes), codes @ explainer.get_dictionary() + offset)


def test_gradients_that_a_module_came_with_are_not_taken():
    found = []
    for stale in (False, True):
        own = Own(16, 24)
        with torch.no_grad():
            for number, parameter in enumerate(own.parameters()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
        if stale:
            own.decode(own.encode(some_rows())).sum().backward()
        SAEExplainer(None, own, 24, l1=0.01).fit(some_rows(), nb_epochs=1, batch_size=100)
        found.append(own.decoder.weight.detach())
    assert torch.equal(*found)


# Bad input


class Diverging(Own):
    def decode(self, codes: Tensor) -> Tensor:
        return self.decoder(codes) / 0.0


BAD = {
    "k": (lambda: TopKSAEConcepts(None, 24, k=25), r"`k`: got 25.*24"),
    "no k": (lambda: MpSAEConcepts(None, 24, k=0), r"`k`: got 0"),
    "l1": (lambda: VanillaSAEConcepts(None, 24, l1=-1.0), r"`l1`: got -1.0"),
    "l0": (lambda: JumpReLUSAEConcepts(None, 24, l0=float("inf")), r"`l0`: got inf"),
    "epochs": (lambda: TrainingOptions(nb_epochs=0), r"`nb_epochs`: got 0"),
    "lr": (lambda: TrainingOptions(lr=0.0), r"`lr`: got 0.0"),
    "warm-up": (lambda: TrainingOptions(warm_up=1.0), r"`warm_up`: got 1.0"),
    "equal rows": (lambda: TopKSAEConcepts(None, 24).fit(torch.ones(9, 4)), r"all rows are equal"),
    "nan": (lambda: TopKSAEConcepts(None, 24).fit(torch.full((9, 4), torch.nan)), r"9 of 9 rows"),
    "again": (lambda: TopKSAEConcepts(None, 24).fit(some_rows(), nb_epochs=1).fit(some_rows()), r"overwrite=True"),
    "diverged": (lambda: SAEExplainer(None, Diverging, 24).fit(some_rows()), r"diverged.*smaller `lr`"),
    "options": (lambda: SAEExplainer(None, Own, 24, depth=3).fit(some_rows()), r"Own cannot be made with"),
    "no module": (lambda: SAEExplainer(None, object()), r"has no encode, decode"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    call, message = BAD[case]
    with pytest.raises(InterpretoError, match=message):
        call()


@pytest.mark.parametrize("kind", ALL)
def test_a_training_that_diverges_is_told_of_each_kind(kind):
    explainer = kind(None, 24)
    with pytest.raises(ModelError, match=r"diverged before step \d+; pass a smaller `lr`"):
        explainer.fit(some_rows(), lr=1e20, batch_size=100)
    assert not explainer.is_fitted


@pytest.mark.parametrize("name", ["VanillaSAEConcepts", "BatchTopKSAEConcepts", "batchtopk", "relu"])
@pytest.mark.filterwarnings("ignore::interpreto.errors.OutlierWarning")
def test_a_training_is_the_same_whatever_precision_is_set_outside(name):
    rows, options = activations_of(name), {"nb_epochs": 2, "batch_size": 100}
    plain = made(name).fit(rows, **options).concept_model.state_dict()
    with torch.autocast("cpu", torch.bfloat16):
        lower = made(name).fit(rows, **options).concept_model.state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        double = made(name).fit(rows, **options).concept_model.state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    for key, tensor in plain.items():
        assert torch.equal(lower[key], tensor) and torch.equal(double[key], tensor), key


@pytest.mark.parametrize("name", ["TopKSAEConcepts", "relu"])
def test_a_mixed_training_is_the_same_within_another_autocast(name):
    rows, options = activations_of(name), {"nb_epochs": 2, "batch_size": 100, "mixed_precision": True}
    plain = made(name).fit(rows, **options).concept_model.state_dict()
    with torch.autocast("cpu", torch.bfloat16):  # whose cache of weights outlives a step
        within = made(name).fit(rows, **options).concept_model.state_dict()
    assert all(torch.equal(within[key], tensor) for key, tensor in plain.items())


def test_a_checkpoint_of_tied_weights_is_refused(tmp_path):
    VanillaSAEConcepts(None, 24, tied=True).fit(some_rows(), nb_epochs=1, checkpoint=tmp_path / "file")
    with pytest.raises(OptionError, match="is of a training with tied=True, and this one has no tied; train"):
        VanillaSAEConcepts(None, 24).fit(some_rows(), nb_epochs=1, checkpoint=tmp_path / "file")


def test_errors_are_of_their_kind():
    with pytest.raises(InputError):
        BAD["nan"][0]()
    with pytest.raises(ModelError):
        BAD["diverged"][0]()
    assert issubclass(type(TopKSAEConcepts(None, 24).concept_model), Autoencoder)


def test_tied_weights_are_one_matrix(tmp_path):
    rows = some_rows()
    explainer = VanillaSAEConcepts(None, 24, tied=True).fit(rows, nb_epochs=12, batch_size=64)
    model = explainer.concept_model
    assert torch.equal(model.encoder_weight, model.atoms)
    torch.testing.assert_close(model.atoms.norm(dim=1), torch.ones(24))
    normal = (rows - model.mean) / model.scale
    codes = ((normal - model.decoder_bias) @ model.atoms.T + model.encoder_bias).relu() * model.scale
    torch.testing.assert_close(explainer.encode_activations(rows), codes, atol=1e-5, rtol=1e-4)
    assert explained(explainer, rows) > 0.5
    explainer.save(tmp_path / "tied.safetensors")
    loaded = load_concepts(tmp_path / "tied.safetensors")
    assert loaded.concept_model.tied and torch.equal(loaded.encode_activations(rows), explainer.encode_activations(rows))
    free = VanillaSAEConcepts(None, 24).fit(rows, nb_epochs=2, batch_size=64)
    assert not torch.equal(free.concept_model.encoder_weight, free.concept_model.atoms)
