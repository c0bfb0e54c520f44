"""Texts for messages, without the passwords and tokens that they may hold. Pure."""

from __future__ import annotations

import re

#: What somebody may have taken for the sign between password and host: it is not known which part is which.
_NOT_QUITE_AT = re.compile("%40|\N{FULLWIDTH COMMERCIAL AT}|\N{SMALL COMMERCIAL AT}")
#: Names of options and of parts of URLs whose values are secret.
_NAMES = "pass(?:word|wd|phrase)?|pwd|secret|token|credential|api_?key|auth"
_ASSIGNED = re.compile(rf"(?is)((?:{_NAMES})\w*\s*=)(.*)")
#: Further parameters behind a secret one that hold none, as cameras have them in their paths.
_HARMLESS = re.compile(r"(?i)[\w.~-]*((?:&(?:channel|stream|subtype|track|profile|unicast|proto|fps)=[\w.-]*)*['\"]?)$")
_SCHEME = re.compile(r"['\"]?[A-Za-z][A-Za-z0-9+.-]*")
_AUTHORITY = re.compile(r"(?s)(.*?)://(\[[0-9a-fA-F:.%\w]*\]|[\w.-]*)(:\d{1,5})?(?=[/?#\s'\"]|$)")


def without_password(text: str) -> str:
    """Return a text without user and password of the URL in it, and without the values of passwords and tokens.

    Whatever could belong to a password goes, whatever characters it has: up to the last `@`, and what stands where a
    host's port should be.
    """
    scheme, separator, rest = text.partition("://")
    if _SCHEME.fullmatch(scheme) is None:
        scheme, separator = text, ""  # `://` in a password
    bare = re.sub(r"(?s)^.*@", "" if separator else "…@", rest if separator else scheme)
    if separator:
        bare = f"{scheme}://{bare}"
        if _AUTHORITY.match(bare) is None or _NOT_QUITE_AT.search(bare):
            return f"{scheme}://…"
    found = _ASSIGNED.search(bare)
    if found is None:
        return bare
    harmless = _HARMLESS.match(found[2])
    rest = "" if harmless is None else harmless[1] + found[2][harmless.end() :]
    # Another secret may follow.
    return bare[: found.start(2)] + "…" + without_password(rest)


def is_secret(name: str) -> bool:
    """Whether an option of this name holds a secret, or says where one is."""
    return re.search(f"(?i){_NAMES}|sha256", name) is not None


def shown(value: object) -> str | None:
    """Return a value of the configuration as a message may show it; None where it may hold a secret."""
    if isinstance(value, str):
        bare = without_password(value)
        # A word such as `password:hunter2`, where the space is missing.
        return None if bare == value and is_secret(value) else repr(bare)
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return repr(value)
    return None
