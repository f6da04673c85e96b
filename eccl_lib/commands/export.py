"""``eccl export``: a run as safetensors, ONNX and a model card."""

from pathlib import Path

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.cli import guarded
from eccl_lib.evaluation import export
from eccl_lib.io.progress import Console, say
from eccl_lib.pipeline import portable


@eccl_command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="a new folder")
@guarded
def command(run: Path, out: Path) -> None:
    """Write the model of a run for others: safetensors with config, ONNX, calibration and a model card.

    RUN is the folder of a run of pretrain_ecg, align, finetune, third_stage or probe. No participant's id, prediction
    or signal is written, and numbers of few UK Biobank participants are withheld. The folder works with eccl_lib.load
    and eccl predict --weights (docs/elsewhere.md). Nothing is uploaded.

    \b
    eccl export runs/demo-synthetic/align/eccl/traits/seed0-1a2b3c4d --out published/
    """
    for path in export.write(portable.load(run), out, Console(error=True)):
        say(path)
