"""The types and functions that every room uses: verdicts, parts, errors, clock, options, metrics, files, images.

Nothing in here knows what a camera, a model or a socket is.

Imports: none
Imported by: devices, model, transport, line, store, capture, inference, sink, training, dashboard, cli
"""
