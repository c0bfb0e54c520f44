"""The one process that settles every part: ledger, decision, reject, alarms; then events, overlays, live feed.

Start with `process.py`; the rules (ledger, decision, schedule, alarms, drift …) are in `policy/`.

Imports: core, devices, line, model, store, transport
Imported by: cli
"""
