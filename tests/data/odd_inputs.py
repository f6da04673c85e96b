"""Malformed and unusual inputs with their outcomes: ``python -m tests.data.odd_inputs`` prints the table."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import load
from eccl_lib.data import cmr, ecg, listing
from eccl_lib.data.records import CineRecord
from eccl_lib.data.synthetic import cardiosoft, dicom_zip, render_cine, ukb_tree
from eccl_lib.data.synthetic.ecg import strip
from eccl_lib.data.synthetic.population import draw
from eccl_lib.data.ukb import file_names, readers, tables

KEPT, QUARANTINED, REFUSED, STOPPED = "kept", "quarantined", "rejected by name", "error"
DEMO = load("demo", overrides={"store.clip_size": 224, "store.clip_frames": 50})
EID = "9000001"


@dataclass(frozen=True)
class Case:
    """One input. run: creates and reads it in a folder; returns the reader's notes, or raises UnreadableError.

    outcome: KEPT, QUARANTINED (the participant is excluded), REFUSED (the file is rejected) or STOPPED (an error).
    says: regular expression that the notes or the reason must match.
    """

    area: str
    what: str
    run: Callable[[Path], str]
    outcome: str
    says: str = ""


def outcome(case: Case, folder: Path) -> tuple[str, str, str]:
    """Outcome, message and cure of a case."""
    try:
        message = case.run(folder)
    except UnreadableError as error:
        return (QUARANTINED if case.outcome != STOPPED else STOPPED), error.reason, error.cure
    return (REFUSED, *message.split(" || ")) if " || " in message else (KEPT, message, "")


@cache
def plain_xml() -> bytes:
    """One participant's ECG in the default dialect."""
    config = DEMO.synthetic
    return cardiosoft.xml(strip(config, draw(config, [0])), age=60, male=True, height=170, weight=70.0)


@cache
def plain_cine() -> CineRecord:
    """Three slices and thirteen frames, cropped to the heart: small, so that a case is fast."""
    record = render_cine(DEMO.synthetic, 0)
    part = (slice(None), slice(None, None, 4), slice(10, 82), slice(10, 78))
    return dataclasses.replace(record, images=record.images[part], labels=record.labels[part], frame_ms=80.0)


@cache
def plain_zip() -> bytes:
    return dicom_zip.dicom_zip(plain_cine(), int(EID))


@cache
def plain_mask() -> bytes:
    return ukb_tree.segmentation_nifti(plain_cine())


def read_ecg(content: bytes, folder: Path) -> str:
    """Read and preprocess an ECG; returns notes and warnings."""
    path = folder / f"{EID}_20205_2_0.xml"
    path.write_bytes(content)
    record = readers.read_ecg(path)
    stored, _, flags = ecg.preprocess(record)
    assert stored.shape == (12, 5000)
    return "; ".join([*record.notes, *ecg.warnings(flags)])


def read_cine(content: bytes, folder: Path, mask: bytes | None = None, name: str = f"{EID}_20209_2_0.zip") -> str:
    """Read and preprocess a cine; returns notes."""
    (folder / name).write_bytes(content)
    (folder / "seg_sa.nii.gz").write_bytes(plain_mask() if mask is None else mask)
    record = readers.read_cine(folder / name, folder / "seg_sa.nii.gz", "middle")
    clip = cmr.crop(record, DEMO.store)
    assert clip.shape == (224, 224, 50)
    assert np.ptp(clip) > 100
    return "; ".join(record.notes)


def read_tables(folder: Path, *contents: str | bytes) -> str:
    paths = []
    for k, content in enumerate(contents):
        paths.append(folder / f"table{k}.csv")
        paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    table, notes = tables.read_tables(paths)
    tables.labels(table, "ever")
    tables.traits(table)
    return "; ".join([f"{len(table)} participants", *notes])


def find(folder: Path, *names: str) -> str:
    """Kinds and skipped files; or the first rejected file's reason and cure."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return found(file_names.find(folder))


def found(result: listing.FileListing) -> str:
    if result.rejected and not result.participants:
        return f"{result.rejected[0].reason} || {result.rejected[0].cure}"
    kinds = [f"{kind} {paths[0].name}" for some in result.participants.values() for kind, paths in some.items()]
    passed = [f"{count} x {reason}" for reason, count in result.skipped.items()]
    return "; ".join([", ".join(kinds) or "nothing", *passed])


def main() -> None:
    """Print all cases as a Markdown table, with counts."""
    from tests.data.odd_cases import CASES

    parser = argparse.ArgumentParser(prog="python -m tests.data.odd_inputs", description=__doc__)
    parser.add_argument("areas", nargs="*", help="ECG, cine, mask, table, withdrawals, files; all without")
    areas = parser.parse_args().areas
    cases = [case for case in CASES if not areas or case.area in areas]
    print("| area | input | outcome | message |\n|---|---|---|---|")
    counts: Counter[str] = Counter()
    for case in cases:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            happened, message, cure = outcome(case, Path(folder))
        counts[happened] += 1
        message = f"{message}. {cure}" if cure else message
        message = message.replace(folder, "FOLDER").replace("|", "\\|")
        print(f"| {case.area} | {case.what} | {happened} | {message[:220]} |")
    print(f"\n{len(cases)} inputs: {', '.join(f'{n} {name}' for name, n in sorted(counts.items()))}.")


if __name__ == "__main__":
    main()
