"""AttentionPool: its formula, its mask and properties that must always hold."""

import pytest
import torch

from glass.model.pooling import AttentionPool


@pytest.fixture
def pool():
    torch.manual_seed(0)
    return AttentionPool(embed_dim=12, hidden_dim=8)


@pytest.fixture
def features():
    return torch.randn(5, 4, 12, generator=torch.Generator().manual_seed(1))


def test_equals_the_formula(pool, features):
    """The formula is calculated crop by crop: a = softmax(w₂·tanh(W₁ f + b₁) + b₂), pooled = Σ aₙ fₙ."""
    first, second = pool.score[0], pool.score[3]
    scores = torch.stack([second(torch.tanh(first(features[:, n]))).squeeze(-1) for n in range(4)], dim=1)
    weights = torch.exp(scores) / torch.exp(scores).sum(dim=1, keepdim=True)
    pooled = sum(weights[:, n, None] * features[:, n] for n in range(4))
    got_pooled, got_weights = pool(features)
    torch.testing.assert_close(got_weights, weights)
    torch.testing.assert_close(got_pooled, pooled)


def test_weights_are_positive_and_sum_to_one(pool, features):
    _, weights = pool(features)
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))


def test_order_of_the_crops_does_not_matter(pool, features):
    order = torch.tensor([2, 0, 3, 1])
    pooled, weights = pool(features)
    permuted_pooled, permuted_weights = pool(features[:, order])
    torch.testing.assert_close(permuted_pooled, pooled)
    torch.testing.assert_close(permuted_weights, weights[:, order])


def test_a_masked_crop_weighs_exactly_nothing(pool, features):
    """Whatever a masked crop contains, the result is that of the same image without it."""
    mask = torch.tensor([True, False, True, True]).expand(5, 4)
    wild = features.clone()
    wild[:, 1] = 1e6
    pooled, weights = pool(wild, mask)
    fewer_pooled, fewer_weights = pool(features[:, [0, 2, 3]])
    assert torch.equal(weights[:, 1], torch.zeros(5))
    torch.testing.assert_close(weights[:, [0, 2, 3]], fewer_weights)
    torch.testing.assert_close(pooled, fewer_pooled)


def test_an_image_without_any_crop_pools_to_zeros(pool, features):
    """Result and gradient must be finite. A NaN here would ruin the whole training run."""
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[2] = False
    features.requires_grad_()
    pooled, weights = pool(features, mask)
    assert torch.equal(weights[2], torch.zeros(4))
    assert torch.equal(pooled[2], torch.zeros(12))
    pooled.square().sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.equal(features.grad[2], torch.zeros(4, 12))
    assert all(torch.isfinite(parameter.grad).all() for parameter in pool.parameters())


def test_no_mask_is_a_full_mask(pool, features):
    full = torch.ones(5, 4, dtype=torch.bool)
    torch.testing.assert_close(pool(features), pool(features, full))


def test_weights_stay_float32_under_autocast(pool, features):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled, weights = pool(features)
    assert pooled.dtype == weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    pool = AttentionPool(12, 64, dropout=0.5)
    features = torch.randn(2, 4, 12)
    assert not torch.equal(pool(features)[1], pool(features)[1])
    pool.eval()
    assert torch.equal(pool(features)[1], pool(features)[1])
