"""Agreement of two judgements: known kappas, and what has none."""

import pandas as pd
import pytest

from personseg.agreement import agreement


def test_kappa_of_a_known_table() -> None:
    # Half agree, by chance four ninths would: kappa 0.1.
    one, two = pd.Series([1, 1, 2, 2, 3, 3]), pd.Series([1, 2, 2, 1, 3, 1])
    found = agreement(one, two)
    assert found["masks"] == 6 and found["confusion"] == [[1, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert found["kappa"] == pytest.approx((3 / 6 - 12 / 36) / (1 - 12 / 36))


def test_one_category_alone_has_no_kappa() -> None:
    assert agreement(pd.Series([1]), pd.Series([1]))["kappa"] is None
    found = agreement(pd.Series([2, 3]), pd.Series([3, 2]))
    assert found["kappa"] is not None and found["kappa_1_or_not"] is None
