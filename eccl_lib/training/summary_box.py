"""The lines at the end of a training: score with interval, best epoch, time, files, and what to run next."""

import math

from eccl_lib.config.schema import Config
from eccl_lib.data import small_counts
from eccl_lib.io.progress import format_seconds
from eccl_lib.training import performance, run_scores
from eccl_lib.training.runs import Run

RULE = "-" * 72


def lines(run: Run, config: Config, following: str = "") -> list[str]:
    """The summary of a finished run, one line of plain text each. following: what to run next; empty: not said."""
    metrics, timing, limit = run.metrics, run.timing, small_counts.limit_of(config)
    rows = {f"test {metrics['metric']}": test_score(run, config)}
    hidden = run_scores.few_cases(run, "val", limit)
    rows["validation"] = _withheld(limit) if hidden else _number(metrics["val"])
    rows["best epoch"] = f"{metrics['best_epoch']} of {metrics['epochs']}"
    resumed = f", resumed {timing['resumed']} times" if timing.get("resumed", 0) > 1 else ""
    resumed = ", resumed once" if timing.get("resumed", 0) == 1 else resumed
    rows["time"] = f"{format_seconds(timing['seconds'])}, {performance.samples_per_second(timing)}{resumed}"
    rows["files"] = str(run.folder)
    if following:
        rows["next"] = following
    width = max(map(len, rows))
    return [RULE, f"{run.name}: finished", *(f"  {name:<{width}}  {text}" for name, text in rows.items()), RULE]


def test_score(run: Run, config: Config) -> str:
    """The test score with its 95 % interval and the number of participants; withheld where counts are small."""
    limit = small_counts.limit_of(config)
    if run_scores.few_cases(run, "test", limit):
        return _withheld(limit)
    metrics = run.metrics
    people = f"{metrics['n']['test']:,} participants"
    if "positives" in metrics:
        people += f", {metrics['positives']['test']:,} with the diagnosis"
    if metrics["metric"] not in run_scores.SCORES:
        return f"{_number(metrics['test'])} ({people}; no interval for this metric)"
    score, low, high = run_scores.interval(run)
    reach = "interval not defined" if math.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"
    return f"{_number(score)} ({reach}; {people})"


def _number(value: float | None) -> str:
    """A score with three decimals, an error with four significant digits."""
    if value is None or math.isnan(value):
        return "not defined"
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4g}"


def _withheld(limit: small_counts.Limit) -> str:
    return f"withheld: of {limit.withheld} participants, cases or controls"
