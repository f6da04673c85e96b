"""UK Biobank's ECG XML and short-axis zip: the independent example files, and damaged files."""

from __future__ import annotations

import copy
import io
import re
import stat
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg, open_cohort
from eccl_lib.data.formats import cardiosoft, xml_tree
from eccl_lib.data.ukb import readers
from tests.conftest import eccl


@pytest.fixture(scope="module")
def xml(shared: Path) -> bytes:
    return (shared / "formats" / "example_9000001_20205_2_0.xml").read_bytes()


@pytest.fixture(scope="module")
def archive(shared: Path) -> Path:
    return shared / "formats" / "example_9000001_20209_2_0.zip"


def read(folder: Path, content: bytes | str):
    path = folder / "9000001_20205_2_0.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    return readers.read_ecg(path)


def small_xml(leads: dict[str, str] | None = None, rate: str = "500", resolution: str = "5", more: str = "") -> str:
    """A file with a few samples; values of a lead may be any text."""
    leads = {lead: "1,-2,3" for lead in LEADS} if leads is None else leads
    waves = "".join(f'<WaveformData lead="{lead}">{values}</WaveformData>' for lead, values in leads.items())
    return (
        '<?xml version="1.0" encoding="ISO8859-1" ?>\n<CardiologyXML>'
        f"<StripData><SampleRate units='Hz'>{rate}</SampleRate><Resolution>{resolution}</Resolution>{waves}</StripData>"
        f"{more}</CardiologyXML>"
    )


def test_example_ecg_is_read_with_all_leads_in_millivolts(xml, tmp_path):
    record = read(tmp_path, xml)
    assert record.signal.shape == (12, 5000)
    assert (record.rate, record.heart_rate) == (500, 62)
    assert record.measurements["PQInterval"] == 160
    assert record.notes == ()
    strip = xml[xml.index(b"<StripData>") :].decode("latin-1")
    for lead, signal in zip(LEADS, record.signal, strict=True):  # an independent parser
        text = re.search(rf'<WaveformData lead="{lead}">(.*?)</WaveformData>', strip, re.DOTALL)[1]
        counts = np.array([int(float(x)) for x in re.split(r"[,\s]+", text.strip(" \t\r\n,")) if x])
        np.testing.assert_allclose(signal, counts * 0.005, atol=1e-12)
    assert np.abs(record.signal[0] + record.signal[2] - record.signal[1]).max() <= 0.005 + 1e-9


def test_no_identifying_data_are_read(xml, tmp_path):
    named = xml.replace(b"<PID>SYNTHETIC</PID>", b"<PID>SECRET</PID>").replace(
        b"<FamilyName></", b"<FamilyName>SECRET</"
    )
    assert "SECRET" in named.decode("latin-1")
    assert "SECRET" not in repr(read(tmp_path, named))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,-2,3", [1, -2, 3]),
        ("\n\t\t1, -2,\n\t\t3,\n", [1, -2, 3]),
        ("1,,2, ,3", [1, 2, 3]),
        ("1\r\n-32768 32767", [1, -32768, 32767]),
        ("1.0,2.7,-3e1", [1, 2.7, -30]),
        ("+5,6", [5, 6]),
        ("", []),
    ],
)
def test_counts_are_parsed_with_any_separators(text, expected):
    np.testing.assert_array_equal(cardiosoft.parse_counts(text), expected)


@pytest.mark.parametrize("text", ["1,?,3", "1,é,2", "1,nan,2", "1,--2", "1,2-,3", "9" * 400, "1,inf"])
def test_counts_that_are_not_numbers_raise_an_error(text):
    with pytest.raises(UnreadableError):
        cardiosoft.parse_counts(text)


@pytest.mark.parametrize("text", ["1,2,12-5,7", "1_000", "1,--2"])
def test_damaged_separators_raise_an_error_instead_of_shifting_the_lead(text):
    with pytest.raises(UnreadableError, match="not a number"):
        cardiosoft.parse_counts(text)


