"""Laws of the split: every sample is in one split, groups stay whole, shares are met closely, and it depends only on
the samples and the seed."""

import hashlib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.build.packing import PackedSource, pack, sample_key
from shards.build.split import Splittable, assign_splits, parse_shares
from shards.errors import InputError

SHARES = parse_shares("0.7,0.15,0.15")
FOUR = parse_shares("0.5,0.2,0.2,0.1")


def sample(content: int, label: int, group: str = "", split: str = "") -> Splittable:
    return Splittable(hashlib.sha256(b"%d" % content).digest(), label, group, split, f"{content}")


populations = st.lists(
    st.builds(sample, st.integers(0, 40), st.integers(0, 1), st.sampled_from(["", "", "a", "b", "c", "d"])),
    min_size=1,
    max_size=60,
)


@given(populations, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_ties_hold_and_order_does_not_matter(samples, seed, random):
    splits = assign_splits(samples, FOUR, seed)
    assert len(splits) == len(samples)
    assert set(splits) <= set(FOUR)
    for ties in ("group", "sha256"):
        where: dict[str | bytes, str] = {}
        for one, split in zip(samples, splits, strict=True):
            tie = getattr(one, ties)
            assert not tie or where.setdefault(tie, split) == split
    order = list(range(len(samples)))
    random.shuffle(order)
    shuffled = assign_splits([samples[i] for i in order], FOUR, seed)
    assert shuffled == [splits[i] for i in order]


@pytest.mark.parametrize("shares", [SHARES, FOUR, parse_shares("0.34,0.33,0.33")])
def test_shares_are_met_to_one_sample_per_label(shares):
    samples = [sample(i, label=int(i % 7 == 0)) for i in range(613)]
    splits = assign_splits(samples, shares, 606)
    counts = Counter(zip(splits, (s.label for s in samples), strict=True))
    totals = Counter(s.label for s in samples)
    for split, share in shares.items():
        for label, total in totals.items():
            assert abs(counts[split, label] - share * total) <= 1


def test_shares_are_met_as_near_as_groups_allow():
    """For scenes of unequal size, each with real and generated images, every share is met within 4 images per label."""
    samples = [
        sample(1000 * g + i, label=int(i > g % 3), group=f"scene{g}") for g in range(60) for i in range(3 + g % 5)
    ]
    splits = assign_splits(samples, SHARES, 606)
    counts = Counter(zip(splits, (s.label for s in samples), strict=True))
    for label in (0, 1):
        total = sum(s.label == label for s in samples)
        for split, share in SHARES.items():
            assert abs(counts[split, label] - share * total) <= 4


def test_large_groups_do_not_all_go_to_train():
    """Every split gets groups of every size, so that none is easier because of its groups."""
    samples = [sample(100 * g + i, i % 2, f"g{g}") for g in range(90) for i in range(2 + g % 3 * 4)]
    splits = assign_splits(samples, FOUR, 606)
    sizes = Counter(s.group for s in samples)
    for split in FOUR:
        here = {s.group for s, where in zip(samples, splits, strict=True) if where == split}
        assert {sizes[group] for group in here} == {2, 6, 10}


def test_seeds_give_different_splits():
    samples = [sample(i, i % 2) for i in range(200)]
    splits = [tuple(assign_splits(samples, SHARES, seed)) for seed in range(5)]
    assert len(set(splits)) == 5


def test_split_is_pinned():
    """The split equals a golden list. It may change only with the format version; otherwise images of a rebuilt data
    set would move between splits."""
    samples = [sample(i, i % 2, group="g" if i in (3, 9) else "") for i in range(20)]
    code = {"train": "t", "valid": "v", "test": "e", "calibration": "c"}
    assert "".join(code[s] for s in assign_splits(samples, FOUR, 606)) == "tevtvtttttteevcttvec"


def test_given_splits_hold_and_draw_their_group_along():
    samples = [sample(i, i % 2) for i in range(40)]
    samples += [sample(100, 0, "g", "test"), sample(101, 1, "g"), sample(101, 1), sample(7, 1)]
    samples += [sample(200 + i, i % 2, split="train") for i in range(20)]
    splits = assign_splits(samples, SHARES, 606)
    assert splits[40:43] == ["test"] * 3  # given, same group, same content as the one in the group
    assert splits[43] == splits[7]
    assert splits[44:] == ["train"] * 20
    counts = Counter(splits)  # given ones count towards the shares
    assert abs(counts["train"] - 0.7 * len(samples)) <= 2


def test_one_group_in_two_given_splits_is_refused():
    with pytest.raises(InputError, match=r"1 is given to train and 2 to test.*group 'g'"):
        assign_splits([sample(1, 0, "g", "train"), sample(2, 1, "g", "test")], SHARES, 0)
    with pytest.raises(InputError, match="content"):
        assign_splits([sample(1, 0, split="train"), sample(1, 0, split="test")], SHARES, 0)


def test_empty_share_gets_nothing():
    samples = [sample(i, i % 2) for i in range(50)]
    assert set(assign_splits(samples, parse_shares("0.8,0.2,0"), 1)) == {"train", "valid"}


@pytest.mark.parametrize(
    "text", ["", "0.7", "0.5,0.5", "a,b,c", "0.7,0.2,0.2", "1.2,-0.1,-0.1", "0.2,0.2,0.2,0.2,0.2", "nan,0.5,0.5"]
)
def test_nonsense_shares_are_refused(text):
    with pytest.raises(InputError, match="--split"):
        parse_shares(text)


def packed(count: int) -> list[PackedSource]:
    return [
        PackedSource(
            path=f"{i}.x",
            sha256=hashlib.sha256(b"%d" % i).digest(),
            format=("JPEG", "PNG")[i % 3 == 0],
            label=i % 2,
            generator="",
            group="",
            split=("train", "test")[i % 5 == 0],
        )
        for i in range(count)
    ]


def test_packing_is_a_partition_by_split_and_format():
    sources = packed(100)
    plans = pack(sources, 7, 606)
    assert sorted(s.path for plan in plans for s in plan.sources) == sorted(s.path for s in sources)
    assert [plan.number for plan in plans] == list(range(len(plans)))
    for plan in plans:
        assert 1 <= len(plan.sources) <= 7
        assert {(s.split, s.format) for s in plan.sources} == {(plan.split, plan.format)}
    kinds = [(plan.split, plan.format) for plan in plans]
    for kind in set(kinds):
        parts = [len(plan.sources) for plan in plans if (plan.split, plan.format) == kind]
        assert all(part == 7 for part in parts[:-1])
    assert pack(sources[::-1], 7, 606) == plans
    assert pack(sources, 7, 607) != plans


def test_packing_mixes_labels():
    """Labels in a shard are in random order: they change about as often as in coin tosses."""
    (first, *_) = pack(packed(1000), 1000, 606)
    labels = [source.label for source in first.sources]
    changes = sum(a != b for a, b in pairwise(labels))
    assert 0.4 < changes / len(labels) < 0.6


def test_keys_are_twelve_digits():
    assert sample_key(12, 345) == "000012000345"
