"""What a processor has instructions for follows from its flags."""

from __future__ import annotations

import pytest

from stream.model.patchcore.spec import Precision
from stream.model.precision import flags_of, has_instructions

ZEN_4 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni\nbugs\t\t: none\n"
HASWELL = "flags\t\t: fpu avx avx2 fma\n"
CASCADE_LAKE = "flags\t\t: fpu avx512f avx512_vnni\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (ZEN_4, {"float32", "bfloat16", "int8"}),
        (HASWELL, {"float32"}),
        (CASCADE_LAKE, {"float32", "int8"}),
        (ARM, {"float32", "bfloat16", "int8"}),
        ("no flags here", {"float32"}),
    ],
)
def test_a_processor_has_instructions_for_what_its_flags_name(cpuinfo: str, expected: set[str]):
    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
    assert {name for name in precisions if has_instructions(name, flags_of(cpuinfo))} == expected
