"""``eccl probe``: compare ECG encoders on the user's own labels."""

from typing import Any

import click
import pandas as pd

from eccl_lib import grid
from eccl_lib.commands.cli import EXIT_FAILED, Several, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import with_changes
from eccl_lib.config.schema import Config
from eccl_lib.data import small_counts
from eccl_lib.evaluation import probe
from eccl_lib.io import paths
from eccl_lib.io.progress import print_line, say
from eccl_lib.models.build import device
from eccl_lib.pipeline.stages import waves
from eccl_lib.tasks import own_targets


@eccl_command("probe")
@click.option("--tasks", cls=Several, metavar="TASK...", help="own tasks of the cohort; one model predicts all of them")
@click.option(
    "--encoders",
    cls=Several,
    metavar="ENCODER...",
    help="random, mae, mae+RUN, RUN or ADAPTER=PATH; NAME=ENCODER gives an encoder a name of its own",
)
@click.option(
    "--folds",
    cls=Several,
    type=click.IntRange(1),
    metavar="FOLD...",
    help="test folds; default: store.test_fold, or the cohort's own split",
)
@click.option(
    "--shares", cls=Several, type=float, metavar="SHARE...", help="shares of the training patients with labels"
)
@click.option("--updates", cls=Several, type=int, metavar="N...", help="updates of a fine-tuning")
@parameters(disease=False)
@guarded
def command(
    tasks: tuple[str, ...],
    encoders: tuple[str, ...],
    folds: tuple[int, ...],
    shares: tuple[float, ...],
    updates: tuple[int, ...],
    **options: Any,
) -> int:
    """Compare ECG encoders on your own labels: linear probe and fine-tuning, with intervals over patients.

    RUN is the last eight characters of a finished run's folder, of any cohort. mae is the masked autoencoder of this
    cohort, trained on the training folds; mae+RUN starts from the weights of RUN. ADAPTER=PATH is a public model
    (ecgfounder, ecg_jepa, st_mem) with its downloaded weights; it is compared by its linear probe only. Ridge
    regression on simple measurements of the ECG is added for comparison.

    \b
    eccl probe --scale demo --cohort ecg-ptbxl --tasks superclass AF --encoders random mae
    eccl probe --cohort ecg-ptbxl --encoders random ecgfounder=12_lead_ECGFounder.pth
    """
    config = config_of(**options)
    config = with_changes(config, {"probe.tasks": tasks or config.probe.tasks})
    chosen = [probe.parse(word, device(config)) for word in encoders or ("random", "mae")]
    check_names(chosen)
    for encoder in chosen:
        if encoder.public:
            print_line(encoder.describe())
            print_line(f"{encoder.name}: fine-tuning is left out; a public model is compared by its linear probe only.")
    settings = probe.list_settings(chosen, shares or (1.0,), updates or (300,))
    try:
        found = run(config, folds or (config.store.test_fold,), chosen, settings)
    except grid.GridError as error:
        say(f"\n{error}", error=True)
        return EXIT_FAILED
    path = paths.figures_dir(config.scale, config.cohort) / "probe.csv"
    found = small_counts.write_table(path, found, config, digits=4)
    say(found.round(3).to_string(index=False))
    say(path)
    return 0


def check_names(encoders: list[probe.Encoder]) -> None:
    """Raise ConfigError where two encoders have one name."""
    names = [probe.MEASUREMENTS, *(encoder.name for encoder in encoders)]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ConfigError(f"two encoders are named {double[0]}; give each its own name, as NAME=...")


def run(
    config: Config, folds: tuple[int, ...], encoders: list[probe.Encoder], settings: list[probe.Setting]
) -> pd.DataFrame:
    """Train what is missing, fold by fold, and return the scores. Raises GridError."""
    tasks = own_targets(config.probe.tasks, probe.open_ecgs(config)).own
    for fold in folds:
        own = probe.fold_config(config, fold)
        grid.run_jobs(waves(probe.specs(own, encoders, settings)), own, print_line)
    gathered = probe.gather(config, folds, encoders, settings)
    return probe.table(gathered, tasks, [task.name for task in tasks], small_counts.limit_of(config))
