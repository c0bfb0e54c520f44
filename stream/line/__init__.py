"""What makes processes a line: its configuration, supervisor, lifecycle and locks, and how bundles are replaced.

Imports: core, devices, model
Imported by: capture, inference, sink, training, dashboard, cli
"""
