"""What a line remembers, in SQLite: events with their pictures, alarms, the ledger; marks and the audit log.

Imports: core, devices, model
Imported by: sink, training, dashboard, cli
"""
