"""PatchLine: real-time defect inspection for factory cameras."""

from stream.core.no_cloud import refuse_statistics

refuse_statistics()


def __getattr__(name: str) -> str:
    # Asked for when it is shown only: a process must handle signals before it reads the package's metadata.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("patchline")
    except PackageNotFoundError:  # a checkout that is only read from, as by benchmarks/gpu.py
        return "not installed"
