"""The embedded cohort as a folder in each dialect: ``python -m tests.data.dialects FOLDER``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from eccl_lib.config.load import load
from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.synthetic import ukb_tree
from eccl_lib.data.synthetic.population import FIRST_EID
from eccl_lib.data.synthetic.table import render_table
from eccl_lib.data.ukb import file_names
from tests.data import table_dialects
from tests.data.file_dialects import CINE_DIALECTS, ECG_DIALECTS, LAYOUTS
from tests.data.table_dialects import TABLE_DIALECTS

COUNT = max(map(len, (ECG_DIALECTS, CINE_DIALECTS, TABLE_DIALECTS, LAYOUTS)))  # folders that cover all dialects


def names(number: int) -> dict[str, str]:
    """The dialects of ECG, cine, table and folders in combination ``number`` of COUNT."""
    kinds = {"ecg": ECG_DIALECTS, "cine": CINE_DIALECTS, "table": TABLE_DIALECTS, "layout": LAYOUTS}
    return {kind: list(dialects)[number % len(dialects)] for kind, dialects in kinds.items()}


def write(config: SyntheticConfig, indices: Sequence[int], number: int, folder: Path) -> Path:
    """Write participants' files, segmentations and table in one combination of dialects; returns the table's path."""
    chosen = names(number)
    with tempfile.TemporaryDirectory() as plain:
        for index in indices:
            ukb_tree.write_participant(config, index, Path(plain))
            eid = str(FIRST_EID + index)
            kinds = {kind: paths[0].read_bytes() for kind, paths in file_names.find(plain).participants[eid].items()}
            layout = LAYOUTS[chosen["layout"]]
            _write(folder / layout(eid, "20205", ".xml"), ECG_DIALECTS[chosen["ecg"]](kinds["ecg"]))
            _write(folder / layout(eid, "20209", ".zip"), CINE_DIALECTS[chosen["cine"]](kinds["cine"]))
            _write(ukb_tree.segmentation_path(folder, int(eid)), kinds["segmentation"])
    table = folder / "table"
    _write(table, table_dialects.write(render_table(config, indices), TABLE_DIALECTS[chosen["table"]]))
    return table


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def main(words: list[str] | None = None) -> int:
    """Write each combination into a numbered folder and print its dialects."""
    parser = argparse.ArgumentParser(prog="python -m tests.data.dialects", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--participants", type=int, default=4)
    given = parser.parse_args(words)
    for number in range(COUNT):
        folder = given.folder / f"{number:02d}"
        table = write(load("demo").synthetic, range(given.participants), number, folder)
        print(f"{folder} --table {table}: {'; '.join(names(number).values())}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
