"""Read randomly damaged files: ``python -m tests.data.fuzz --count 2000`` prints a table per parser.

A reader must return a record or raise UnreadableError, with limited time and memory. Seeds are fixed: input ``k`` of a
parser is the same file on all machines.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import resource
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import cmr, ecg, own_labels
from eccl_lib.data.formats import detect, dicom
from eccl_lib.data.ingest import cine_folders, ecg_folders, participants_table, ptbxl
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.synthetic import render_table
from eccl_lib.data.ukb import diagnoses, readers, tables
from tests.data import field_files, muse_files, table_dialects
from tests.data.file_dialects import images, nifti, packed
from tests.data.odd_inputs import DEMO, plain_cine, plain_mask, plain_xml, plain_zip
from tests.data.table_dialects import TABLE_DIALECTS

LARGEST_MEMORY = 2**31  # bytes of address space that a run may allocate

WEIGHTS = np.array([3, 3, 1, 1, 0.3, 1, 1, 1, 2, 2]) / 15.3  # small changes are more frequent than truncations

Read = Callable[[bytes, Path], None]


@dataclass
class Tally:
    """Results of one parser's files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds of processor time
    crashes: list[str] = field(default_factory=list)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits, bytes, zeros, truncations, lost, doubled or inserted parts, numbers, brackets."""
    out = bytearray(data)
    for _ in range(1 if rng.random() < 0.6 else int(rng.integers(2, 5))):
        if not out:
            break
        at, length = int(rng.integers(len(out))), int(rng.integers(1, 65))
        kind = rng.choice(10, p=WEIGHTS)
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[at] = int(rng.integers(256))
        elif kind == 2:
            out[at : at + length] = bytes(length)
        elif kind == 3:
            out[at : at + length] = b"\xff" * length
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            del out[at : at + length * int(rng.integers(1, 100))]
        elif kind == 6:
            out[at:at] = out[at : at + length * int(rng.integers(1, 100))]
        elif kind == 7:
            out[at:at] = rng.bytes(length)
        elif kind == 8:
            words = [b"<", b">", b'"', b",", b"\0", b"-1", b"1e308", b"nan", b"99999999999", b"\r", b"&", b"[", b"\xfe"]
            out[at:at] = words[int(rng.integers(len(words)))]
        else:
            out[at : at + 4] = int(rng.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1])).to_bytes(4, "little")
    return bytes(out)


def _ecg(record: EcgRecord) -> None:
    stored, rate, flags = ecg.preprocess(record)
    if stored.shape != (12, 5000) or not np.isfinite(rate):
        raise AssertionError(f"a row of shape {stored.shape} and rate {rate}")
    ecg.warnings(flags)


def xml(data: bytes, folder: Path) -> None:
    (folder / "a.xml").write_bytes(data)
    _ecg(readers.read_ecg(folder / "a.xml"))


def cine_zip(data: bytes, folder: Path, mask: bytes | None = None, name: str = "a.zip") -> None:
    (folder / name).write_bytes(data)
    (folder / "seg_sa.nii.gz").write_bytes(plain_mask() if mask is None else mask)
    clip = cmr.crop(readers.read_cine(folder / name, folder / "seg_sa.nii.gz", "middle"), DEMO.store)
    if clip.shape != (224, 224, 50):
        raise AssertionError(f"a clip of shape {clip.shape}")


def dicom_in_zip(data: bytes, folder: Path) -> None:
    """Read a zip with one damaged image, and the image alone."""
    files = images(plain_zip())
    files[17] = (files[17][0], data)
    cine_zip(packed(files, 0), folder)
    header = dicom.read_header(data)
    dicom.read_pixels(data, header)


def mask(data: bytes, folder: Path) -> None:
    cine_zip(plain_zip(), folder, gzip.compress(data, 1))


def mask_gzip(data: bytes, folder: Path) -> None:
    cine_zip(plain_zip(), folder, data)


def cine_nifti(data: bytes, folder: Path) -> None:
    cine_zip(data, folder, name="sa.nii")


def table(data: bytes, folder: Path) -> None:
    (folder / "t.csv").write_bytes(data)
    found, _ = tables.read_tables([folder / "t.csv"])
    for rule in ("ever", "prevalent"):
        diagnoses.labels(found, rule)
    tables.traits(found)
    tables.sex(found)


def withdrawals(data: bytes, folder: Path) -> None:
    (folder / "w.csv").write_bytes(data)
    tables.read_withdrawals(folder / "w.csv")


def wfdb_header(data: bytes, folder: Path) -> None:
    (folder / "a.hea").write_bytes(data)
    (folder / "a.dat").write_bytes(_samples().tobytes())
    _ecg(detect.read_ecg(folder / "a.hea"))


def wfdb_data(data: bytes, folder: Path) -> None:
    (folder / "a.hea").write_bytes(_wfdb_header())
    (folder / "a.dat").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a.hea"))


def csv(data: bytes, folder: Path) -> None:
    (folder / "a.csv").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a.csv"))


def waveform(data: bytes, folder: Path) -> None:
    (folder / "a.dcm").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a.dcm"))


def edf(data: bytes, folder: Path) -> None:
    (folder / "a.edf").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a.edf"))


def other_xml(data: bytes, folder: Path) -> None:
    (folder / "a.xml").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a.xml"))


def npy(data: bytes, folder: Path) -> None:
    (folder / "a.npy").write_bytes(data)
    (folder / "a.json").write_bytes(_sidecar())
    _ecg(detect.read_ecg(folder / "a.npy"))


def sidecar(data: bytes, folder: Path) -> None:
    np.save(folder / "a.npy", _samples())
    (folder / "a.json").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a.npy"))


def wfdb_parts(data: bytes, folder: Path) -> None:
    """Read a record of two segments with a damaged main header."""
    (folder / "a.hea").write_bytes(data)
    for name in ("s1", "s2"):
        lines = [f"{name} 12 500 2500", *(f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
        (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
        (folder / f"{name}.dat").write_bytes(_samples()[:2500].tobytes())
    _ecg(detect.read_ecg(folder / "a.hea"))


def any_ecg(data: bytes, folder: Path) -> None:
    """Read a file whose name says nothing of its format."""
    (folder / "a").write_bytes(data)
    _ecg(detect.read_ecg(folder / "a"))


def labels(data: bytes, folder: Path) -> None:
    """Read a user's table of labels."""
    (folder / "t.csv").write_bytes(data)
    names = [f"r{k}" for k in range(20)]
    table = participants_table.read(folder / "t.csv", names, ["score"])
    participants_table.rows(table, list(table.index))
    own_labels.from_table(table, own_labels.parse(["score:continuous"]), "t.csv")


