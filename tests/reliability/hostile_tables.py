"""Hostile tables, folders and names; see ``hostile_files``."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.ingest import cine_folders, ecg_folders, participants_table, ptbxl
from eccl_lib.data.listing import FileListing
from eccl_lib.data.ukb import diagnoses, file_names, tables
from tests.conftest import eccl
from tests.reliability.hostile_ecg import ESC
from tests.reliability.hostile_files import READ, REFUSED, Case
from tests.reliability.hostile_signals import NAMES, fifo, link, rows

NAME = "t.csv"
HEAD = "eid,p31,p21003_i2,p24103_i2,p41270\n"


def read_ukb(folder: Path) -> str:
    """Read UK Biobank's table and compute labels and traits."""
    found, notes = tables.read_tables([folder / NAME])
    diagnoses.labels(found, "ever")
    tables.traits(found)
    tables.sex(found)
    return "; ".join([f"{len(found)} participants", *notes])


def read_withdrawals(folder: Path) -> str:
    return f"{len(tables.read_withdrawals(folder / NAME))} ids"


def read_labels(folder: Path) -> str:
    """Read a user's table of labels of two recordings."""
    labels = participants_table.read(folder / NAME, ["a/x", "b/y"], ["score"] if (folder / "own").exists() else [])
    participants_table.rows(labels, list(labels.index))
    return f"{len(labels)} rows"


def read_ptbxl(folder: Path) -> str:
    return str(ptbxl.read(folder))


def found(listing: FileListing) -> str:
    """The files by name; raises the first refusal where nothing else is there."""
    if listing.rejected and not listing.participants:
        raise UnreadableError(f"{listing.rejected[0].file}: {listing.rejected[0].reason}", listing.rejected[0].cure)
    return f"{len(listing.participants)} found, {len(listing.rejected)} rejected, {dict(listing.skipped)}"


def predict(folder: Path) -> str:
    """``eccl predict`` on the only file of a folder; raises what it printed."""
    import contextlib

    (path,) = (path for path in folder.iterdir() if path.suffix != ".json")
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        status = eccl("predict", path)
    message = printed.getvalue().strip()
    if status != 1 or "\n" in message or not message.isprintable():
        raise AssertionError(f"status {status}: {message!r}")
    raise UnreadableError(message, "")


def text(content: Callable[[], bytes | str], name: str = NAME) -> Callable[[Path], object]:
    """Writes one file."""

    def write(folder: Path) -> None:
        made = content()
        (folder / name).write_bytes(made.encode() if isinstance(made, str) else made)

    return write


def ukb(what: str, content: Callable[[], bytes | str], outcome: str = REFUSED) -> Case:
    return Case("table", what, text(content), read_ukb, outcome)


def withdrawn(what: str, content: Callable[[], bytes | str]) -> Case:
    return Case("withdrawals", what, text(content), read_withdrawals)


def labels(what: str, content: Callable[[], bytes | str], outcome: str = REFUSED) -> Case:
    return Case("labels", what, text(content), read_labels, outcome)


def bomb(start: str, block: bytes, megabytes: int) -> Callable[[], bytes]:
    """A gzip file that repeats a block of bytes."""
    part = gzip.compress(block * (2**20 // len(block)), 9, mtime=0)
    return lambda: gzip.compress(start.encode(), mtime=0) + part * megabytes


def workbook() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("xl/workbook.xml", "<x/>")
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"eid": ["9000001"], "p31": [1]}).to_parquet(buffer)
    return buffer.getvalue()


