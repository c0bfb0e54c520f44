from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def test_the_gpu_benchmark_runs_through_in_small_and_writes_its_table(tmp_path: Path):
    table = tmp_path / "gpu.md"
    command = [sys.executable, SCRIPT, "--device", "cpu", "--smoke", "--out", table]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in table.read_text().splitlines() if line.startswith("| resnet18 | 64 |")]
    assert [row.split(" | ")[3] for row in rows] == ["1", "2"]
    assert "100.00% of patches find the same neighbour" in table.read_text(), "float32 agrees with itself"


def test_the_benchmark_of_the_event_store_asks_for_every_filter_and_keeps_its_limit():
    command = [sys.executable, SCRIPT.with_name("events.py"), "--events", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DEFECT of seal, last night's hour" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_gpu_benchmark_says_that_it_needs_a_gpu():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: no CUDA device is visible to torch; run this on a machine with one\n"


def test_the_benchmark_of_browsers_runs_a_line_with_and_without_them():
    minutes = ["--compare-minutes", "0.3", "--memory-minutes", "0.3", "--block-s", "9"]
    command = [sys.executable, SCRIPT.with_name("browsers.py"), *minutes, "--clients", "4", "--silent", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sink, p99, ms" in done.stdout
    assert "Each browser that read drew" in done.stdout
