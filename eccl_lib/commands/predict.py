"""``eccl predict``: traits and disease scores of ECG files and folders."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eccl_lib.commands.cli import EXIT_FAILED, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.evaluation import ecg_files, prediction_table
from eccl_lib.evaluation.ecg_files import NotRead
from eccl_lib.evaluation.predict import limits, predict_all, reliability
from eccl_lib.evaluation.predictor import Predictor, of_config, of_folders
from eccl_lib.io.progress import Console, Counter, say

KEPT_FOR_TEXT = 1  # files whose predictions are shown as text; more are shown as CSV


@eccl_command("predict")
@click.argument("ecgs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILES_OR_FOLDERS...")
@click.option(
    "--weights",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="a run's folder, or a folder with runs (repeatable); default: the ECCL runs of the scale and cohort",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="write to FILE: .parquet, .csv, .json or .html"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of text or CSV")
@parameters(disease=False)
@guarded
def command(
    ecgs: tuple[Path, ...], weights: tuple[Path, ...], out: Path | None, as_json: bool, cohort: str, **options: Any
) -> int:
    """Predict the 82 cardiac traits and four disease scores of ECG files.

    Each file is a WFDB header, a DICOM waveform, an EDF, a GE MUSE, HL7 or UK Biobank XML, a CSV with lead names, or a
    .npy array (docs/formats.md). Folders are searched at any depth. The result has one row a file; a file that cannot
    be read has its reason and does not stop the others. It goes to standard output (text for one file, CSV for
    several) or to --out; messages go to standard error. Exit status 1 where no file was read.

    The models are the mean over all finished seeds. Missing models are trained first at demo scale; elsewhere the
    command that trains them is named.

    \b
    eccl predict my_ecg.dcm
    eccl predict ecgs/ more/record.hea --scale study --out results.parquet
    eccl predict ecgs/ --weights published_run/ --json
    """
    if out:
        prediction_table.check_target(out)
    if weights:
        _check_options(options["settings"])
    log = Console(error=True)
    files = ecg_files.find(ecgs)

    counter = Counter("predict", 0, len(files), log, "files")

    @functools.cache
    def predictor() -> Predictor:
        with counter.paused():
            if weights:
                return of_folders(weights, log, command_line.overrides(options["settings"]))
            return of_config(config_of(cohort=cohort, build=False, **options), log)

    rows, shown, said = [], [], set()
    for entry in predict_all(ecg_files.read_all(files), predictor):
        if isinstance(entry[0], NotRead):
            say(entry[0].line(said), error=True)
        rows.append(prediction_table.row(entry))
        shown += [entry] if entry[1] is not None and len(files) <= KEPT_FOR_TEXT else []
        if len(files) > 1:
            counter.add(1)
    read = sum(row["status"] == prediction_table.READ for row in rows)
    further = predictor().diseases if read else {}
    table = prediction_table.frame(rows, further)
    measured, limited = (reliability(predictor()), limits(predictor())) if read else ([], [])
    if out:
        prediction_table.write(table, out, measured, limited, further)
    elif as_json:
        say(prediction_table.as_json(table))
    elif shown:
        say(prediction_table.text(shown[0], predictor()))
    elif len(files) > 1:
        say(prediction_table.as_csv(table))
    if len(files) > 1 or out:
        say(f"{read:,} of {len(files):,} files were read" + (f"; {out}" if out else ""), error=True)
        for sentence in (*measured, *limited):
            say(sentence, error=True)
    return 0 if read else EXIT_FAILED


def _check_options(settings: Sequence[str]) -> None:
    """Raise ConfigError where an option is given that the runs of --weights decide themselves."""
    source = click.get_current_context().get_parameter_source
    given = [f"--{name}" for name in ("scale", "cohort", "seed") if source(name) is ParameterSource.COMMANDLINE]
    given += [f"--set {name}" for name in command_line.overrides(settings) if not name.startswith("runtime.")]
    if given:
        raise ConfigError(f"{given[0]} has no effect with --weights, whose runs have their own settings; leave it out")
