"""Unusual tables and lists of withdrawals; see ``odd_inputs``."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from eccl_lib.data.synthetic import render_table
from eccl_lib.data.ukb import tables
from tests.data import table_dialects
from tests.data.odd_inputs import DEMO, KEPT, STOPPED, Case, read_tables
from tests.data.table_dialects import TABLE_DIALECTS

HEAD = "eid,p31,p24100_i2,p53_i2\n"
ROW = "9000001,1,150.5,2016-05-01\n"
WHOLE = HEAD + ROW + "9000002,0,120,2016-06-01\n"


@cache
def frame():
    return render_table(DEMO.synthetic, range(5))


def xlsx() -> bytes:
    import io

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return content.getvalue()


SURVIVED: list[tuple[str, list[str | bytes], str]] = [
    ("no line end at the end", [WHOLE.rstrip()], "2 participants$"),
    ("CR LF", [WHOLE.replace("\n", "\r\n")], "2 participants$"),
    ("CR alone", [WHOLE.replace("\n", "\r")], "2 participants$"),
    ("blank lines between", [WHOLE.replace("\n", "\n\n")], "2 participants$"),
    (
        "Latin-1 in a column that is not used",
        [WHOLE.replace("p31", "Größe,p31").replace("01,1", "01,ü,1").replace("02,0", "02,é,0").encode("latin-1")],
        "2 participants$",
    ),
    (
        "rows in another order, columns too",
        ["p53_i2,eid,p24100_i2\n2016-05-01,9000002,1\n2016-05-01,9000001,2\n"],
        "2 participants$",
    ),
    ("a comma at the end of the header and of each row", [WHOLE.replace("\n", ",\n")], "2 participants$"),
    ("a comma at the end of each row", [WHOLE.replace("1\n", "1,\n")], "2 participants$"),
    ("the same column twice, equal", ["eid,p31,p31\n9000001,1,1\n"], "1 participants$"),
    ("the same column twice, one half empty", ["eid,p31,p31\n9000001,,1\n9000002,0,\n"], "2 participants$"),
    ("a withdrawn participant's blank id", [WHOLE + ",,,\n"], "1 rows without"),
    ("a withdrawn participant's negative id", [WHOLE + "-12,1,1,\n"], "1 rows without"),
    ("ids as decimals", [WHOLE.replace("9000001", "9000001.0")], "2 participants$"),
    ("words where numbers belong", [WHOLE + "9000003,1,not done,2016-05-01\n"], "1 cells are not numbers"),
    ("infinite volume", [WHOLE + "9000003,1,inf,2016-05-01\n"], "1 cells are not numbers"),
    ("a visit on 2016-13-45", [WHOLE + "9000003,1,1,2016-13-45\n"], "3 participants"),
    ("a list of codes without its end", ['eid,p41270\n9000001,"[""I10"", ""I21"\n'], "1 participants$"),
    ("a list of codes that is a number", ["eid,p41270\n9000001,[1]\n"], "1 participants$"),
    ("a list within a list", ['eid,p41270\n9000001,"[[""I21""]]"\n'], "1 participants$"),
    ("a thousand brackets", [f"eid,p41270\n9000001,{'[' * 1000}I21\n"], "1 participants$"),
    (
        "a code that would be a program",
        ["eid,p41270\n9000001,\"[__import__('os').system('I21')]\"\n"],
        "1 participants$",
    ),
    (
        "three thousand unused columns",
        ["eid,p31," + ",".join(f"p{k}_i0" for k in range(60000, 63000)) + "\n9000001,1" + ",x" * 3000 + "\n"],
        "1 participants$",
    ),
    ("a field number of forty digits", [f"eid,p31,p{'9' * 40}\n9000001,1,2\n"], "1 participants$"),
    (
        "two tables of the same participants",
        [WHOLE, "f.eid\tf.24101.2.0\n9000002\t60\n9000001\t70\n"],
        "2 participants$",
    ),
    ("two blocks of participants", [WHOLE, WHOLE.replace("90000", "90001")], "4 participants$"),
    ("the same table twice", [WHOLE, WHOLE], "2 participants$"),
]
STOPS: list[tuple[str, list[str | bytes], str]] = [
    ("empty", [""], "0 columns of participant ids"),
    ("a header alone", [HEAD], "no row"),
    ("no column of ids", ["id,p31\n1,2\n"], "0 columns of participant ids"),
    ("two columns of ids", ["eid,participant.eid,p31\n1,2,0\n"], "2 columns of participant ids"),
    ("no field that is needed", ["eid,p1,p2\n9000001,1,2\n"], "none of the fields"),
    ("a participant twice", [WHOLE + ROW], "a participant twice"),
    ("a row cut short", [WHOLE + "9000003,1"], "row 4 of the table has 2 cells"),
    ("a row of another table", [HEAD + "a,b,c,d,e,f\n" + ROW], "row 2 of the table has 6 cells"),
    ("a quote that never ends", [HEAD + '9000001,"1,150,2016-05-01\n' + ROW], "quotes|cells"),
    ("a cell of two megabytes", [HEAD + "9000001,1," + "9" * 2**21 + ",\n"], "quotes or cells"),
    ("an id that a spreadsheet rounded", [WHOLE + "9.0E+06,1,1,\n"], "column eid.*scientific.*'9.0E\\+06'.*1 cell"),
    ("a decimal comma", ["eid;p24100_i2\n9000001;150,5\n"], "p24100_i2 has a decimal comma, as in '150,5'"),
    ("a field of words alone", [HEAD + "9000001,1,not done,2016-05-01\n"], "p24100_i2 has no valid value in 1 cells"),
    ("no id in any row", [HEAD + ",1,2,\n"], "no row"),
    ("an Excel workbook", [xlsx() + b"\0" * 100], "binary"),
    ("a Stata file", [b"<stata_dta><header><release>118</release>\0\0"], "binary"),
    ("an encrypted UK Biobank file", [bytes(range(256)) * 8], "binary"),
    ("a cut gzip", [gzip.compress(WHOLE.encode(), mtime=0)[:-12]], "compressed content is damaged"),
    ("a web page", ["<html><body>Please log in</body></html>"], "0 columns"),
    ("the same column twice, different", ["eid,p31,p31\n9000001,1,0\n"], "31 is given twice and differs for 1"),
    ("two tables that contradict each other", [WHOLE, WHOLE.replace("150.5", "15")], "24100 is given twice"),
    ("tables of two applications", [WHOLE, "eid,p24101_i2\n9000071,60\n9000072,70\n"], "0 participants in common"),
]
LISTS: list[tuple[str, str | bytes, str, str]] = [
    ("one id per line", "9000001\n9000002\n", KEPT, "2 ids"),
    ("a header, CR LF, blank lines", "eid\r\n9000001\r\n\r\n9000002\r\n", KEPT, "2 ids"),
    ("quotes and a byte order mark", '\ufeff"9000001"\n', KEPT, "1 ids"),
    ("more columns", "9000001,2020-01-01\n", KEPT, "1 ids"),
    ("an empty list", "", STOPPED, "no participant's id"),
    ("an id twice", "9000001\n9000001\n", KEPT, "1 ids"),
    ("a name in the second line", "9000001\nSmith\n", STOPPED, "line 2"),
    ("two ids in a line", "9000001 9000002\n", STOPPED, "line 1"),
    ("a negative id", "-9000001\n", STOPPED, "line 1"),
    ("a header without ids", "withdrawn\n9000001\n", STOPPED, "line 1"),
    ("an Excel workbook", xlsx() + b"\0" * 100, STOPPED, "binary"),
]


def table(what: str, contents: list[str | bytes], outcome: str, says: str) -> Case:
    return Case("table", what, lambda folder: read_tables(folder, *contents), outcome, says)


def read_list(content: str | bytes) -> Callable[[Path], str]:
    def run(folder: Path) -> str:
        path = folder / "w12345_20250101.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"{len(tables.read_withdrawals(path))} ids"

    return run


def absent(folder: Path) -> str:
    return str(tables.read_table(folder / "gone.csv"))


CASES = [
    *(
        table(f"dialect: {n}", [table_dialects.write(frame(), d)], KEPT, "5 participants$")
        for n, d in TABLE_DIALECTS.items()
    ),
    *(table(what, contents, KEPT, says) for what, contents, says in SURVIVED),
    *(table(what, contents, STOPPED, says) for what, contents, says in STOPS),
    Case("table", "a missing file", absent, STOPPED, "does not exist"),
    Case("table", "a folder", lambda folder: str(tables.read_table(folder)), STOPPED, "a folder, not a file"),
    *(Case("withdrawals", what, read_list(content), outcome, says) for what, content, outcome, says in LISTS),
]
