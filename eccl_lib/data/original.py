"""One participant's recordings before preprocessing, for display."""

import json
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data import reading, synthetic
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.records import CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers
from eccl_lib.data.store import fill, plan
from eccl_lib.data.ukb import readers
from eccl_lib.data.ukb.file_names import find

Paths = dict[str, tuple[Path, ...]]


def ecg_of(config: Config, data: Cohort, row: int) -> EcgRecord:
    """The ECG of a cohort's row, read from its file, or rendered again if the synthetic cohort has no files."""
    paths = _files(config, data, row)
    if paths is not None:
        return reading.first_readable(paths["ecg"], readers.read_ecg)
    return synthetic.render_ecg(config.synthetic, _index(data, row))


def cine_of(config: Config, data: Cohort, row: int) -> CineRecord:
    """The cine of a cohort's row with its segmentation, read from its files, or rendered again if there are none."""
    paths = _files(config, data, row)
    if paths is not None:
        masks = paths.get("segmentation", ())
        return reading.first_readable(paths["cine"], lambda path: readers.read_cine(path, masks[0] if masks else None))
    return synthetic.render_cine(config.synthetic, _index(data, row))


def heart_of(config: Config, data: Cohort, row: int) -> CineRecord:
    """The stored slice of a row's cine, read again, with the heart located by the same method as in the store."""
    paths = _files(config, data, row)
    if paths is None:
        choice = config.store.slice_choice  # the middle slice alone has the same pixels and takes a tenth of the time
        return providers.locate(synthetic.render_cine(config.synthetic, _index(data, row), choice == "middle"), choice)
    source = plan.Source.read(data.folder)
    segmenter = providers.AUTO if source is None else source.segmenter
    participant = fill.participant("", paths, segmenter=segmenter)
    return reading.first_readable(paths["cine"], lambda path: fill.read_cine(path, participant, config))


def file_names(config: Config, data: Cohort, row: int) -> list[str]:
    """Names of a row's source files, with the participant's id masked; empty if the row was rendered."""
    eid = data.table["eid"].iloc[row]
    names = [path.name for paths in (_files(config, data, row) or {}).values() for path in paths]
    return [name.replace(eid, "<eid>") for name in names]


def _files(config: Config, data: Cohort, row: int) -> Paths | None:
    """A row's source files by kind; None if it was rendered. Raises UnreadableError if a UK Biobank file is missing."""
    eid = data.table["eid"].iloc[row]
    if config.cohort == "ukb":
        slots = plan.read_slots(data.folder).set_index("eid")["files"]
        by_kind: Paths = {kind: tuple(map(Path, paths)) for kind, paths in json.loads(slots[eid] or "{}").items()}
        if not by_kind or not all(path.exists() for paths in by_kind.values() for path in paths):
            reason = "a participant's files are no longer where they were when the store was built"
            raise UnreadableError(reason, "Mount or move them back, or run `eccl ingest ukb` again.")
        return by_kind
    written = _index(data, row) < config.synthetic.file_participants
    return find(data.folder / "raw").participants[eid] if written else None


def _index(data: Cohort, row: int) -> int:
    return int(data.table["eid"].iloc[row]) - synthetic.FIRST_EID
