"""Parse the XML of an ECG: any encoding, no entities, a limited number of tags; numbers with a decimal comma."""

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError

LARGEST_XML = 8 * 2**20  # bytes; real files have 0.3 to 1.5 MB
MOST_TAGS = 150_000  # real files have some hundreds; each tag costs memory
MOST_ATTRIBUTES = 150_000  # real files have some thousands

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # characters that XML does not allow
_BARE_AMPERSAND = re.compile(r"&(?!#?\w{1,8};)")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
# A document type without declarations is safe: the DTD that it names is not loaded. Every MUSE export has one.
_QUOTED = rb"(?:\"[^\"<>\[\]]*\"|'[^'<>\[\]]*')"
_EXTERNAL = rb"(?:\s+(?:SYSTEM|PUBLIC\s+" + _QUOTED + rb")\s+" + _QUOTED + rb")?"
_PLAIN_DOCTYPE = re.compile(rb"<!DOCTYPE\s+[\w:.-]+" + _EXTERNAL + rb"\s*>")
_DOCTYPE_BYTES = 4096  # bytes at the start in which a document type is looked for
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")  # 1,000: one or a thousand


def start_of(data: bytes) -> bytes:
    """The first characters of an XML file, one byte each, also of UTF-16."""
    return data[:_DOCTYPE_BYTES].replace(b"\0", b"")


def parse(data: bytes, plain_doctype: bool = False) -> Element:
    """Root element of an XML file. plain_doctype: accept a document type that only names a DTD.

    Raises UnreadableError if the file is damaged or unsafe (entities, too many tags).
    """
    if (tags := data.count(b"<")) > MOST_TAGS:
        raise UnreadableError(f"the XML has {tags:,} tags; an ECG has some hundreds", DOWNLOAD_AGAIN)
    if (attributes := data.count(b"=")) > MOST_ATTRIBUTES:
        raise UnreadableError(f"the XML has {attributes:,} attributes; an ECG has some hundreds", DOWNLOAD_AGAIN)
    if plain_doctype:
        if _is_utf16(data):
            data = _as_text(data).encode()
        data = _PLAIN_DOCTYPE.sub(b"", data[:_DOCTYPE_BYTES], count=1) + data[_DOCTYPE_BYTES:]
    try:
        try:
            return _tree(data)
        except (expat.ExpatError, LookupError):
            return _tree(_as_text(data))
    except UnreadableError:
        raise
    except (expat.ExpatError, ValueError) as error:
        line = f" at line {error.lineno}" if isinstance(error, expat.ExpatError) else ""
        raise UnreadableError(f"the XML is damaged or truncated{line}", DOWNLOAD_AGAIN) from error


def _tree(data: bytes | str) -> Element:
    """Root element of the tree that ElementTree would give. Document types and entities raise UnreadableError.

    This takes a quarter of ElementTree's time, because text is buffered in large blocks, and a file with only ASCII
    bytes is read as UTF-8 instead of the declared encoding.
    """
    parser, builder = expat.ParserCreate("utf-8" if data.isascii() else None, "}"), TreeBuilder()
    parser.buffer_text, parser.buffer_size = True, 2**16
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        _qualified(tag), {_qualified(name): value for name, value in attributes.items()}
    )
    parser.EndElementHandler = lambda tag: builder.end(_qualified(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = _reject
    parser.ExternalEntityRefHandler = _reject
    parser.Parse(data, True)
    return builder.close()


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _reject(*declaration: object) -> None:
    reason = "the XML declares a document type or entities"
    raise UnreadableError(reason, "Export it again without its own declarations (<!DOCTYPE ...>), which are not read.")


def _is_utf16(data: bytes) -> bool:
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4:2] == b"\0\0" or data[1:4:2] == b"\0\0"


def _as_text(data: bytes) -> str:
    """Text of an XML file with a wrong encoding, without its declaration and without invalid characters.

    Latin-1 decodes any byte, and all values that are read are ASCII.
    """
    if _is_utf16(data):
        order = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
        marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = data.decode("utf-16" if marked else order, errors="replace")
    else:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    return _BARE_AMPERSAND.sub("&amp;", _CONTROL.sub("", _DECLARATION.sub("", text)))


def renamed(root: Element, names: Iterable[str]) -> Element:
    """The tree with the given tags in their own spelling, if the root is written in another case or has a namespace."""
    known = {name.lower(): name for name in names}
    if root.tag in known.values() or _local(root.tag).lower() not in known:
        return root
    for element in root.iter():
        name = _local(element.tag)
        element.tag = known.get(name.lower(), name)
        for attribute in list(element.attrib):
            element.set(_local(attribute).lower(), element.attrib[attribute])
    return root


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def to_number(text: str | None) -> float:
    """The number in a text, also with a decimal comma; NaN if there is none, or if it is ambiguous (1,000)."""
    text = (text or "nan").strip()
    if "," in text and _DECIMAL_COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return float("nan")