def test_a_sample_that_is_left_out_is_missing_and_shifts_nothing(tmp_path):
    record = read(tmp_path, small_xml({lead: "1,,3,4" for lead in LEADS}))
    np.testing.assert_allclose(record.signal[0], [0.005, np.nan, 0.015, 0.02])


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.integers(-(10**9) + 1, 10**9 - 1), max_size=40),
    blanks=st.lists(st.sampled_from([",", " ", ",\n\t", ",,", "\r\n"]), min_size=1, max_size=5),
    ends=st.sampled_from(["", ",", "\n\t"]),
)
def test_counts_of_any_length_equal_int(numbers, blanks, ends):
    text = ends + "".join(f"{n}{blanks[k % len(blanks)]}" for k, n in enumerate(numbers))
    np.testing.assert_array_equal(cardiosoft.parse_counts(text), numbers)


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0" encoding="ISO8859-1"?>\n<A b="1">x<!-- no -->y<C/>z<?do this?>w&amp;&#65;</A>',
        '<A xmlns="urn:a" xmlns:q="urn:q" q:b="1" c="2"><q:D>1</q:D></A>',
        f"<A>{'1,2,3,' * 40_000}<![CDATA[<4>]]></A>",
        '<?xml version="1.0" encoding="ISO-8859-1"?><A n="Müller">Größe</A>',
        '<?xml version="1.0" encoding="UTF-16"?><A>x</A>',
    ],
)
def test_the_tree_equals_that_of_elementtree(text):
    said = re.search(r'encoding="([^"]+)"', text)
    data = text.encode(said[1] if said else "utf-8")
    assert ElementTree.tostring(xml_tree.parse(data)) == ElementTree.tostring(ElementTree.fromstring(data))


@pytest.mark.parametrize(
    "inside", ['<!ENTITY a "x">', '<!ENTITY % a SYSTEM "x.dtd"> %a;', "", "<!NOTATION n SYSTEM 'x'>"]
)
def test_a_document_type_raises_an_error(inside):
    with pytest.raises(UnreadableError, match="document type"):
        xml_tree.parse(f"<?xml version='1.0'?><!DOCTYPE A [{inside}]><A>&a;</A>".encode())


def test_resolution_scales_and_is_noted_when_unusual(tmp_path):
    record = read(tmp_path, small_xml(resolution="4.88"))
    np.testing.assert_allclose(record.signal[0], [0.00488, -0.00976, 0.01464])
    assert "4.88" in record.notes[0]


def test_leads_are_read_by_name_in_any_order_and_case(tmp_path):
    leads = {lead.upper(): str(k) for k, lead in reversed(list(enumerate(LEADS)))}
    np.testing.assert_allclose(read(tmp_path, small_xml(leads)).signal[:, 0], 0.005 * np.arange(12))


def test_absent_short_repeated_and_unknown_leads_add_notes(tmp_path):
    leads = {lead: "1,2,3" for lead in LEADS if lead != "V6"} | {"V1": "1,2", "X": "9"}
    text = small_xml(leads).replace("</StripData>", '<WaveformData lead="II">7,7,7</WaveformData></StripData>')
    record = read(tmp_path, text)
    assert np.isnan(record.signal[11]).all()
    np.testing.assert_array_equal(np.isnan(record.signal[6]), [False, False, True])
    np.testing.assert_allclose(record.signal[1], [0.005, 0.01, 0.015])
    assert len(record.notes) == 3


@pytest.mark.parametrize(
    ("rate", "rr", "expected"), [("", "1000", 60), ("0", "750", 80), ("?", "", None), ("", "", None), ("71", "1", 71)]
)
def test_the_heart_rate_falls_back_to_the_rr_interval_and_then_to_none(tmp_path, rate, rr, expected):
    more = (
        f"<RestingECGMeasurements><VentricularRate units='BPM'>{rate}</VentricularRate><PQInterval></PQInterval>"
        f"<RRInterval>{rr}</RRInterval></RestingECGMeasurements>"
    )
    record = read(tmp_path, small_xml(more=more))
    assert record.heart_rate == expected
    assert "PQInterval" not in record.measurements


