"""Bytes to text: by BOM, then UTF-8, then what the file declares, then detection; it fails rather than guess badly."""

from __future__ import annotations

import codecs
import re
import shutil
import subprocess

from charset_normalizer import from_bytes

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse.latin import latin_encoding

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The encodings in real use: left alone, detection answers "naïve" with Urdu (cp1006) or Sámi (iso8859_10).
_CANDIDATES = (
    "utf_8 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 iso8859_2 iso8859_5 iso8859_7 "
    "iso8859_9 koi8_r koi8_u mac_cyrillic cp855 cp866 tis_620 big5 gb18030 cp932 shift_jis euc_jp cp949 euc_kr "
    "iso2022_jp iso2022_kr johab iso8859_6"
).split()
_SAMPLE = 256 * 1024
_HEBREW = re.compile(rb"[\xe0-\xfa]")
# Other scripts have other letters at the same places; those that Hebrew has only at the end of a word, within words.
_NOT_HEBREW = re.compile(rb"[^\x00-\x7f\x84-\x97\xa0\xa4\xab\xbb\xe0-\xfa]|[\xea\xed\xef\xf3\xf5][\xe0-\xfa]")
_LEAST_HEBREW = 20
_LARGER = {"big5": ("cp950", "big5hkscs"), "shift_jis": ("cp932",), "euc_kr": ("cp949",), "gb2312": ("gb18030",)}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_PAIRS = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xfe]{2}|\x8e[\xa1-\xb0][\xa1-\xfe]{2})*")  # what EUC-TW is made of
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def decode(content: bytes, declared: str | None = None) -> str:
    """Raises DocumentUnreadable where the bytes are not text in any encoding that can be named."""
    text = _by_bom(content)
    if text is None and b"\0" in content[:_SAMPLE]:
        text = _wide(content)
    if text is None:
        text = _narrow(content, declared)
    text = text.replace("\0", "")  # a log that was cut short is padded with them
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    _check_text(text)
    return text


def _check_text(text: str) -> None:
    if len(_CONTROL.findall(text)) > 0.01 * len(text) + 2:
        raise DocumentUnreadable("the file is binary, not text")


def _by_bom(content: bytes) -> str | None:
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            text = _try(content, encoding)
            if text is None:
                raise DocumentUnreadable(f"the file says it is {encoding.upper()} but is not; it may be cut off")
            return text.lstrip("\ufeff")
    return None


def _wide(content: bytes) -> str | None:
    """UTF-16 or UTF-32 without a BOM: the zero bytes of Latin text stand at fixed places."""
    sample = content[:4096]
    for width, encodings in ((4, ("utf-32-le", "utf-32-be")), (2, ("utf-16-le", "utf-16-be"))):
        for encoding, place in zip(encodings, (width - 1, 0), strict=True):
            lane = sample[place::width]
            if lane.count(0) > 0.6 * len(lane) and len(content) % width == 0:
                text = _try(content, encoding)
                if text is not None and "\0" not in text:
                    return text
    return None


def _narrow(content: bytes, declared: str | None) -> str:
    seven_bit = b"\x1b$" in content[:_SAMPLE]  # ISO-2022 would pass for ASCII
    if b"~{" in content[:_SAMPLE] and b"~}" in content:
        text = _chinese_mail(content)
        if text is not None:
            return text
    if not seven_bit:
        text = _try(content, "utf-8")
        if text is not None:
            return text
        _check_text(content[:_SAMPLE].replace(b"\0", b"").decode("latin-1"))
        text = _nearly_utf8(content)
        if text is not None:
            return text
    for encoding in (declared, *_detected(content[:_SAMPLE], seven_bit)):
        for variant in (encoding, *_LARGER.get(encoding, ())) if encoding else ():
            text = _try(content, variant)
            if text is not None:
                return text
    text = _taiwanese(content)
    if text is not None:
        return text
    raise DocumentUnreadable("the text is in an encoding that could not be recognised; save it as UTF-8")


def _nearly_utf8(content: bytes) -> str | None:
    """UTF-8 with a few bytes broken, as logs and joined files have: read as anything else, all of it is garbled."""
    text = content.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(character > "\x7f" for character in text) - broken
    return text if whole > 8 * broken else None


def _taiwanese(content: bytes) -> str | None:
    """EUC-TW, which Python cannot decode and the C library of Linux can: tried last, and held to be right where all
    bytes are valid and most characters are Chinese."""
    program = shutil.which("iconv")
    if program is None or not _PAIRS.fullmatch(content):
        return None
    command = [program, "-f", "EUC-TW", "-t", "UTF-8"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=20, check=False)
    text = _try(done.stdout, "utf-8") if done.returncode == 0 else None
    foreign = [character for character in text or "" if character > "\x7f"]
    chinese = sum("\u3000" <= character <= "\u9fff" for character in foreign)
    return text if chinese > 0.8 * len(foreign) else None


def _chinese_mail(content: bytes) -> str | None:
    """HZ, Chinese in seven bits as mail once needed it, would pass for ASCII: it is that where what stands between its
    marks is all Chinese."""
    text = _try(content, "hz")
    foreign = [character for character in text or "" if character > "\x7f"]
    chinese = sum("\u3000" <= character <= "\u9fff" or character > "\uff00" for character in foreign)
    return text if len(foreign) > 3 and chinese > 0.95 * len(foreign) else None


def _detected(sample: bytes, seven_bit: bool) -> list[str]:
    latin = None if seven_bit else latin_encoding(sample)
    if latin is not None:
        return [latin]
    if _is_hebrew(sample):
        return ["cp1255"]
    for threshold in (0.2, 0.3):  # the share of oddities that is borne: Polish has many
        best = from_bytes(sample, cp_isolation=_CANDIDATES, threshold=threshold).best()
        if best is not None:
            break
    else:
        return []
    if best.encoding == "cp1250" and not re.search(rb"[\x80-\x9f]", sample):
        return ["iso8859_2", "cp1250"]  # alike but for ą/š, ľ/ž; real cp1250 text uses 0x80-0x9F
    return [best.encoding]


def _is_hebrew(sample: bytes) -> bool:
    return len(_HEBREW.findall(sample)) >= _LEAST_HEBREW and not _NOT_HEBREW.search(sample)


def _try(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeError, LookupError, ValueError):
        return None
