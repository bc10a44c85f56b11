import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from sweeps.statistics.confusion import confusion, kappa


def test_rows_are_labels_and_columns_verdicts() -> None:
    table = confusion([1, 1, 1, 0, 0], [1, 1, 0, 1, 0])
    assert table.tolist() == [[1, 1], [1, 2]]
    assert kappa(table) == pytest.approx((3 / 5 - (2 * 2 + 3 * 3) / 25) / (1 - (2 * 2 + 3 * 3) / 25))


def test_it_is_scikit_learns_on_random_verdicts_weights_included() -> None:
    chance = np.random.default_rng(0)
    for _ in range(20):
        labels, told = chance.integers(0, 2, (2, 60))
        weights = chance.uniform(0.5, 3, 60)
        table = confusion(labels, told, weights)
        assert table == pytest.approx(confusion_matrix(labels, told, sample_weight=weights))
        assert kappa(table) == pytest.approx(cohen_kappa_score(labels, told, sample_weight=weights))


def test_what_people_disagree_on_counts_for_both() -> None:
    assert confusion([0.5, 1], [1, 1]).tolist() == [[0, 0.5], [0, 1.5]]


def test_nothing_to_agree_on_has_no_kappa() -> None:
    assert kappa([[0, 0], [0, 0]]) is None
    assert kappa([[9, 0], [0, 0]]) is None
    assert kappa([[0, 9], [0, 0]]) == 0.0


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match=r"labels \(2\), predicted \(1\)"):
        confusion([1, 0], [1])
