"""The base of every configuration class, and the field types they share."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from stream.core.redaction import without_password

PositiveMs = Annotated[float, Field(gt=0)]
PositiveS = Annotated[float, Field(gt=0)]
PositiveHz = Annotated[float, Field(gt=0, le=10_000)]
#: Name or address of another host; user and password have options of their own.
Host = Annotated[str, Field(pattern=r"^[^\s/@]+$")]
#: A name from which file and folder names are made: never `.` or `..`, nor a hidden one.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]


def _beside_configuration(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("folder")
    return Path(base, path) if base is not None else path


#: A path; a relative one begins in the folder of the configuration file.
ConfigPath = Annotated[Path, AfterValidator(_beside_configuration)]


class Options(BaseModel):
    """A section of the configuration: immutable, typed, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = list(cls.model_fields)
            for key in data:
                if key not in known:
                    close = difflib.get_close_matches(str(key), known, n=1)
                    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
                    # A comma in a text without quotes makes a key of what follows it, which may be half a password.
                    if data[key] is None and not close:
                        raise ValueError(f"a key without a value, which is unknown; put texts in quotes; {hint}")
                    raise ValueError(f"unknown key '{without_password(str(key))}'; {hint}")
        return data