ROW = "9000001,1,60,70,\n"
UKB = [
    ukb("63 MB without a known field", lambda: "eid,x,y\n" + "9000001,1,2\n" * (5 * 2**20)),
    ukb("63 MB of one id", lambda: HEAD + ROW * (63 * 2**20 // len(ROW))),
    ukb("a million columns", lambda: "eid,p31" + ",x" * 10**6 + "\n" + "1," * 10**6 + "1"),
    ukb("a row of a million cells", lambda: HEAD + "1," * 10**6),
    ukb("one line of 60 MB", lambda: "eid,p31" + "x" * (60 * 2**20)),
    ukb("one line of 15 MB", lambda: "eid,p31" + "x" * (15 * 2**20)),
    ukb("a cell of 15 MB", lambda: f"{HEAD}9000001,1,60,70,{'x' * (15 * 2**20)}\n"),
    ukb("a quote that never ends", lambda: f'{HEAD}9000001,"' + "1,2\n" * (4 * 2**20)),
    ukb("30 million empty lines", lambda: HEAD + "\n" * (30 * 2**20)),
    ukb("a gzip of 2 GB of empty lines", bomb(HEAD, b"\n", 2000)),
    ukb("a gzip of 2 GB of zeros", bomb("", b"\0", 2000)),
    ukb("a gzip of 2 GB of one row", bomb(HEAD, ROW.encode(), 2000)),
    ukb("a gzip of 2 GB in one line", bomb(HEAD, b"1", 2000)),
    ukb("a gzip that is cut", lambda: gzip.compress((HEAD + ROW).encode() * 99)[:-30]),
    ukb("numbers of 1e308 and nan", lambda: f"{HEAD}9000001,1e308,inf,nan,\n9000002,-1,1e999,{'9' * 400},\n"),
    ukb("a list of codes nested 100,000 deep", lambda: f"{HEAD}9000001,1,60,70,{'[' * 100_000}\n", READ),
    ukb("names of escape sequences", lambda: f"eid,{ESC}\n9000001,1\n"),
    ukb("cells of escape sequences", lambda: f"{HEAD}9000001,{ESC},{ESC},1,\n"),
    ukb("an Excel workbook", workbook),
    ukb("Parquet", parquet),
    Case("table", "a pipe", fifo(NAME), read_ukb),
    Case("table", "a link to /dev/zero", link(NAME, "/dev/zero"), read_ukb),
    Case("table", "a link to itself", link(NAME, NAME), read_ukb),
    withdrawn("63 MB of escape sequences", lambda: ESC * (4 * 2**20)),
    withdrawn("a gzip of 2 GB of empty lines", bomb("eid\n", b"\n", 2000)),
    withdrawn("a gzip of 2 GB in one line", bomb("", b"1", 2000)),
    Case("withdrawals", "a pipe", fifo(NAME), read_withdrawals),
]
LABELS = [
    labels("63 MB without ids", lambda: "name,age\n" + "x,60\n" * (12 * 2**20)),
    labels("63 MB of unknown ids", lambda: "id,age\n" + "zz,60\n" * (10 * 2**20)),
    labels("a million columns", lambda: "id,age" + ",x" * 10**6 + "\nx,60" + ",1" * 10**6),
    labels("a cell of 15 MB", lambda: f"id,age\nx,{'9' * (15 * 2**20)}\n"),
    labels("a quote that never ends", lambda: 'id,age\nx,"' + "1,2\n" * (4 * 2**20)),
    labels("a gzip of 2 GB of one row", bomb("id,age\n", b"x,60\n", 2000)),
    labels("ages of 1e308", lambda: "id,age\nx,1e308\ny,1e999\n"),
    labels("ids of escape sequences", lambda: f"id,age\n{ESC},60\n"),
    labels("sex in escape sequences", lambda: f"id,sex\nx,{ESC}\n"),
    labels("bytes that are not UTF-8", lambda: b"id,age\n\xe4\xff,60\n"),
    labels("the same name in three columns", lambda: "id,age,age,age\nx,1,2,3\n"),
    Case("labels", "a pipe", fifo(NAME), read_labels),
    Case(
        "labels",
        "PTB-XL's table of 500 MB",
        lambda folder: (
            text(lambda: "x" * (500 * 2**20), ptbxl.DATABASE)(folder),
            text(lambda: "x", ptbxl.STATEMENTS)(folder),
        ),
        read_ptbxl,
    ),
    Case(
        "labels",
        "PTB-XL's table with code in a cell",
        lambda folder: (
            text(
                lambda: "patient_id,scp_codes,strat_fold,age,sex,filename_hr\n1,__import__('os').getcwd(),1,60,0,a\n",
                ptbxl.DATABASE,
            )(folder),
            text(lambda: ",diagnostic_class,diagnostic_subclass\nNORM,NORM,NORM\n", ptbxl.STATEMENTS)(folder),
        ),
        read_ptbxl,
    ),
]


# Folders


def hostile_names(folder: Path) -> None:
    """ECGs with names that control a terminal, and one that is not UTF-8."""
    for name in (f"{ESC[:-1]}.csv", "a\nb\rc.csv", "\u202evsc.csv", "--help.csv", "x;y$(id).csv"):
        (folder / name).write_text(f"# rate=500\n{NAMES}\n")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.csv")).write_text("x")


def others(*names: str) -> Callable[[Path], object]:
    """Writes a pipe of each name, and a link to a device."""

    def write(folder: Path) -> None:
        for name in names:
            os.mkfifo(folder / name)
        (folder / "device.csv").symlink_to("/dev/zero")

    return write


def deep(folder: Path) -> None:
    """900 folders within each other, with links to the first."""
    for _ in range(900):
        folder = folder / "d"
        folder.mkdir()
    (folder / "back").symlink_to("/".join([".."] * 900))
    os.mkfifo(folder / "a.csv")


def big_exams(folder: Path) -> None:
    (folder / "exams.csv").write_bytes(b"exam_id,patient_id\n" + b"1,1\n" * (12 * 2**20))
    os.mkfifo(folder / "a.csv")


FOLDERS = [
    Case(
        "folder",
        "pipes among ECGs",
        others("a.csv", "b.txt", "c.hea", "exams.csv"),
        lambda f: found(ecg_folders.find([f])),
    ),
    Case(
        "folder",
        "pipes among cines",
        others("a.nii", "b.zip", "c", "Info.cfg"),
        lambda f: found(cine_folders.find([f])),
    ),
    Case("folder", "pipes among UK Biobank's", others("9000001_20205_2_0.xml"), lambda f: found(file_names.find(f))),
    Case("folder", "a pipe as the folder", fifo("a"), lambda f: found(ecg_folders.find([f / "a"]))),
    Case(
        "folder",
        "a pipe with the name of M&Ms's table",
        fifo("information.csv"),
        lambda f: found(cine_folders.find([f])),
    ),
    Case(
        "folder",
        "a broken link with the name of an ECG",
        link("a.csv", "gone"),
        lambda f: found(ecg_folders.find([f])),
        READ,
    ),
    Case("folder", "900 folders deep with a loop", deep, lambda f: found(ecg_folders.find([f]))),
    Case("folder", "a table of patients of 12 million rows", big_exams, lambda f: found(ecg_folders.find([f]))),
    Case("folder", "names of escape sequences", hostile_names, lambda f: found(ecg_folders.find([f])), READ),
    Case(
        "predict",
        "a name of escape sequences",
        text(lambda: f"# rate=500\n{ESC},{ESC}b,I\n{rows()}", f"{ESC[:-1]}\n.csv"),
        predict,
    ),
    Case("predict", "a pipe", fifo("a.csv"), predict),
    Case("predict", "a link to /dev/zero", link("a.npy", "/dev/zero"), predict),
    Case("predict", "random bytes", text(lambda: np.random.default_rng(0).bytes(9000), "a.dat"), predict),
]

CASES = [*UKB, *LABELS, *FOLDERS]