def test_byte_order_marks_line_ends_and_wrong_declarations_are_read(tmp_path):
    text = small_xml(more="<Note>27\xb0, M\xfcller</Note>")
    for content in (
        text.encode("latin-1"),
        text.replace("\n", "\r\n").encode("latin-1"),
        b"\xef\xbb\xbf" + text.encode("latin-1"),
        text.replace("ISO8859-1", "x-none").encode("latin-1"),
        text.replace("ISO8859-1", "UTF-8").encode("latin-1"),
    ):
        assert read(tmp_path, content).signal.shape == (12, 3)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda x: b"", "empty"),
        (lambda x: x[:50_000], "truncated"),
        (lambda x: x.replace(b"StripData", b"OtherData"), "no StripData"),
        (
            lambda x: x.replace(b"<Resolution units", b"<Other units").replace(b"</Resolution>", b"</Other>"),
            "Resolution",
        ),
        (lambda x: x.replace(b'uVperLsb">5<', b'uVperLsb">0<'), "Resolution"),
        (lambda x: x.replace(b"CardiologyXML", b"RestingECG"), "RestingECG"),
        (lambda x: x.replace(b"<StripData>", b"<StripData><Strip/>"), "exercise"),
        (lambda x: x.replace(b"<CardiologyXML>", b"<!DOCTYPE a SYSTEM 'a.dtd'><CardiologyXML>", 1), "document type"),
        (lambda x: b"PK\x03\x04" + x, "damaged"),
    ],
)
def test_unusable_xml_raises_an_error_with_a_reason(xml, tmp_path, damage, reason):
    with pytest.raises(UnreadableError, match=reason):
        read(tmp_path, damage(xml))


