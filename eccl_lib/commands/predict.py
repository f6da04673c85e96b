"""``eccl predict``: traits and risk scores from one ECG file."""

from pathlib import Path
from typing import Any

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.cli import config_of, guarded, parameters
from eccl_lib.evaluation.predict import WARNING, predict
from eccl_lib.io.progress import say


@eccl_command("predict")
@click.argument("ecg", type=click.Path(path_type=Path))
@parameters(disease=False)
@guarded
def command(ecg: Path, cohort: str, **options: Any) -> None:
    """Predict the 82 cardiac traits and four risk scores from one ECG file.

    ECG is a WFDB header, a DICOM waveform, an EDF, a GE MUSE, HL7 or UK Biobank XML, a CSV with lead names, or a .npy
    array (docs/formats.md). Missing models are trained first at demo scale; elsewhere the command that trains them is
    named.

    \b
    eccl predict my_ecg.dcm
    eccl predict record.hea --scale study
    """
    result = predict(config_of(cohort=cohort, build=False, **options), ecg)
    remarks = "; ".join(result.remarks) or "no remarks on quality"
    say(f"\nheart rate {result.heart_rate:.0f} per minute; {remarks}")
    columns = ["name", "value", "unit", "cohort_mean", "cohort_sd", "test_r"]
    say(result.traits[columns].to_string(index=False, float_format="%.2f"))
    say(result.diseases.to_string(index=False, float_format="%.2f"))
    if cohort == "synthetic":
        say(f"\n{WARNING}")
