"""The command `patchline`: every command is a thin function that calls one of the other rooms.

Start with `main.py`, the table of commands.

Imports: core, devices, model, transport, line, store, capture, inference, sink, training, dashboard
Imported by: none
"""
