"""Checksums: digits that were chosen so that a slip of the pen shows. They tell a card from an order number.

The idea: a card number's last digit makes a weighted sum divisible by ten (Luhn 1954), an IBAN's two check digits make
the whole number 1 modulo 97 (ISO 7064). A random run of digits passes the first in one of ten cases and the second in
one of 97, so a pattern with a checksum raises ten or a hundred times fewer false alarms than the pattern alone, and
loses nothing: what fails the sum is no card.

Left out: Verhoeff and Damm (which catch every transposition; Luhn misses 09 for 90), national check digits in IBANs.
"""

from __future__ import annotations

import re

# Letters and digits in the whole IBAN, for the countries that most documents name; others may have 15 to 34.
IBAN_LENGTHS = {"AT": 20, "BE": 16, "CH": 21, "DE": 22, "DK": 18, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "IE": 22,
                "IT": 27, "LU": 20, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "SE": 24}  # fmt: skip


def luhn_sum(digits: str) -> int:
    """Σ_i d_i w_i from the right, with w = 1, 2, 1, 2, … and a two-digit product counted as the sum of its digits."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        product = int(digit) * (1 + place % 2)
        total += product - 9 * (product > 9)  # 10..18: the sum of the digits is 9 less
    return total


def is_luhn(text: str) -> bool:
    """Whether the digits of ``text`` (separators are ignored) sum to a multiple of ten. All zeros are no number."""
    digits = re.sub(r"\D", "", text)
    return bool(digits.strip("0")) and luhn_sum(digits) % 10 == 0


def luhn_digit(digits: str) -> str:
    """The digit that makes ``digits`` + digit pass."""
    return str(-luhn_sum(digits + "0") % 10)


def iban_remainder(iban: str) -> int:
    """The number modulo 97, with the first four characters moved to the end and A = 10 … Z = 35."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97


def is_iban(text: str) -> bool:
    """Whether ``text`` is an IBAN: two letters, two digits, its country's length, and remainder 1."""
    iban = re.sub(r"[ \-]", "", text).upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", iban):
        return False
    return len(iban) == IBAN_LENGTHS.get(iban[:2], len(iban)) and iban_remainder(iban) == 1


def is_ssn(text: str) -> bool:
    """Whether a US social security number can have been given out: it has no check digit, only numbers never used."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
