"""``eccl ingest``: build a store from files."""

import datetime
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from eccl_lib.commands.cli import EXIT_FAILED, SCALES, SETTINGS, Several, config_of, guarded, set_option
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.diseases import code_of
from eccl_lib.config.errors import ConfigError, UnreadableError
from eccl_lib.config.schema import UNPAIRED
from eccl_lib.data import own_labels
from eccl_lib.data.ingest import unpaired
from eccl_lib.data.ingest.build import build
from eccl_lib.data.ingest.purge import purge
from eccl_lib.data.segmentation import masks, onnx_network, providers
from eccl_lib.data.store import plan
from eccl_lib.data.ukb import tables, withdrawals
from eccl_lib.io.paths import expanded
from eccl_lib.io.progress import print_line
from eccl_lib.io.workers import Workers

FOLDER = click.Path(path_type=Path)


@click.group("ingest", context_settings=SETTINGS)
def command() -> None:
    """Build a store from files: of UK Biobank, or of other people's ECGs or cines.

    An interrupted build resumes; a later call reads only files that are new or changed. Files that cannot be read go
    to quarantine with the reason. Nothing leaves this machine.

    \b
    eccl ingest ukb FOLDER --table TABLE.csv --no-withdrawals
    eccl ingest ecg FOLDER --name ptbxl
    """


def _segmenter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that choose how the heart is located; each is a field of ``providers.Segmenter``."""
    choices, usual = plan.OPTIONS, providers.AUTO
    orders = click.Choice(list(masks.ORDERS))
    settings = {
        "provider": {
            "type": click.Choice(providers.CHOICES),
            "help": "auto: a mask if given, else the U-Net, else voting",
        },
        "mask_labels": {"type": orders, "help": "meaning of mask labels; acdc: 1 RV, 2 wall, 3 LV"},
        "onnx": {"metavar": "FILE", "help": "your own short-axis network, for --segmenter onnx"},
        "onnx_labels": {"type": orders, "help": "meaning of the network's outputs"},
        "onnx_scaling": {"type": click.Choice(onnx_network.SCALINGS), "help": "scaling of its input; range: 0 to 1"},
        "onnx_pixel_mm": {"type": float, "help": "the network's pixel size in mm; 0: the image fills its input"},
    }
    for name, more in reversed(settings.items()):
        function = click.option(choices[name], name, default=getattr(usual, name), **more)(function)
    return function


def _build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every build."""
    for option in (
        set_option(),
        click.option("--scheduler", default="", metavar="ADDRESS", help="of Dask, such as tcp://node1:8786"),
        click.option("--workers", type=int, default=os.cpu_count() or 1, show_default="cores", help="processes"),
        click.option(
            "--scale",
            type=click.Choice(SCALES),
            default="paper",
            help="authors: another crop and slice; the others give the same store",
        ),
        click.option("--retry-quarantined", is_flag=True, help="read quarantined files again"),
    ):
        function = option(function)
    return function


@eccl_command("ukb")
@click.argument("folders", nargs=-1, required=True, type=FOLDER, metavar="FOLDER...")
@click.option("--table", "tables_", cls=Several, required=True, type=FOLDER, metavar="FILE...", help="tabular exports")
@click.option(
    "--withdrawals", "withdrawals_", type=FOLDER, metavar="FILE", help="UK Biobank's latest list, one id per line"
)
@click.option("--no-withdrawals", is_flag=True, help="you have received no list; an earlier one stays in force")
@click.option("--segmentations", cls=Several, type=FOLDER, metavar="FOLDER...", help="with seg_sa.nii.gz")
@click.option("--until", metavar="DATE", help="last day of the diagnoses, such as 2022-10-31")
@click.option("--diseases", cls=Several, metavar="CODE...", help="further ICD-10 codes as own tasks, such as I25")
@_segmenter_options
@_build_options
@guarded
def ukb(
    folders: tuple[Path, ...],
    tables_: tuple[Path, ...],
    withdrawals_: Path | None,
    no_withdrawals: bool,
    segmentations: tuple[Path, ...],
    until: str | None,
    diseases: tuple[str, ...],
    **options: Any,
) -> int:
    """Build the store of UK Biobank's files (docs/data.md). Then: --cohort ukb.

    FOLDER is searched for ECG XML (field 20205), cine zips (20209) and their segmentations at any depth.

    \b
    eccl ingest ukb downloads/ --table ukb.csv --withdrawals w12345_20260101.csv
    """
    if no_withdrawals == (withdrawals_ is not None):
        raise click.UsageError("give either --withdrawals FILE or --no-withdrawals")
    names = dict(config_of(options["scale"], "ukb", settings=options["settings"]).diseases)
    source = ukb_source(folders, tables_, segmentations, until, options, diseases, names)
    purge(withdrawals.add(tables.read_withdrawals(withdrawals_) if withdrawals_ else frozenset()), print_line)
    return _build("ukb", source, **options)


