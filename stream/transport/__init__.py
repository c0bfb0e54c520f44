"""The wire between processes: its messages (`messages.py`, nothing but structs) and the sockets that carry them.

`pipeline.py` has the sockets between capture, inference and sink; `broadcast.py` those that may lose messages.

Imports: core
Imported by: capture, inference, sink, training, dashboard, cli
"""
