"""A bundle of a processor with bfloat16 on one without: within the tolerance, or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.model.precision import is_native
from stream.training.fit import fit
from stream.training.fit_options import FitOptions

_WORKER = """
import sys
from pathlib import Path
from stream.core.errors import PatchLineError
from stream.inference.station_models import load_station_model
from stream.line.sections import StationOptions, WorkerOptions
from stream.model.cpu_lanes import Lanes
from stream.model.station_model import run_self_test

path = Path(sys.argv[1])
try:
    options = StationOptions(camera="top", bundle=path)
    run_self_test(load_station_model("cap", options, WorkerOptions(device="openvino"), Lanes(1), {}), path)
except PatchLineError as error:
    print(f"refused: {error}")
else:
    print("held")
"""


def loaded_with(instructions: str, bundle: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, bundle],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(not is_native("bfloat16"), reason="the processor has no bfloat16")
def test_a_bfloat16_bundle_holds_its_tolerance_without_the_instructions_or_is_refused_in_one_line(
    good_folder: Path, tmp_path: Path
):
    bundle = tmp_path / "b.safetensors"
    fit(good_folder, bundle, FitOptions(size_px=96, coreset=0.05, precision="bfloat16"))
    assert loaded_with("AVX512_CORE", bundle) == "held"  # converts to and from bfloat16
    refusal = loaded_with("AVX2", bundle)
    assert refusal.startswith("refused: ")
    assert "cannot compute in bf16" in refusal
    assert "--precision float32" in refusal
    assert "\n" not in refusal