def ptbxl_table(data: bytes, folder: Path) -> None:
    (folder / ptbxl.DATABASE).write_bytes(data)
    (folder / ptbxl.STATEMENTS).write_text(",diagnostic_class,diagnostic_subclass\nNORM,NORM,NORM\nIMI,MI,IMI\n")
    ptbxl.read(folder)


def patients(data: bytes, folder: Path) -> None:
    """List ECGs beside a dataset's table of patients."""
    (folder / "exams.csv").write_bytes(data)
    (folder / "1.npy").touch()
    ecg_folders.find([folder])


def facts(data: bytes, folder: Path) -> None:
    """List cines beside the text files of ACDC and M&Ms."""
    (folder / "patient001").mkdir()
    (folder / "patient001" / "patient001_4d.nii.gz").touch()
    (folder / "patient001" / cine_folders.INFO).write_bytes(data)
    (folder / "information.csv").write_bytes(data)
    cine_folders.find([folder])


@cache
def _samples() -> np.ndarray:
    """(5000, 12) int16 uV."""
    folder = Path(tempfile.mkdtemp())
    (folder / "a.xml").write_bytes(plain_xml())
    return np.rint(1000 * readers.read_ecg(folder / "a.xml").signal.T).astype("<i2")


def _wfdb_header() -> bytes:
    lines = ["a 12 500 5000", *(f"a.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    return ("\n".join(lines) + "\n").encode()


def _csv() -> bytes:
    rows = "\n".join(",".join(f"{x / 1000:.3f}" for x in row) for row in _samples())
    return f"# rate=500\n{','.join(LEADS)}\n{rows}\n".encode()


def _sidecar() -> bytes:
    return json.dumps({"rate": 500, "leads": LEADS, "unit": "uV"}).encode()


def _saved() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _samples())
    return buffer.getvalue()


def _labels() -> bytes:
    rows = "\n".join(f"r{k},{k % 2},{50 + k},{'FM'[k % 2]},p{k // 2},{k / 7:.3f}" for k in range(20))
    return f"id,I21,age,sex,patient,score\n{rows}\n".encode()


def _database() -> bytes:
    rows = "\n".join(
        f"{k},{k}.0,{60 + k},{k % 2},\"{{'NORM': 100.0, 'SR': 0.0}}\",{k % 10 + 1},r/{k}_lr,r/{k}_hr" for k in range(20)
    )
    return f"ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr\n{rows}\n".encode()


def _packed_by_lzma_and_bzip2() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for k, (name, content) in enumerate(images(plain_zip())):
            info = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            archive.writestr(info, content, zipfile.ZIP_LZMA if k % 2 else zipfile.ZIP_BZIP2)
    return buffer.getvalue()


def _written(write: Callable[[Path], Path]) -> bytes:
    """The bytes of a file that ``write`` makes."""
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / "a").read_bytes()


def _edf() -> bytes:
    return _written(lambda path: field_files.write_edf(path, _samples().T / 1000))


