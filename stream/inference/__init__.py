"""The process of one worker: it receives parts, inspects them in batches and sends results to the sink.

Start with `process.py`; the rules (which parts form a batch, which bundles are held) are in `policy/`.

Imports: core, line, model, transport
Imported by: cli
"""
