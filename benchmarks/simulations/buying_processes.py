"""Fits Pareto/NBD and Gamma-Gamma, and says what each customer will buy: `python buying_processes.py IN OUT DAYS`.

Runs in another environment, with `lifetimes`, which is no dependency of ours. It imports nothing of ours.

IN: CSV, a row per customer: frequency (days with an order after the first), recency and age (days from the first order
to the last one and to the request), value (mean money of those days).
OUT: CSV, a row per customer: spend, and p0 to p3, the probabilities of so many days with an order.
"""

import sys
import warnings

import numpy as np
import pandas as pd
from lifetimes import GammaGammaFitter, ParetoNBDFitter  # type: ignore[import-not-found]  # see above

_WEEK = 7.0


def main(source: str, target: str, days: float) -> None:
    """Fit on all customers and predict for the next `days`."""
    warnings.simplefilter("ignore")
    customers = pd.read_csv(source)
    frequency, value = customers["frequency"].to_numpy(float), customers["value"].to_numpy(float)
    recency, age = (customers[name].to_numpy(float) / _WEEK for name in ("recency", "age"))
    process = ParetoNBDFitter(penalizer_coef=0.0)
    process.fit(frequency, recency, age)
    again = (frequency > 0) & (value > 0)
    money = GammaGammaFitter(penalizer_coef=0.0)
    money.fit(frequency[again], value[again])
    horizon = days / _WEEK
    expected = process.conditional_expected_number_of_purchases_up_to_time(horizon, frequency, recency, age)
    of_each = money.conditional_expected_average_profit(np.where(again, frequency, 0), np.where(again, value, 0))
    said = {"spend": np.asarray(expected) * np.asarray(of_each)}
    for n in range(4):
        found = process.conditional_probability_of_n_purchases_up_to_time(n, horizon, frequency, recency, age)
        said[f"p{n}"] = np.asarray(found)
    pd.DataFrame(said).to_csv(target, index=False)
    print(process.params_.to_dict(), money.params_.to_dict())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
