"""How far two judgements of the same masks agree."""

from __future__ import annotations

from typing import Any

import pandas as pd


def agreement(one: pd.Series, two: pd.Series) -> dict[str, Any]:
    """Compare two series of categories 1-3 with the same index; the confusion table has `one` in its rows.

    Returns masks, kappa (Cohen's, of the three categories; None where both know one category only),
    kappa_1_or_not, confusion.
    """
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    def kappa(a: pd.Series, b: pd.Series) -> float | None:
        return float(cohen_kappa_score(a, b)) if len({*a, *b}) > 1 else None

    return {
        "masks": len(one),
        "kappa": kappa(one, two),
        "kappa_1_or_not": kappa(one == 1, two == 1),
        "confusion": confusion_matrix(one, two, labels=[1, 2, 3]).tolist(),
    }
