"""The process of one camera: it numbers, crops and announces parts, and sends them to workers that have room.

Start with `process.py`; the rules (backlog, credit, frozen pictures, rollout of a bundle) are in `policy/`.

Imports: core, devices, line, model, transport
Imported by: cli
"""
