"""The wire between processes: its messages (`messages.py`, structs only) and the sockets that carry them.

`sockets.py` has the diagram of all sockets; `pipeline.py` has those between capture, worker and sink, `broadcast.py`
those whose receivers may miss messages.

Imports: core
Imported by: capture, inference, sink, training, dashboard, cli
"""
