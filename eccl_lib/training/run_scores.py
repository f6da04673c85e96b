"""The test score of a finished run with its interval, and whether small counts withhold it."""

import numpy as np

from eccl_lib.data.small_counts import Limit
from eccl_lib.metrics import bootstrap, delong
from eccl_lib.training.runs import Run

SCORES = ("AUC", "mean r")  # metrics for which higher is better and that have an interval; other metrics are errors


def measured_and_predicted(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Measured (NaN: missing) and predicted values of the test participants, both (n, outputs)."""
    frame = run.predictions
    names = [column.removeprefix("target_") for column in frame if column.startswith("target_")]
    measured, predicted = (frame[[f"{kind}_{name}" for name in names]] for kind in ("target", "score"))
    return measured.to_numpy(np.float64), predicted.to_numpy(np.float64)


def interval(run: Run, draws: int = bootstrap.DRAWS) -> tuple[float, float, float]:
    """Test score of a run with its 95 % interval over participants: score, low, high.

    AUC: DeLong on the logit scale. Mean r: bootstrap with ``draws`` draws.
    """
    measured, predicted = measured_and_predicted(run)
    if run.metrics["metric"] == "AUC":
        return delong.interval(predicted[:, 0], measured[:, 0] > 0.5)
    low, high = bootstrap.percentile(bootstrap.mean_r_draws(predicted[None], measured, draws))
    return float(run.metrics["test"]), float(low), float(high)


def few_cases(run: Run, split: str, limit: Limit) -> bool:
    """Whether a run's results for a split are withheld, since they are of few cases or controls.

    The cases of a user's own tasks are counted among the test participants, for every split; they are withheld where
    the predictions are not there, as in an exported run.
    """
    if not limit.least:
        return False
    metrics = run.metrics
    n, cases = metrics["n"][split], metrics.get("positives", {}).get(split)
    if limit.hides(n) or (cases is not None and limit.hides(cases, n - cases)):
        return True
    if "tasks" not in metrics:
        return False
    if not (run.folder / "predictions.parquet").is_file():
        return True
    return any(map(limit.hides_class, _binary(measured_and_predicted(run)[0])))


def _binary(measured: np.ndarray) -> list[np.ndarray]:
    """The known values of each column that has only 0 and 1, as bool."""
    known = [column[~np.isnan(column)] for column in measured.T]
    return [column > 0.5 for column in known if np.isin(column, (0, 1)).all()]
