"""``eccl train``: one stage or one row of Table 1."""

from typing import Any

import click

from eccl_lib.commands.cli import Names, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.io.progress import print_line, say
from eccl_lib.models.build import device
from eccl_lib.pipeline import stages
from eccl_lib.training import distributed, summary_box


@eccl_command("train")
@click.argument("name", type=Names(stages.names), metavar="NAME")
@click.option("--no-summary", is_flag=True, help="leave out the summary at the end of a training")
@parameters()
@guarded
def command(name: str, no_summary: bool, **options: Any) -> None:
    """Train one stage or one row of Table 1, and its missing prerequisites, at every scale.

    NAME is a stage (pretrain_ecg, pretrain_cmr, autoencode_ecg, autoencode_cmr, pretrain_pair, probe, probe_cmr) or a
    row (cmae, resnet50, vit, triplet, scratch, ssl, cl, eccl, cmr_sup, or one of an installed package). A finished run
    is reused, an interrupted one resumes. With --set runtime.build_missing=false, a missing prerequisite stops the
    command, which names it.

    \b
    eccl train eccl --disease traits --seed 3
    eccl train pretrain_ecg --set mae.epochs=10 mae.mask_ratio=0.7
    torchrun --nproc-per-node 4 -m eccl_lib train eccl --scale paper
    """
    config = config_of(**options)
    gpu = device(config).type == "cuda"
    with distributed.process_group(config.runtime.rank_timeout_seconds, gpu):
        run = stages.train(config, name, distributed.main_process_log(print_line), summarize=not no_summary)
        if distributed.is_main_process():
            say(f"{run.name}: test {run.metrics['metric']} {summary_box.test_score(run, config)}")
