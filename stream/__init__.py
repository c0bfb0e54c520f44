"""PatchLine: real-time defect inspection for factory cameras."""

from importlib.metadata import PackageNotFoundError, version

from stream.core.no_cloud import refuse_statistics

refuse_statistics()

try:
    __version__ = version("patchline")
except PackageNotFoundError:  # a checkout that is only read from, as by benchmarks/gpu.py
    __version__ = "not installed"
