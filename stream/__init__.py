"""PatchLine: real-time defect inspection for factory cameras."""

from importlib.metadata import version

__version__ = version("patchline")
