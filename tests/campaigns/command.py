"""The command of all campaigns: options in, figures to benchmarks/results/campaigns_NAME.md."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from campaigns import disk, flooded, fuzz, hosts, http_fuzz, kill, namespaces, report, soak, targets
from campaigns.material import make_material, make_tiny_bundle

#: Lines of `kill` that run side by side: each waits for the most part.
_LINES = 2
#: Inputs for one process or server in a full run of `wire` and `http`.
_MESSAGES = {"sink": 300_000, "worker": 20_000, "capture": 200_000}
_REQUESTS = {"trigger": 20_000, "dashboard": 20_000}


def run_kill(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Kill, stop and freeze processes of lines."""
    tries = 1_000 if count is None else count
    outcomes = kill.campaign(folder, make_material(folder), seed=seed, tries=tries, seconds=seconds, lines=_LINES)
    title = "Processes of a line are killed, stopped and frozen at random moments"
    return _episodes("kill", title, seed, tries, outcomes)


def run_disk(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Fill, hang and close the disk below lines, and step the wall clock."""
    if reason := disk.why_not():
        return _skipped("disk", reason)
    tries = 200 if count is None else count
    outcomes = disk.campaign(folder, make_material(folder), seed=seed, tries=tries, seconds=seconds)
    return _episodes("disk", "The disk is full, hangs or opens nothing; the wall clock steps", seed, tries, outcomes)


def run_hosts(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Disturb a line of three hosts."""
    if reason := namespaces.why_not():
        return _skipped("hosts", reason)
    deeds = 200 if count is None else count
    outcomes = hosts.campaign(folder, make_material(folder), seed=seed, count=deeds, seconds=seconds)
    title = "Camera, worker and sink on three hosts: deaths, partitions, slow and lossy network, clocks that are wrong"
    return _episodes("hosts", title, seed, deeds, outcomes)


def run_fuzz(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Give every reader damaged input."""
    folder.mkdir(parents=True, exist_ok=True)
    readers = (
        targets.wire(),
        targets.configurations(folder),
        targets.pictures(folder),
        targets.bundles(make_tiny_bundle(folder), folder),
    )
    begun_s, figures, found = time.monotonic(), {}, []
    for done, target in enumerate(readers):
        wanted = target.full if count is None else count
        # What one does not need is left to the others.
        left_s = begun_s + seconds - time.monotonic()
        outcome = fuzz.campaign(target, seed=seed, count=wanted, seconds=left_s / (len(readers) - done))
        refusals = ", ".join(f"{kind} {number:,}" for kind, number in sorted(outcome.refusals.items()))
        figures[target.name] = outcome.inputs
        figures[f"… accepted; refused as {refusals}"] = outcome.accepted
        figures[f"… growth of memory, {target.name}"] = f"{outcome.growth_mib:.0f} MiB"
        found += [f"{violation.rule}: {violation.text}" for violation in outcome.violations]
        print(f"{target.name}: {outcome.inputs} inputs, {len(outcome.violations)} violations", flush=True)
    title = "Damaged messages, configurations, bundles and pictures, given to their readers"
    return report.write("fuzz", title, repeat("fuzz", seed, count), begun_s, figures, found)


def run_wire(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Send damaged messages to real processes."""
    material, begun_s, figures, found = make_material(folder), time.monotonic(), {}, []
    for name, flood in flooded.FLOODS.items():
        wanted = _MESSAGES[name] if count is None else count
        outcome = flood(folder / name, material, seed=seed, count=wanted, seconds=seconds / len(flooded.FLOODS))
        figures[f"damaged messages to {name}"] = outcome.messages
        figures[f"… genuine ones among them, {name}"] = outcome.genuine
        figures[f"… growth of memory, {name}"] = f"{outcome.growth_mib:.0f} MiB"
        figures[f"… log, {name}"] = f"{outcome.log_bytes / 1e3:.0f} kB"
        found += [f"{name}: {violation.rule}: {violation.text}" for violation in outcome.violations]
        print(f"{name}: {outcome.messages} messages, {len(outcome.violations)} violations", flush=True)
    title = "Damaged messages, sent to the processes of a line among genuine ones"
    return report.write("wire", title, repeat("wire", seed, count), begun_s, figures, found)


def run_http(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Send damaged requests to the HTTP servers."""
    material, begun_s, figures, found = make_material(folder), time.monotonic(), {}, []
    for name, attack in http_fuzz.SERVERS.items():
        wanted = _REQUESTS[name] if count is None else count
        outcome = attack(folder / name, material, seed=seed, count=wanted, seconds=seconds / len(http_fuzz.SERVERS))
        answers = ", ".join(f"{status or 'none'} {number:,}" for status, number in sorted(outcome.statuses.items()))
        figures[f"requests to the {name}"] = outcome.requests
        figures[f"… answers of the {name}"] = answers
        figures[f"… growth of memory, {name}"] = f"{outcome.growth_mib:.0f} MiB"
        found += [f"{violation.rule}: {violation.text}" for violation in outcome.violations]
        print(f"{name}: {outcome.requests} requests, {len(outcome.violations)} violations", flush=True)
    return report.write(
        "http", "Damaged requests, sent to the HTTP servers", repeat("http", seed, count), begun_s, figures, found
    )


def run_soak(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Run a line and look whether anything grows; `count` is its parts per second."""
    warm_up_s = min(1_200.0, seconds / 3)  # rings, records of past parts and the allocator are full then
    begun_s = time.monotonic()
    outcome = soak.soak(
        folder, make_material(folder), seconds=seconds - warm_up_s, warm_up_s=warm_up_s, rate_hz=float(count or 15)
    )
    figures: dict[str, object] = {
        "parts of each station": outcome.parts,
        "rate, parts/s": outcome.rate_hz,
        "warm-up, s": f"{warm_up_s:.0f}",
        "readings of each figure": outcome.readings,
    }
    for (process, figure), slope in outcome.slopes.items():
        first, last = outcome.first_and_last[process, figure]
        figures[f"{figure}, {process}: first and last tenth, slope an hour (95 %)"] = (
            f"{first:.1f}, {last:.1f}, {slope}"
        )
    found = [f"{violation.rule}: {violation.text}" for violation in outcome.violations]
    title = "Memory, descriptors, threads, disk and log of a running line"
    command = f"make campaign CAMPAIGN=soak SECONDS={seconds:.0f} COUNT={outcome.rate_hz:.0f}"
    return report.write("soak", title, command, begun_s, figures, found)


def repeat(name: str, seed: int, count: int | None) -> str:
    """Return the command that does the same again."""
    return f"make campaign CAMPAIGN={name} SEED={seed}" + ("" if count is None else f" COUNT={count}")


CAMPAIGNS = {
    "kill": run_kill,
    "fuzz": run_fuzz,
    "wire": run_wire,
    "http": run_http,
    "hosts": run_hosts,
    "disk": run_disk,
    "soak": run_soak,
}


def main() -> None:
    """Run one campaign, or all of them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__)
    parser.add_argument("campaign", choices=[*CAMPAIGNS, "all"])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=3_600.0, help="longest time of each campaign")
    parser.add_argument("--count", type=int, help="tries, inputs … of each; default: the number of a full run")
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="campaign-") as temporary:
        folder = options.folder or Path(temporary)
        names = list(CAMPAIGNS) if options.campaign == "all" else [options.campaign]
        codes = [CAMPAIGNS[name](options.seed, options.seconds, options.count, folder / name) for name in names]
    sys.exit(max(codes))


def _episodes(name: str, title: str, seed: int, count: int, outcomes: Iterable[kill.Outcome]) -> int:
    """Add up outcomes as they come, print each, and write the sum."""
    begun_s = time.monotonic()
    deeds: Counter[str] = Counter()
    uninspected: Counter[str] = Counter()
    parts, fired, late, episodes, found = 0, 0, 0, 0, []
    for number, outcome in enumerate(outcomes):
        deeds.update(outcome.deeds)
        uninspected.update(outcome.uninspected)
        parts, fired, late = parts + outcome.parts, fired + outcome.fired, late + outcome.late
        episodes = number + 1
        found += [f"seed {seed + number}: {violation.rule}: {violation.text}" for violation in outcome.violations]
        print(f"seed {seed + number}: {deeds.total()} deeds, {parts} parts, {len(found)} violations", flush=True)
        for violation in outcome.violations:
            print("  ", violation.rule, violation.text, flush=True)
    figures: dict[str, object] = {"episodes": episodes, "deeds": deeds.total()}
    figures |= {f"… {deed}": number for deed, number in sorted(deeds.items())}
    figures |= {"parts": parts, "rejects fired": fired, "rejects counted as late": late}
    figures |= {f"uninspected, {cause}": number for cause, number in sorted(uninspected.items())}
    return report.write(name, title, repeat(name, seed, count), begun_s, figures, found)


def _skipped(name: str, reason: str) -> int:
    print(f"{name}: skipped: {reason}", flush=True)
    return 0
