"""One participant's recordings as they were before preprocessing, to look at."""

from __future__ import annotations

import json
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data import files
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.records import CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers
from eccl_lib.data.store import fill, plan
from eccl_lib.data.ukb import readers

Paths = dict[str, tuple[Path, ...]]


def ecg_of(config: Config, data: Cohort, row: int) -> EcgRecord:
    """The ECG file of a cohort's row, read anew; rendered anew where the cohort was made without files."""
    found = _files(config, data, row)
    if found is not None:
        return files.first_readable(found["ecg"], readers.read_ecg)
    from eccl_lib.data import synthetic

    return synthetic.render_ecg(config.synthetic, _index(data, row))


def cine_of(config: Config, data: Cohort, row: int) -> CineRecord:
    """The cine file of a cohort's row with its segmentation, read anew; rendered anew where there are no files."""
    found = _files(config, data, row)
    if found is not None:
        masks = found.get("segmentation", ())
        return files.first_readable(found["cine"], lambda path: readers.read_cine(path, masks[0] if masks else None))
    from eccl_lib.data import synthetic

    return synthetic.render_cine(config.synthetic, _index(data, row))


def heart_of(config: Config, data: Cohort, row: int) -> CineRecord:
    """The slice of a cohort's row that is kept, read anew, with the heart found in it as it was for the store."""
    found = _files(config, data, row)
    if found is None:
        return providers.locate(cine_of(config, data, row), config.store.slice_choice)
    source = plan.Source.read(data.folder)
    asked = providers.AUTO if source is None else source.segmenter
    who = fill.participant("", found, segmenter=asked)
    return files.first_readable(found["cine"], lambda path: fill.read_cine(path, who, config))


def file_names(config: Config, data: Cohort, row: int) -> list[str]:
    """What the row was read from, the participant's id left out; empty where it was rendered."""
    eid = data.table["eid"].iloc[row]
    names = [path.name for paths in (_files(config, data, row) or {}).values() for path in paths]
    return [name.replace(eid, "<eid>") for name in names]


def _files(config: Config, data: Cohort, row: int) -> Paths | None:
    """By kind. Raises UnreadableError where UK Biobank's files are not where they were when the store was built."""
    eid = data.table["eid"].iloc[row]
    if config.cohort == "ukb":
        slots = plan.read_slots(data.folder).set_index("eid")["files"]
        known: Paths = {kind: tuple(map(Path, paths)) for kind, paths in json.loads(slots[eid] or "{}").items()}
        if not known or not all(path.exists() for paths in known.values() for path in paths):
            reason = "a participant's files are not where they were when the store was built"
            raise UnreadableError(reason, "Mount or move them back, or run `python -m eccl_lib.data.ukb` again.")
        return known
    return files.find(data.folder / "raw").participants[eid] if config.synthetic.write_tree else None


def _index(data: Cohort, row: int) -> int:
    from eccl_lib.data.synthetic import FIRST_EID

    return int(data.table["eid"].iloc[row]) - FIRST_EID