def test_entity_bombs_and_external_entities_are_never_expanded(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("1,2,3")
    bomb = '<!DOCTYPE b [<!ENTITY a "1,2"><!ENTITY b "&a;&a;&a;">]>'
    outside = f'<!DOCTYPE b [<!ENTITY b SYSTEM "{secret.as_uri()}">]>'
    for declared in (bomb, outside):
        text = small_xml({lead: "&b;" for lead in LEADS}).replace("<CardiologyXML>", f"{declared}<CardiologyXML>")
        with pytest.raises(UnreadableError, match="document type"):
            read(tmp_path, text)


def test_a_too_large_xml_is_not_read(tmp_path):
    path = tmp_path / "9000001_20205_2_0.xml"
    with path.open("wb") as handle:
        handle.truncate(cardiosoft.LARGEST_XML + 1)
    with pytest.raises(UnreadableError, match="MB"):
        readers.read_ecg(path)


def test_the_example_zip_has_three_slices_of_fifty_frames(archive):
    cine = readers.read_cine(archive)
    assert cine.images.shape == (3, 50, 80, 72)
    assert cine.images.dtype == np.uint16
    assert cine.spacing_mm == pytest.approx((1.8269, 1.8269), abs=1e-4)
    assert cine.slice_step_mm == pytest.approx(10)
    assert cine.frame_ms == pytest.approx(19.6)
    assert cine.labels is None
    assert cine.notes == ()


def test_zip_pixels_equal_pydicoms_sorted_by_series_name_and_trigger_time(archive):
    import pydicom

    cine = readers.read_cine(archive)
    with zipfile.ZipFile(archive) as opened:
        images = [pydicom.dcmread(io.BytesIO(opened.read(n))) for n in opened.namelist() if n.endswith(".dcm")]
    for image in images:
        s = int(image.SeriesDescription.rsplit("_b", 1)[1]) - 1
        f = round(float(image.TriggerTime) / 19.6)
        np.testing.assert_array_equal(cine.images[s, f], image.pixel_array)


def test_one_chosen_slice_equals_that_of_the_whole_stack(masked_zip):
    path, mask, labels = masked_zip
    whole, one = readers.read_cine(path, mask), readers.read_cine(path, mask, "middle")
    np.testing.assert_array_equal(whole.labels, labels)
    np.testing.assert_array_equal(one.images[0], whole.images[1])
    np.testing.assert_array_equal(one.labels[0], labels[1])


def rewritten(source: Path, target: Path, change) -> Path:
    """A copy of a zip; ``change(name, data)`` returns the new pair, or None to omit a member."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            pair = change(name, old.read(name))
            if pair:
                new.writestr(*pair)
    return target


def test_the_manifest_and_the_file_names_are_not_needed(archive, tmp_path):
    names = iter(np.random.default_rng(0).permutation(1000))
    bare = rewritten(archive, tmp_path / "a.zip", lambda n, d: (f"x{next(names)}", d) if n.endswith("dcm") else None)
    np.testing.assert_array_equal(readers.read_cine(bare).images, readers.read_cine(archive).images)


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "C:/evil.dcm", "a/../../b.dcm", "..\\b.dcm"])
def test_zip_members_with_paths_outside_the_archive_raise_an_error(archive, tmp_path, name):
    path = rewritten(archive, tmp_path / "a.zip", lambda n, d: (n, d))
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(name, b"x")
    with pytest.raises(UnreadableError, match="outside"):
        readers.read_cine(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_files_of_a_zip_that_share_their_bytes_raise_an_error(tmp_path, method):
    path = tmp_path / "9000001_20209_2_0.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.dcm", bytes(500))
        twin = copy.copy(archive.infolist()[0])
        twin.filename = twin.orig_filename = "b.dcm"
        archive.filelist.append(twin)
    with pytest.raises(UnreadableError, match="files of the zip overlap"):
        readers.open_cine(path)


def test_links_in_a_zip_raise_an_error(archive, tmp_path):
    path = rewritten(archive, tmp_path / "a.zip", lambda n, d: (n, d))
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(UnreadableError, match="link"):
        readers.read_cine(path)


def test_a_zip_bomb_is_rejected_before_unpacking(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.dcm", bytes(60 * 2**20))
    with pytest.raises(UnreadableError, match="unpack"):
        readers.read_cine(path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"PK\x03\x04 nonsense", "damaged"), (None, "does not exist")]
)
def test_empty_damaged_and_missing_zips_raise_errors(tmp_path, content, reason):
    path = tmp_path / "9000001_20209_2_0.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableError, match=reason):
        readers.read_cine(path)


def damaged(archive: Path, target: Path, count: int) -> Path:
    """A copy in which ``count`` members have a changed byte in the middle of their packed content."""
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        infos = [info for info in opened.infolist() if info.filename.endswith(".dcm")]
    for info in infos[:: len(infos) // count][:count]:
        data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    target.write_bytes(data)
    return target


def test_one_damaged_image_is_replaced_by_its_neighbour_and_many_raise_an_error(archive, tmp_path):
    whole = readers.read_cine(archive)
    cine = readers.read_cine(damaged(archive, tmp_path / "a.zip", 1))
    assert cine.images.shape == whole.images.shape
    changed = (cine.images != whole.images).any(axis=(2, 3))
    assert changed.sum() == 1
    s, f = np.argwhere(changed)[0]
    assert any((cine.images[s, f] == whole.images[s, k]).all() for k in (f - 1, f + 1) if 0 <= k < 50)
    assert "1 damaged" in cine.notes[0]
    with pytest.raises(UnreadableError, match="50 of 150 files"):
        readers.read_cine(damaged(archive, tmp_path / "b.zip", 50))


def test_a_zip_of_other_series_raises_an_error(archive, tmp_path):
    long_axis = rewritten(
        archive, tmp_path / "a.zip", lambda n, d: (n, d.replace(b"CINE_segmented_SAX_b", b"CINE_segmented_LAX_b"))
    )
    with pytest.raises(UnreadableError, match="CINE_segmented_SAX"):
        readers.read_cine(long_axis)


def test_the_build_command_reads_the_two_example_files(shared, tmp_path, monkeypatch):
    from eccl_lib.config.load import load
    from tests.data.conftest import ZIP_EXAMPLE, as_ukbb_cardiac_writes, example_labels, write_table

    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    as_ukbb_cardiac_writes(ZIP_EXAMPLE, example_labels(), tmp_path / "masks" / "9000001" / "seg_sa.nii.gz")
    write_table(tmp_path, ["9000001"])
    words = [str(shared / "formats"), "--table", str(tmp_path / "participants.csv"), "--segmentations"]
    assert (
        eccl("ingest", "ukb", *words, str(tmp_path / "masks"), "--no-withdrawals", "--workers", "1", "--scale", "demo")
        == 0
    )
    data = open_cohort.load(load("demo", cohort="ukb"), lambda line: None)
    assert list(data.table["eid"]) == ["9000001"]
    assert len(data.quarantine) == 0
    record = readers.read_ecg(shared / "formats" / "example_9000001_20205_2_0.xml")
    np.testing.assert_array_equal(np.asarray(data.ecg[0]), ecg.preprocess(record)[0])
