"""One participant's recordings as they were before preprocessing, to look at."""

from __future__ import annotations

from pathlib import Path

from eccl_lib import paths
from eccl_lib.config import Config
from eccl_lib.data import ukb
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.records import CineRecord, EcgRecord


def ecg_of(config: Config, data: Cohort, row: int) -> EcgRecord:
    """The ECG file of a cohort's row, read anew; rendered anew where the cohort was made without files."""
    files = _files(config, data, row)
    if files is not None:
        return ukb.read_ecg(files["ecg"])
    from eccl_lib.data import synthetic

    return synthetic.render_ecg(config.synthetic, _index(data, row))


def cine_of(config: Config, data: Cohort, row: int) -> CineRecord:
    """The cine file of a cohort's row with its segmentation, read anew; rendered anew where there are no files."""
    files = _files(config, data, row)
    if files is not None:
        return ukb.read_cine(files["cine"], files.get("segmentation"))
    from eccl_lib.data import synthetic

    return synthetic.render_cine(config.synthetic, _index(data, row))


def file_names(config: Config, data: Cohort, row: int) -> list[str]:
    """What the row was read from, below the cohort's raw folder; empty where it was rendered."""
    return [str(path.relative_to(_root(config, data))) for path in (_files(config, data, row) or {}).values()]


def _root(config: Config, data: Cohort) -> Path:
    return data.folder / "raw" if config.cohort == "synthetic" else paths.data_root()


def _files(config: Config, data: Cohort, row: int) -> dict[str, Path] | None:
    if config.cohort == "synthetic" and not config.synthetic.write_tree:
        return None
    return ukb.find_files(_root(config, data))[data.table["eid"].iloc[row]]


def _index(data: Cohort, row: int) -> int:
    from eccl_lib.data.synthetic import FIRST_EID

    return int(data.table["eid"].iloc[row]) - FIRST_EID
