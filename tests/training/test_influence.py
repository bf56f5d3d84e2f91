"""Influence is its closed form: gradients of a linear head, gradients by autograd, and leaving a text out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from interpreto.errors import FileError, ModelError, OptionError
from interpreto.statistics import pearson
from interpreto.training import HeadInfluence, NearestTexts, TracIn, TrainingDynamics
from tests import tiny

TEXTS, LABELS = list(tiny.SENTENCES[1:4]), [0, 1, 2]
QUERIES, ASKED = list(tiny.SENTENCES[4:6]), [2, 0]


def blobs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of three classes around three centers, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centers = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    return centers[labels] + 0.7 * torch.randn(n, 4, generator=generator), labels


def gradient(head: torch.nn.Linear, row: torch.Tensor, label: int) -> torch.Tensor:
    loss = cross_entropy(head(row[None]), torch.tensor([label]))
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, tuple(head.parameters()))])


class TestTracInOfARecord:
    @pytest.mark.parametrize("bias", [True, False])
    def test_it_is_the_sum_of_products_of_autograds_gradients(self, bias):
        rows, labels = blobs(6)
        asked, wanted = blobs(4, seed=1)
        texts, queries = TrainingDynamics(), TrainingDynamics()
        total, own = torch.zeros(6, 4), torch.zeros(6)
        torch.manual_seed(0)
        for epoch, rate in enumerate((0.5, 2.0)):
            head = torch.nn.Linear(4, 3, bias=bias)
            texts.record(epoch, range(6), head(rows), labels, rows)
            queries.record(epoch, range(4), head(asked), wanted, asked)
            left = torch.stack([gradient(head, row, int(label)) for row, label in zip(rows, labels, strict=True)])
            right = torch.stack([gradient(head, row, int(label)) for row, label in zip(asked, wanted, strict=True)])
            total += rate * left @ right.T
            own += rate * left.square().sum(1)
        assert torch.allclose(texts.tracin(queries, [0.5, 2.0], bias=bias), total, atol=1e-6)
        assert torch.allclose(texts.tracin(None, [0.5, 2.0], bias=bias), own, atol=1e-6)
        assert torch.allclose(texts.tracin(texts, bias=bias).diagonal(), texts.tracin(bias=bias), atol=1e-6)

    def test_a_small_step_on_a_text_lowers_a_querys_loss_by_it(self):
        rows, labels = blobs(3)
        torch.manual_seed(0)
        head = torch.nn.Linear(4, 3).double()
        texts = TrainingDynamics()
        texts.record(0, range(3), head(rows.double()), labels, rows)
        rate = 1e-4
        moved = copy.deepcopy(head)
        loss = cross_entropy(moved(rows[:1].double()), labels[:1])
        step = torch.autograd.grad(loss, tuple(moved.parameters()))
        torch._foreach_sub_([parameter.data for parameter in moved.parameters()], [rate * part for part in step])

        def losses(of: torch.nn.Linear) -> torch.Tensor:
            return cross_entropy(of(rows.double()), labels, reduction="none")

        fall = (losses(head) - losses(moved)).float()
        assert torch.allclose(fall, texts.tracin(texts, rate)[0], rtol=1e-3, atol=1e-9)

    def test_rates_and_epochs_must_fit(self):
        rows, labels = blobs(3)
        one, two = TrainingDynamics(), TrainingDynamics()
        one.record(0, range(3), torch.zeros(3, 3), labels, rows)
        two.record(1, range(3), torch.zeros(3, 3), labels, rows)
        with pytest.raises(OptionError, match="were recorded at epochs"):
            one.tracin(two)
        for rates in ([1.0, 2.0], 0.0, -1.0):
            with pytest.raises(OptionError, match="learning_rates"):
                one.tracin(None, rates)


class TestTracIn:
    @pytest.fixture(scope="class")
    def bert(self):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        states = [{name: value + 0.02 * i for name, value in model.state_dict().items()} for i in range(2)]
        return model, tokenizer, states

    def test_the_head_by_autograd_is_the_head_in_closed_form(self, bert):
        model, tokenizer, states = bert
        before = {name: value.clone() for name, value in model.state_dict().items()}
        flags = [parameter.requires_grad for parameter in model.parameters()]
        closed = TracIn(model, tokenizer, states, learning_rates=[1.0, 0.5])
        layered = TracIn(model, tokenizer, states, layers=["classifier"], learning_rates=[1.0, 0.5])
        assert torch.allclose(closed.self_influence(TEXTS, LABELS), layered.self_influence(TEXTS, LABELS), rtol=1e-4)
        found = [one.influence(TEXTS, LABELS, QUERIES, ASKED) for one in (closed, layered)]
        assert found[0].shape == (3, 2) and torch.allclose(*found, rtol=1e-3, atol=1e-4)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
        assert all(parameter.grad is None for parameter in model.parameters())

    @pytest.mark.slow
    def test_layers_add_up(self, bert):
        model, tokenizer, states = bert
        names = ["classifier.weight", "classifier.bias", "bert.pooler"]
        parts = [TracIn(model, tokenizer, states, layers=[name]).self_influence(TEXTS, LABELS) for name in names]
        whole = TracIn(model, tokenizer, states, layers=names).self_influence(TEXTS, LABELS)
        assert torch.allclose(sum(parts), whole, rtol=1e-5) and all((part > 0).all() for part in parts)

    def test_files_are_their_weights(self, bert, tmp_path):
        from safetensors.torch import save_file

        model, tokenizer, states = bert
        save_file({name: value.clone() for name, value in states[1].items()}, tmp_path / "model.safetensors")
        wanted = TracIn(model, tokenizer, [states[1]]).self_influence(TEXTS, LABELS)
        for place in (tmp_path, str(tmp_path / "model.safetensors")):
            assert torch.equal(TracIn(model, tokenizer, [place]).self_influence(TEXTS, LABELS), wanted)

    def test_what_does_not_fit_is_refused(self, bert, tmp_path):
        model, tokenizer, states = bert
        with pytest.raises(OptionError, match="checkpoints"):
            TracIn(model, tokenizer, [])
        with pytest.raises(OptionError, match="no module or parameter 'head'"):
            TracIn(model, tokenizer, states, layers=["head"]).self_influence(TEXTS, LABELS)
        with pytest.raises(FileError, match="there is no file"):
            TracIn(model, tokenizer, [tmp_path / "none"]).self_influence(TEXTS, LABELS)
        with pytest.raises(ModelError, match="does not fit"):
            TracIn(model, tokenizer, [{}]).self_influence(TEXTS, LABELS)


class TestHeadInfluence:
    @pytest.fixture(scope="class")
    def fitted(self):
        rows, labels = blobs(60)
        labels = labels.clone()
        labels[:4] = (labels[:4] + 1) % 3
        return HeadInfluence(rows, labels, l2=0.02), rows, labels

    def test_the_head_is_at_its_minimum(self, fitted):
        influence, rows, labels = fitted
        weights = torch.cat([influence.weights, influence.bias[:, None]], 1).double().requires_grad_()
        given = torch.cat([rows, torch.ones(60, 1)], 1).double()
        loss = cross_entropy(given @ weights.T, labels) + 0.01 * weights.square().sum()
        assert torch.autograd.grad(loss, weights)[0].abs().max() < 1e-6

    def test_it_correlates_with_leaving_texts_out_and_fitting_again(self, fitted):
        influence, _, _ = fitted
        asked, wanted = blobs(9, seed=1)
        predicted = influence.influence(asked, wanted)
        true = influence.leave_out(range(60), asked, wanted)
        assert pearson(predicted.T, true.T).min() > 0.99
        assert pearson(predicted.flatten(), true.flatten()) > 0.99
        assert (predicted - true).abs().max() < 0.35 * true.abs().max()

    def test_its_error_falls_with_the_square_of_the_number_of_texts(self):
        """Influence functions are the first order in 1/n; twins of each text halve it, and quarter the second order."""
        errors = []
        asked, wanted = blobs(5, seed=1)
        for times in (1, 2, 4):
            rows, labels = (part.repeat(times, *[1] * (part.ndim - 1)) for part in blobs(30))
            influence = HeadInfluence(rows, labels, l2=0.05)
            left = influence.leave_out([0, 7, 11], asked, wanted)
            errors.append(float((influence.influence(asked, wanted)[[0, 7, 11]] - left).abs().max()))
        assert errors[0] / errors[1] > 3.2 and errors[1] / errors[2] > 3.2

    def test_wrong_labels_influence_themselves_most(self):
        rows, labels = blobs(60)
        labels = labels.clone()
        labels[:4] = (labels[:4] + 1) % 3
        own = HeadInfluence(rows + 4 * torch.eye(3, 4)[torch.arange(60) % 3], labels, l2=0.02).self_influence()
        assert set(own.topk(4).indices.tolist()) == {0, 1, 2, 3} and (own >= 0).all()

    def test_self_influence_is_influence_on_itself(self, fitted):
        influence, rows, labels = fitted
        assert torch.allclose(influence.influence(rows, labels).diagonal(), influence.self_influence(), atol=1e-6)

    def test_the_hessian_is_autograds(self, fitted):
        from interpreto.training.influence import _hessian

        _, rows, labels = fitted
        given = torch.cat([rows, torch.ones(60, 1)], 1).double()
        weights = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)

        def loss(flat: torch.Tensor) -> torch.Tensor:
            return cross_entropy(given @ flat.view(3, 5).T, labels) + 0.02 / 2 * flat.square().sum()

        wanted = torch.autograd.functional.hessian(loss, weights.flatten())
        assert torch.allclose(_hessian(weights, given, 0.02), wanted, atol=1e-12)

    def test_a_given_head_is_used_as_it_is_and_damping_shrinks_influence(self, fitted):
        influence, rows, labels = fitted
        head = (influence.weights, influence.bias)
        same = HeadInfluence(rows, labels, l2=0.02, head=head)
        damped = HeadInfluence(rows, labels, l2=0.02, damping=0.1, head=head)
        assert torch.allclose(same.self_influence(), influence.self_influence(), rtol=1e-4)
        assert (damped.self_influence() < same.self_influence()).all()

    def test_what_does_not_fit_is_refused(self, fitted):
        influence, rows, labels = fitted
        with pytest.raises(OptionError, match="`l2`"):
            HeadInfluence(rows, labels, l2=0)
        with pytest.raises(OptionError, match="exact Hessian"):
            HeadInfluence(torch.zeros(2, 5000), [0, 1])
        with pytest.raises(ValueError, match="the head reads 4"):
            influence.influence([[1.0]], [0])
        with pytest.raises(ValueError, match="classes 0 to 2"):
            influence.influence(rows[:1], [3])
        with pytest.raises(ValueError, match="`head`"):
            HeadInfluence(rows, labels, head=(torch.zeros(2, 4), torch.zeros(2)))
        with pytest.raises(OptionError, match="numbers from 0 to 59"):
            influence.leave_out([60], rows[:1], [0])


class TestNearestTexts:
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [0.0, 2.0]])

    def test_cosines_and_distances_by_hand(self):
        found = NearestTexts(self.rows, list("abcd"), [0, 1, 1, 0])([[1.0, 1.0]], k=3)
        assert found.indices.tolist() == [[2, 0, 1]] and found.values[0, :2].tolist() == pytest.approx([1.0, 0.5**0.5])
        assert found.texts == (("c", "a", "b"),) and found.labels == ((1, 0, 1),)
        found = NearestTexts(self.rows, list("abcd"), metric="euclidean")([[1.0, 1.0]], k=9)
        assert found.indices.tolist() == [[0, 1, 3, 2]]
        assert found.values[0].tolist() == pytest.approx([1.0, 2**0.5, 2**0.5, 8**0.5])

    def test_a_table_has_a_row_per_neighbor(self):
        frame = NearestTexts(self.rows, list("abcd"), list("wxyz"))(self.rows[:2], k=2).to_dataframe()
        assert frame["text"].tolist() == ["a", "c", "b", "d"] and frame["label"].tolist() == ["w", "y", "x", "z"]
        assert frame["rank"].tolist() == [1, 2, 1, 2] and frame["query"].tolist() == [0, 0, 1, 1]

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(OptionError, match="'cosine', 'euclidean'"):
            NearestTexts(self.rows, list("abcd"), metric="dot")
        with pytest.raises(ValueError, match="one row for each of 3 texts"):
            NearestTexts(self.rows, list("abc"))
        with pytest.raises(ValueError, match="the training texts have 2"):
            NearestTexts(self.rows, list("abcd"))([[1.0]])
