"""Print the OpenAPI document of the dashboard's API, without a running line."""

from __future__ import annotations

import json
from typing import Any, cast

from stream.dashboard.server import application

print(json.dumps(application(cast("Any", None)).openapi()))
