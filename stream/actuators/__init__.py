"""Outputs that act on a part, one file per kind. The union is the registry: one file and one line each."""

from __future__ import annotations

from stream.actuators.log import LogOptions

ActuatorOptions = LogOptions

__all__ = ["ActuatorOptions"]
