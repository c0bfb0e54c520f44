"""Which precisions this machine's processor has instructions for."""

from __future__ import annotations

import functools
from pathlib import Path

from stream.model.patchcore.spec import Precision

#: Flags in /proc/cpuinfo of processors that multiply in a precision at more than the speed of float32. OpenVINO names
#: bfloat16 among its capabilities also where it only converts.
_FLAGS: dict[Precision, frozenset[str]] = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "int8": frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}),
}


def is_native(precision: Precision) -> bool:
    """Return whether this machine's processor has instructions for a precision."""
    return has_instructions(precision, _flags())


def has_instructions(precision: Precision, flags: frozenset[str]) -> bool:
    """Return whether a processor with these flags of /proc/cpuinfo has instructions for a precision."""
    return precision == "float32" or bool(_FLAGS[precision] & flags)


def flags_of(cpuinfo: str) -> frozenset[str]:
    """Return the flags of the first processor in the text of /proc/cpuinfo; none in a text without."""
    named = (line.partition(":") for line in cpuinfo.splitlines())
    return next(
        (frozenset(flags.split()) for name, _, flags in named if name.strip() in ("flags", "Features")), frozenset()
    )


@functools.cache
def _flags() -> frozenset[str]:
    try:
        return flags_of(Path("/proc/cpuinfo").read_text())
    except OSError:
        return frozenset()
