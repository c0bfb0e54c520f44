"""The sockets: who binds, who connects, how much may wait, and encryption between hosts.

::

    capture  PUSH ──announcements──▶ PULL  sink        never dropped while the sink lives
    capture  ROUTER ◀──credit── DEALER  infer          frames go only to a worker that has room
    capture  ROUTER ──frames──▶ DEALER  infer
    capture  XPUB ──pictures──▶ SUB  whoever listens   dropped when the listener is slow
    infer    PUSH ──results──▶ PULL  sink
    sink     XPUB ──feed──▶ SUB  dashboard              lost when a dashboard does not keep up

Every queue is bounded. Nothing blocks: a full queue is reported to the caller, who counts it. TCP
is encrypted and authenticated with CURVE when the line has keys; Unix sockets need none.
"""
