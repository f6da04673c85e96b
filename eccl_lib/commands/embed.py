"""``eccl embed``: embeddings of ECG files or of a cohort."""

from pathlib import Path

import click

from eccl_lib.commands.cli import EXIT_FAILED, guarded
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.errors import ConfigError
from eccl_lib.evaluation import ecg_files, embed, prediction_table
from eccl_lib.evaluation.ecg_files import NotRead, Reading
from eccl_lib.io.progress import Console, Counter, say
from eccl_lib.models.build import device
from eccl_lib.pipeline import portable

SUFFIXES = (".parquet", ".csv")


@eccl_command("embed")
@click.argument("ecgs", nargs=-1, type=click.Path(path_type=Path), metavar="[FILES_OR_FOLDERS]...")
@click.option("--cohort", default="", help="the ECGs of a cohort instead of files: synthetic, ukb or ecg-NAME")
@click.option(
    "--weights", required=True, type=click.Path(path_type=Path), metavar="RUN", help="a finished run's folder"
)
@click.option("--projected", is_flag=True, help="embeddings in the space shared with cardiac MRI, unit norm")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="write to FILE: .parquet or .csv"
)
@guarded
def command(ecgs: tuple[Path, ...], cohort: str, weights: Path, projected: bool, out: Path) -> int:
    """Write the embeddings of ECG files, or of all ECGs of a cohort, by the encoder of a run.

    RUN is the folder of a run of pretrain_ecg, align, finetune, third_stage or probe (docs/elsewhere.md). The table has
    one row per file or participant, with columns f0, f1, ...; a file that cannot be read has its reason and no values.
    An existing file is not overwritten. Exit status 1 where no file was read.

    \b
    eccl embed ecgs/ --weights runs/.../pretrain_ecg/vit/ecg/seed0-1a2b3c4d --out embeddings.parquet
    eccl embed --cohort ukb --weights RUN --projected --out embeddings.parquet
    """
    if bool(ecgs) == bool(cohort):
        raise ConfigError("give either files or folders, or --cohort NAME")
    prediction_table.check_target(out, SUFFIXES)
    log, model = Console(error=True), portable.load(weights)
    model = model.to(device(model.config))
    if projected and not model.has_projection:
        raise ConfigError(f"a run of {model.run.stage}/{model.run.variant} has no projection; leave out --projected")
    if cohort:
        data = embed.open_for(model, cohort, log)
        counter = Counter("embed", 0, len(data), log)
        table, read = embed.of_cohort(model, data, projected, counter.add), len(data)
    else:
        files = ecg_files.find(ecgs)
        counter = Counter("embed", 0, len(files), log, "files")
        said: set[str] = set()

        def finished(entry: Reading | NotRead) -> None:
            counter.add(1)
            if isinstance(entry, NotRead):
                say(entry.line(said), error=True)

        table = embed.of_files(model, files, projected, finished)
        read = int((table["status"] == prediction_table.READ).sum()) if len(table) else 0
    prediction_table.write(table, out)
    width = sum(name.startswith("f") and name[1:].isdigit() for name in table)
    say(f"{read:,} of {len(table):,} ECGs, {width} features each; {out}", error=True)
    return 0 if read else EXIT_FAILED
