"""Fits of probes equal scikit-learn's, and the closed forms that define them."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from interpreto.concepts.probes.fits import FITS, fit_scores


def problem(n=80, d=6, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n)
    rows = generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + np.outer(labels, generator.normal(size=d)) + 3
    return rows, labels


def fitted(fit, rows, labels, l2=0.0, standardize=False):
    table = torch.tensor(labels, dtype=torch.float64).reshape(len(rows), -1)
    return fit_scores(fit, torch.as_tensor(rows), table, l2, standardize=standardize)


def assert_same(found, weights, bias, tolerance=1e-8):
    assert torch.allclose(found.weights, torch.tensor(np.atleast_2d(weights)), rtol=tolerance, atol=tolerance)
    assert torch.allclose(found.bias, torch.tensor(np.atleast_1d(bias)), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(80, 6), (20, 30)])
@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_logistic_is_scikit_learn(l2, shape):
    rows, labels = problem(*shape)
    peer = LogisticRegression(C=1 / (l2 * len(rows)), solver="newton-cholesky", tol=1e-10, max_iter=10000).fit(rows, labels)
    assert_same(fitted("logistic", rows, labels, l2), peer.coef_, peer.intercept_, 1e-6)


@pytest.mark.parametrize("shape", [(80, 6), (20, 30)])
def test_ridge_is_scikit_learn(shape):
    rows, labels = problem(*shape)
    peer = Ridge(alpha=0.3 * len(rows)).fit(rows, 2 * labels - 1)
    assert_same(fitted("ridge", rows, labels, 0.3), peer.coef_, peer.intercept_)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_lda_is_scikit_learn(share):
    rows, labels = problem()
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share or None).fit(rows, labels)
    found = fitted("lda", rows, labels, share / (1 - share))  # (1 − s) Σ + s m is (1 − s) times Σ + s / (1 − s) m
    prior = np.log(labels.mean() / (1 - labels.mean()))
    weights, bias = found.weights / (1 - share), (found.bias - prior) / (1 - share) + prior
    assert np.allclose(weights, peer.coef_, atol=1e-8) and np.allclose(bias, peer.intercept_, atol=1e-8)


def test_centroids_are_scikit_learn():
    rows, _ = problem()
    labels = np.random.default_rng(1).integers(0, 3, len(rows))
    found = fitted("centroids", rows, np.eye(3)[labels])
    assert (found(torch.tensor(rows)).argmax(1).numpy() == NearestCentroid().fit(rows, labels).predict(rows)).all()


def test_mean_difference_is_the_nearer_of_two_centroids():
    rows, labels = problem()
    found = fitted("mean_difference", rows, labels)
    assert ((found(torch.tensor(rows))[:, 0] > 0).numpy() == NearestCentroid().fit(rows, labels).predict(rows)).all()
    assert_same(found, rows[labels == 1].mean(0) - rows[labels == 0].mean(0), found.bias.numpy())


@pytest.mark.parametrize("fit", ["logistic", "ridge"])
def test_standardized_columns_are_folded_back(fit):
    rows, labels = problem()
    scaled = StandardScaler().fit_transform(rows)
    found, other = fitted(fit, rows, labels, 0.1, standardize=True), fitted(fit, scaled, labels, 0.1)
    assert torch.allclose(found(torch.tensor(rows)), other(torch.tensor(scaled)), atol=1e-8)


def test_lda_of_two_gaussians_is_the_whitened_difference():
    """Rows whose moments are exactly those of the Gaussians."""
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    gap = torch.tensor([1.0, -2.0], dtype=torch.float64)
    corners = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    found = fitted("lda", torch.cat([corners, corners + gap]), [0] * 4 + [1] * 4)
    assert torch.allclose(found.weights[0], torch.linalg.solve(covariance, gap))


@pytest.mark.parametrize("fit", FITS)
def test_other_labels_turn_the_scores_around(fit):
    rows, labels = problem()
    found, other = fitted(fit, rows, labels, 0.1), fitted(fit, rows, 1 - labels, 0.1)
    assert torch.allclose(found.weights, -other.weights, atol=1e-8) and torch.allclose(found.bias, -other.bias, atol=1e-8)


@pytest.mark.parametrize("fit", FITS)
def test_rows_that_occur_twice_change_nothing(fit):
    rows, labels = problem()
    found, other = fitted(fit, rows, labels, 0.1), fitted(fit, np.tile(rows, (2, 1)), np.tile(labels, 2), 0.1)
    assert torch.allclose(found.weights, other.weights, atol=1e-8) and torch.allclose(found.bias, other.bias, atol=1e-8)
