"""Reader of ECGs stored as DICOM waveforms."""

from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import read_bytes, reading
from eccl_lib.data.formats import dicom
from eccl_lib.data.formats.leads import ACCEPTED, LARGEST_TEXT, by_lead, millivolts
from eccl_lib.data.records import EcgRecord


def read(path: Path) -> EcgRecord:
    """Read the longest waveform group of a DICOM ECG: the rhythm strip, not the median beat. Raises UnreadableError."""
    import pydicom

    read_bytes(path, LARGEST_TEXT)
    with reading("the DICOM waveform is damaged", quote=True):
        meta = pydicom.filereader.read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID")).encode() == dicom.DEFLATED:
            cure = "Convert it to an uncompressed transfer syntax."
            raise UnreadableError("the DICOM file is deflated; its unpacked size is unknown", cure)
        dataset = pydicom.dcmread(path)
        groups = list(dataset.get("WaveformSequence") or [])
        if not groups:
            raise UnreadableError("the DICOM file has no waveform", ACCEPTED)
        longest = max(range(len(groups)), key=lambda k: int(groups[k].NumberOfWaveformSamples))
        channels = groups[longest].ChannelDefinitionSequence
        values = dataset.waveform_array(longest).T
        names = [channel.ChannelSourceSequence[0].CodeMeaning for channel in channels]
        units = [channel.ChannelSensitivityUnitsSequence[0].CodeValue for channel in channels]
        rate = float(groups[longest].SamplingFrequency)
    signal, notes = by_lead(names, values, [millivolts(unit) for unit in units])
    return EcgRecord(signal, rate, notes=tuple(notes))
