"""The base of every configuration class, and the field types they share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from stream.core.addresses import host_problem, url_problem

#: Largest amounts of a time, so that it fits into 64 bits in ns, and of any other number.
LARGEST_TIME, LARGEST = 10**10, 2**63
#: Longest path and longest name in one that Linux takes, with room for what is put behind them.
_PATH_BYTES, _NAME_BYTES = 3_800, 255
#: Options that hold the name or address of a host, alone or with a port or as a URL.
_WITH_HOST = ("host", "listen", "url")
#: Up to a day.
PositiveMs = Annotated[float, Field(gt=0, le=86_400_000)]
#: Up to 31 days.
PositiveS = Annotated[float, Field(gt=0, le=2_678_400)]
PositiveHz = Annotated[float, Field(gt=0, le=10_000)]
#: Name or address of another host; user and password have options of their own.
Host = Annotated[str, Field(pattern=r"^[^\s/@]+$")]
#: A name from which file and folder names are made: never `.` or `..`, nor a hidden one.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]


def _beside_configuration(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path) or not str(path).isprintable():
        raise ValueError("expected a path without control characters")
    if len(os.fsencode(path)) > _PATH_BYTES or any(len(os.fsencode(part)) > _NAME_BYTES for part in path.parts):
        raise ValueError(f"expected a path of at most {_PATH_BYTES:,} bytes, each name in it of at most {_NAME_BYTES}")
    base = (info.context or {}).get("folder")
    return Path(base, path) if base is not None else path


#: A path; a relative one begins in the folder of the configuration file.
ConfigPath = Annotated[Path, AfterValidator(_beside_configuration)]


class Options(BaseModel):
    """A section of the configuration: immutable, typed, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _within_what_can_be_computed(cls, value: Any, info: ValidationInfo) -> Any:
        largest = LARGEST_TIME if str(info.field_name).endswith(("_ms", "_s", "_us")) else LARGEST
        if any(isinstance(number, int | float) and abs(number) > largest for number in _numbers(value)):
            raise ValueError(f"expected a number of at most {largest:.0e}")
        if info.field_name in _WITH_HOST and isinstance(value, str):
            problem = url_problem(value) if info.field_name == "url" else host_problem(value)
            if problem is not None:
                raise ValueError(problem)
        return value


def _numbers(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
