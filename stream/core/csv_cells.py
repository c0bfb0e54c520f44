"""Cells of tables that people open in a spreadsheet. Pure."""

from __future__ import annotations

import unicodedata


def csv_cell(value: object) -> object:
    """Return a value for a table; text that a spreadsheet would run as a formula is quoted (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and _may_be_formula(value) else value


def _may_be_formula(text: str) -> bool:
    """Whether a spreadsheet may take a text for a formula, after what it strips and what it makes of wide signs."""
    if text[:1] in ("\t", "\r", "\n"):
        return True
    # Compatibility forms (full-width, small, superscript) become the plain sign; format characters such as a byte
    # order mark and a zero-width space are not seen.
    plain = unicodedata.normalize("NFKC", text)
    begin = next((sign for sign in plain if not (sign.isspace() or unicodedata.category(sign)[0] in "CZ")), "")
    return begin != "" and begin in "=+-@\N{MINUS SIGN}"