def ukb_source(
    folders: Iterable[Path],
    files: Iterable[Path],
    segmentations: Iterable[Path],
    until: str | None,
    options: dict,
    diseases: tuple[str, ...] = (),
    names: Mapping[str, str] | None = None,
) -> plan.Source:
    """The source of ``eccl ingest ukb``, with absolute paths. Removes the segmenter's options from ``options``.

    diseases: codes that become own tasks; names: codes of the config, with their names.
    """
    if until:
        try:
            until = datetime.date.fromisoformat(until).isoformat()
        except ValueError:
            raise UnreadableError(f"--until {until} is not a date", "Write 2022-10-31.") from None
    codes = tuple(code_of(code, "--diseases") for code in diseases)
    tables = tuple(str(expanded(path).resolve()) for path in files)
    segmenter = _segmenter(options)
    return plan.Source(_absolute(folders), tables, _absolute(segmentations), until, segmenter, codes, dict(names or {}))


def _unpaired(kind: str) -> click.Command:
    """``eccl ingest ecg`` or ``eccl ingest cmr``."""

    @click.argument("folders", nargs=-1, required=True, type=FOLDER, metavar="FOLDER...")
    @click.option("--name", required=True, help=f"name of the cohort: --cohort {kind}-NAME")
    @click.option(
        "--labels", type=FOLDER, metavar="FILE.csv", help="one row per id: diseases, traits, sex, age, patient"
    )
    @click.option(
        "--tasks", cls=Several, metavar="NAME:KIND...", help="own tasks in --labels, such as MI:binary age:continuous"
    )
    @_build_options
    @guarded
    def run(
        folders: tuple[Path, ...],
        name: str,
        labels: Path | None,
        tasks: tuple[str, ...],
        patient_folder: int = 0,
        **options: Any,
    ) -> int:
        cohort = f"{kind}-{name}"
        if not UNPAIRED.fullmatch(cohort):
            raise ConfigError(f"--name {name}: use small letters, digits and _, such as --name ptbxl_2020")
        if labels and not labels.is_file():
            raise UnreadableError(f"there is no table {labels}", "Correct the path.")
        table = str(expanded(labels).resolve()) if labels else None
        if tasks and not table:
            raise ConfigError("--tasks names columns of --labels FILE.csv: give both")
        own_labels.parse(tasks)
        segmenter = _segmenter(options) if kind == "cmr" else providers.AUTO
        source = unpaired.Source(cohort, _absolute(folders), table, segmenter, patient_folder, tasks)
        return _build(cohort, source, **options)

    run.__doc__ = UNPAIRED_HELP[kind]
    return eccl_command(kind)(_patient_folder(run) if kind == "ecg" else _segmenter_options(run))


_patient_folder = click.option(
    "--patient-folder",
    type=click.IntRange(0, 20),
    default=0,
    metavar="LEVEL",
    help="all recordings below one folder of this level are of one patient; 1 is the first level below FOLDER",
)


UNPAIRED_HELP = {
    "ecg": """Build a store of ECGs alone, of any known format (docs/formats.md). Then: --cohort ecg-NAME.

    FOLDER is searched at any depth; each file is one recording.

    \b
    eccl ingest ecg ptb-xl/ --name ptbxl
    eccl ingest ecg mine/ --name mine --labels labels.csv --tasks MI:binary age:continuous
    """,
    "cmr": """Build a store of short-axis cines alone: NIfTI or DICOM (docs/formats.md). Then: --cohort cmr-NAME.

    Labels come from ACDC's or M&Ms's own files, or from --labels.

    \b
    eccl ingest cmr acdc/ --name acdc
    eccl train pretrain_cmr --cohort cmr-acdc --disease I42
    """,
}
command.add_command(ukb)
command.add_command(_unpaired("ecg"))
command.add_command(_unpaired("cmr"))


def _build(
    cohort: str, source: plan.Inputs, retry_quarantined: bool, scale: str, workers: int, scheduler: str, **options: Any
) -> int:
    """Build a store. Returns exit status 1 if no file could be read, otherwise 0."""
    if workers < 1:
        raise ConfigError(f"--workers {workers}: give 1 or more")
    config = config_of(scale, cohort, settings=options["settings"])
    engine = Workers("dask" if scheduler else "loky", workers, scheduler)
    return 0 if len(build(config, source, engine, retry_quarantined, print_line)) else EXIT_FAILED


def _segmenter(options: dict[str, Any]) -> providers.Segmenter:
    """Make the segmenter and remove its options from ``options``. Raises UnreadableError if it cannot work."""
    fields = {name: options.pop(name) for name in plan.OPTIONS}
    fields["onnx"] = str(expanded(fields["onnx"]).resolve()) if fields["onnx"] else ""
    segmenter = providers.Segmenter(**fields)
    segmenter.check()
    return segmenter


def _absolute(folders: Iterable[Path]) -> tuple[str, ...]:
    """Absolute paths. Raises UnreadableError where a folder does not exist."""
    resolved = [expanded(path).resolve() for path in folders]
    for folder in resolved:
        if not folder.is_dir():
            raise UnreadableError(f"there is no folder {folder}", "Correct the path.")
    return tuple(map(str, resolved))
