"""PatchCore (`patchcore/`, pure), the bundle file that holds what was learned, and its network on a device.

Imports: core
Imported by: line, store, capture, inference, sink, training, dashboard, cli
"""
