"""The tables of the event store, and the statements that fill them."""

from __future__ import annotations

from stream.core.good_parts import HOUR_NS
from stream.core.parts import PartResult, Placement

SCHEMA_VERSION = 5
APPLICATION_ID = 0x50_4C_4E_45  # "PLNE": distinguishes our file from any other SQLite file

#: Columns of an event: its part's result (the fields of `PartResult`), the rest, and its placement.
PART_COLUMNS = PartResult.__struct_fields__
EVENT_COLUMNS = ("decision", "captured_realtime_ns", "worker", "bundle_sha256", "stages", "total_ms", "kept_as")
#: How an aligned part lay in its frame (the fields of `Placement`), else nothing.
PLACEMENT_COLUMNS = Placement.__struct_fields__
COLUMNS = (*PART_COLUMNS, *EVENT_COLUMNS, *PLACEMENT_COLUMNS)
INSERT_EVENT = (
    f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES (:{', :'.join(COLUMNS)}) ON CONFLICT (station, seq) DO NOTHING"
)
INSERT_ALARM = (
    "INSERT INTO alarms (raised_realtime_ns, kind, subject, text) VALUES (:raised_realtime_ns, :kind, :subject, :text)"
)
INSERT_IMAGES = (
    "INSERT INTO images (event_id, grid_height, grid_width, patch_distances, preview_jpeg, network_input_png) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
REPLACE_LEDGER = "INSERT OR REPLACE INTO ledger (station, counts) VALUES (?, ?)"

# The network input is the last column: SQLite reads a row from its beginning, only as far as a query needs.
# AUTOINCREMENT: an id is never used twice, so a reader that follows `after_id` misses nothing
# even after retention has emptied the table.
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    station TEXT NOT NULL, seq INTEGER NOT NULL, part_id TEXT,
    verdict TEXT NOT NULL, cause TEXT, detail TEXT NOT NULL, decision TEXT NOT NULL,
    score REAL, threshold REAL, pixel_threshold REAL,
    within_spec INTEGER NOT NULL, rule TEXT, spot INTEGER, spots TEXT,
    captured_realtime_ns INTEGER NOT NULL, worker TEXT, bundle_sha256 TEXT,
    stages TEXT NOT NULL, total_ms REAL, kept_as TEXT,
    dx_px REAL, dy_px REAL, angle_deg REAL, match REAL,
    captured_hour INTEGER GENERATED ALWAYS AS (captured_realtime_ns / {HOUR_NS}) VIRTUAL,
    UNIQUE (station, seq)
);
CREATE INDEX IF NOT EXISTS events_by_station ON events (station, id);
CREATE INDEX IF NOT EXISTS events_by_time ON events (captured_realtime_ns);
CREATE TABLE IF NOT EXISTS images (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    grid_height INTEGER NOT NULL, grid_width INTEGER NOT NULL, patch_distances BLOB, preview_jpeg BLOB NOT NULL,
    network_input_png BLOB
);
CREATE TABLE IF NOT EXISTS alarms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    raised_realtime_ns INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS alarms_by_time ON alarms (raised_realtime_ns);
CREATE TABLE IF NOT EXISTS ledger (
    station TEXT PRIMARY KEY, counts TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS planned (boot_id TEXT NOT NULL, actuator TEXT NOT NULL, command TEXT NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
# Made at every opening, also in a file that has none of them yet. Filter columns, each indexed with time, so that a
# page is one index range. `believed_time` has one row.
INDICES = """
CREATE TABLE IF NOT EXISTS believed_time (id INTEGER PRIMARY KEY CHECK (id = 0), value TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_station_time ON events (station, captured_realtime_ns);
CREATE INDEX IF NOT EXISTS events_by_verdict_time ON events (verdict, captured_realtime_ns);
CREATE INDEX IF NOT EXISTS events_by_station_verdict_time ON events (station, verdict, captured_realtime_ns);
CREATE INDEX IF NOT EXISTS events_by_cause_time ON events (cause, captured_realtime_ns) WHERE cause IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_by_station_cause_time ON events (station, cause, captured_realtime_ns)
    WHERE cause IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_within_spec ON events (captured_realtime_ns) WHERE within_spec;
CREATE INDEX IF NOT EXISTS events_within_spec_by_station ON events (station, captured_realtime_ns) WHERE within_spec;
CREATE INDEX IF NOT EXISTS events_by_seq_time ON events (seq, captured_realtime_ns);
CREATE INDEX IF NOT EXISTS events_by_part_time ON events (part_id, captured_realtime_ns) WHERE part_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_kept ON events (captured_hour, score, id) WHERE kept_as IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_kept_by_station ON events (station, captured_hour, score, id)
    WHERE kept_as IS NOT NULL;
"""
