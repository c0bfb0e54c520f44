"""From pictures of good parts to a calibrated bundle: fit, calibrate, evaluate, extend, collect.

A library; the command line calls it, the dashboard runs it in a process of its own (`jobs.py`).

Imports: core, devices, line, model, store, transport
Imported by: dashboard, cli
"""
