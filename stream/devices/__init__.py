"""What is attached to a line: cameras, triggers, belt encoders, actuators, and the PLCs behind them.

One file for each kind; the union in each folder's `__init__.py` is its registry.

Imports: core
Imported by: line, store, capture, sink, training, cli
"""
