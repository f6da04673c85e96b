"""Reader of PhysioNet's WFDB records: PTB-XL, the Challenges, PTB and others."""

from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import reading
from eccl_lib.data.formats.leads import ACCEPTED, LONGEST_SECONDS, by_lead, millivolts
from eccl_lib.data.records import EcgRecord

LARGEST_FILE = 256 * 2**20


def read(header: Path) -> EcgRecord:
    """Read a record. header: path of its .hea file. Raises UnreadableError."""
    import wfdb

    name = str(header.with_suffix(""))
    with reading("the WFDB record is damaged", ACCEPTED, quote=True):
        facts = wfdb.rdheader(name)
        # A header can name any file of the machine; only files in its own folder are opened.
        for file in facts.file_name or []:
            if file is None or Path(file).name != file or not header.with_name(file).is_file():
                raise UnreadableError(f"the header's file {str(file)[:60]!r} is not in its folder", ACCEPTED)
            if header.with_name(file).stat().st_size > LARGEST_FILE:
                raise UnreadableError(f"{file} has more than {LARGEST_FILE / 2**20:.0f} MB")
        last = min(int(facts.sig_len), int(LONGEST_SECONDS * facts.fs)) if facts.sig_len else None
        record = wfdb.rdrecord(name, sampto=last)
    if record.p_signal is None or not record.sig_name:
        raise UnreadableError("the WFDB record has no signals", ACCEPTED)
    names, units = ([str(text or "") for text in texts] for texts in (record.sig_name, record.units))
    signal, notes = by_lead(names, record.p_signal.T, [millivolts(unit) for unit in units])
    return EcgRecord(signal, float(record.fs), notes=tuple(notes))
