"""A line's records in SQLite: events with their images, alarms, the ledger; marks and the audit log.

Imports: core, devices, model
Imported by: sink, training, dashboard, cli
"""
