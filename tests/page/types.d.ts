// Names of types for the page's scripts: the API's answers, made from its OpenAPI document, and the live feed's frames.

import type { components } from "./build/api";

type Schemas = components["schemas"];

declare global {
  type AlarmAnswer = Schemas["AlarmAnswer"];
  type AlarmPage = Schemas["AlarmPage"];
  type AuditEntry = Schemas["AuditEntry"];
  type Calibration = Schemas["Calibration"];
  type Change = Schemas["Change"];
  type ChangedPart = Schemas["ChangedPart"];
  type EventAnswer = Schemas["EventAnswer"];
  type EventPage = Schemas["EventPage"];
  type Job = Schemas["Job"];
  type LineAnswer = Schemas["LineAnswer"];
  type MarkedPartComparison = Schemas["MarkedPartComparison"];
  type Me = Schemas["Me"];
  type RecentParts = Schemas["RecentParts"];
  type ReviewedPart = Schemas["ReviewedPart"];
  type SpotAnswer = Schemas["SpotAnswer"];
  type StrangestAnswer = Schemas["StrangestAnswer"];
  type StrangePictureAnswer = Schemas["StrangePictureAnswer"];
  type Placement = Schemas["PlacementAnswer"];
  type StationAnswer = Schemas["StationAnswer"];
  type Tuning = Schemas["Tuning"];
  type Verdict = Schemas["Verdict"];
  type VerdictChangesAnswer = Schemas["VerdictChanges"];

  /** Patch distances on their grid [height, width]. */
  interface PatchMap {
    grid: number[];
    values: Float32Array;
  }

  /** The header of a part: `part_header` in stream/dashboard/live/frames.py. */
  interface PartHeader {
    channel: string;
    seq: number;
    part_id: string | null;
    verdict: Verdict;
    cause: string | null;
    detail: string;
    within_spec: boolean;
    rule: string | null;
    decision: string;
    score: number | null;
    threshold: number | null;
    pixel_threshold: number | null;
    captured_s: number;
    total_ms: number | null;
    placement: Placement | null;
    stages: Record<string, number>;
    grid: [number, number];
    bundle_sha256: string | null;
  }

  /** A part as lib/feed.js hands it on: its header, the strongest spot of what is above the threshold, patch distances, decoded preview. */
  interface PartFrame extends PartHeader {
    spot: SpotAnswer | null;
    map: PatchMap | null;
    jpeg: ArrayBuffer;
    image: ImageBitmap | null;
  }

  /** What lib/picture.js draws. */
  interface Drawable {
    image: ImageBitmap | null;
    map?: PatchMap | null;
    verdict?: Verdict;
    within_spec?: boolean;
    pixel_threshold?: number | null;
    station?: string;
    bundle_sha256?: string | null;
  }

  interface DriftState {
    parts: number;
    window: number;
    psi: Record<string, number>;
    drifting: string[];
  }

  /** `StationState` in stream/transport/messages.py. */
  interface StationState {
    announced: number;
    good: number;
    within_spec: number;
    defect: number;
    uninspected: Record<string, number>;
    pending: number;
    rate_hz: number;
    p50_ms: number | null;
    p99_ms: number | null;
    drift: DriftState;
  }

  interface Peer {
    up: boolean;
    text: string;
  }

  interface ActiveAlarm {
    kind: string;
    subject: string;
    raised_ns: string;
    raised_s: number;
    text: string;
    acknowledged_by: string | null;
  }

  /** The line's state: `state_header` in stream/dashboard/live/frames.py. */
  interface StateFrame {
    channel: "";
    age_s: number;
    line: string;
    stations: Record<string, StationState>;
    cameras: Record<string, Peer>;
    workers: Record<string, Peer>;
    actuators: Record<string, Peer>;
    alarms: ActiveAlarm[];
    rejects: (PartHeader & { picture: boolean })[];
  }

  /** Called with "" and the line's state, a station's name and its part, or "link" and "unknown" without a frame. */
  type Watcher = (channel: string, frame?: any) => void;

  type Feed = import("../../stream/dashboard/static/lib/feed.js").Feed;

  /** What every view is given. */
  interface Context {
    feed: Feed;
    line: LineAnswer;
  }
}

export {};
