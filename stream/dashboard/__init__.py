"""The web server of one line and its page: live view, events, alarms, tuning.

Start with `process.py`, then `server.py`; paths are in `routes/`, the page in `static/`. It cannot act on devices.

Imports: core, line, model, store, training, transport
Imported by: cli
"""
