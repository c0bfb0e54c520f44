"""The process of one camera: it numbers, crops and announces parts, and sends them to workers with credit.

Start with `process.py`; the rules (backlog, credit, stalled or frozen camera, rollout of a bundle) are in `policy/`.

Imports: core, devices, line, model, transport
Imported by: cli
"""