def _aecg() -> bytes:
    names = [f"MDC_ECG_LEAD_{lead.upper()}" for lead in LEADS]
    strip = field_files.sequence_set(names, _samples().T, scale="1")
    return _written(lambda path: field_files.write_aecg(path, strip))


def _muse() -> bytes:
    counts = {name: _samples()[:, LEADS.index(name)] for name in muse_files.RECORDED}
    return _written(lambda path: muse_files.write(path, counts, per_bit=1))


def _table(dialect: str) -> bytes:
    return table_dialects.write(render_table(DEMO.synthetic, range(12)), TABLE_DIALECTS[dialect])


def _nifti() -> bytes:
    return gzip.decompress(nifti(plain_cine().images, plain_mask(), 80.0))


def _waveform() -> bytes:
    from pydicom.data import get_testdata_file

    return Path(get_testdata_file("waveform_ecg.dcm", download=False)).read_bytes()


# In every second input of a large file only the first bytes (the header) are damaged.
PARSERS: dict[str, tuple[Read, Callable[[], bytes]]] = {
    "ECG XML": (xml, plain_xml),
    "cine zip": (cine_zip, plain_zip),
    "DICOM image": (dicom_in_zip, lambda: images(plain_zip())[17][1]),
    "NIfTI mask": (mask, lambda: gzip.decompress(plain_mask())),
    "NIfTI mask, packed": (mask_gzip, plain_mask),
    "NIfTI cine": (cine_nifti, _nifti),
    "table, platform": (table, lambda: _table("platform, coded")),
    "table, titles": (table, lambda: _table("platform, titles")),
    "table, ukbconv r": (table, lambda: _table("ukbconv r")),
    "table, gzip": (table, lambda: _table("platform, gzip")),
    "withdrawals": (withdrawals, lambda: b"".join(b"%d\n" % (9_000_001 + k) for k in range(50))),
    "WFDB header": (wfdb_header, _wfdb_header),
    "WFDB data": (wfdb_data, lambda: _samples().tobytes()),
    "ECG CSV": (csv, _csv),
    "DICOM waveform": (waveform, _waveform),
    "EDF": (edf, _edf),
    "HL7 aECG": (other_xml, _aecg),
    "GE MUSE": (other_xml, _muse),
    "npy": (npy, _saved),
    "npy sidecar": (sidecar, _sidecar),
    "WFDB segments": (wfdb_parts, lambda: b"a/2 12 500 5000\ns1 2500\ns2 2500\n"),
    "ECG of no name": (any_ecg, _csv),
    "labels": (labels, _labels),
    "PTB-XL's table": (ptbxl_table, _database),
    "table of patients": (
        patients,
        lambda: b"exam_id,patient_id\n" + b"".join(b"%d,%d\n" % (k, k // 2) for k in range(50)),
    ),
    "facts of cines": (
        facts,
        lambda: b"ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nExternal code,Pathology\nA0S9V9,DCM\n",
    ),
    "cine zip, LZMA and bzip2": (cine_zip, _packed_by_lzma_and_bzip2),
}


def damaged(data: bytes, name: str, k: int) -> bytes:
    """Input ``k`` of a parser."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), k])
    head = 1500
    if k % 2 and len(data) > 4 * head:
        return mutate(data[:head], rng) + data[head:]
    return mutate(data, rng)


def fuzz(name: str, numbers: range) -> Tally:
    """Read a range of a parser's inputs, each in a separate folder."""
    read, make = PARSERS[name]
    base, tally = make(), Tally()
    for k in numbers:
        content = damaged(base, name, k)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.process_time()
            try:
                read(content, Path(folder))
                tally.outcomes["kept"] += 1
            except UnreadableError:
                tally.outcomes["rejected"] += 1
            except Exception as error:
                tally.crashes.append(f"{name} {k}: {type(error).__name__}: {str(error)[:100]}")
            tally.slowest = max(tally.slowest, time.process_time() - start)
    return tally


def bound_memory() -> None:
    """Limit the additional memory of the process to LARGEST_MEMORY."""
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + LARGEST_MEMORY, resource.RLIM_INFINITY))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.data.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of the parser's name")
    given = parser.parse_args()
    bound_memory()
    crashes = []
    print("| parser | files | kept | rejected | crashed | slowest, s | peak, MB |\n|---|---|---|---|---|---|---|")
    for name in PARSERS:
        if given.only in name:
            tally = fuzz(name, range(given.first, given.first + given.count))
            kept, rejected = tally.outcomes["kept"], tally.outcomes["rejected"]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            facts = (name, given.count, kept, rejected, len(tally.crashes), f"{tally.slowest:.2f}", f"{peak:.0f}")
            print(f"| {' | '.join(map(str, facts))} |", flush=True)
            crashes += tally.crashes
    print("\n".join(crashes))
    return int(bool(crashes))


if __name__ == "__main__":
    raise SystemExit(main())
