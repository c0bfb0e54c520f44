"""The command of all campaigns: options in, figures to benchmarks/results/campaigns_NAME.md."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from campaigns import kill, report
from campaigns.material import make_material


def run_kill(seed: int, seconds: float, count: int | None, folder: Path) -> int:
    """Kill processes of lines."""
    material, begun_s, tries = make_material(folder), time.monotonic(), 1_000 if count is None else count
    done: Counter[tuple[str, str]] = Counter()
    uninspected: Counter[str] = Counter()
    parts, fired, late, found = 0, 0, 0, []
    for number, outcome in enumerate(kill.campaign(folder, material, seed=seed, tries=tries, seconds=seconds)):
        done.update(outcome.tries)
        uninspected.update(outcome.uninspected)
        parts, fired, late = parts + outcome.parts, fired + outcome.fired, late + outcome.late
        found += [f"seed {seed + number}: {violation.rule}: {violation.text}" for violation in outcome.violations]
        print(f"seed {seed + number}: {sum(done.values())} tries, {parts} parts, {len(found)} violations", flush=True)
        for violation in outcome.violations:
            print("  ", violation.rule, violation.text, flush=True)
    figures: dict[str, object] = {"tries": sum(done.values())}
    figures |= {f"{deed} of {role}": count for (role, deed), count in sorted(done.items())}
    figures |= {"parts": parts, "rejects fired": fired, "rejects counted as late": late}
    figures |= {f"uninspected, {cause}": count for cause, count in sorted(uninspected.items())}
    title = "Processes of a line are killed, stopped and frozen at random moments"
    return report.write("kill", title, repeat("kill", seed, tries), begun_s, figures, found)


def repeat(name: str, seed: int, count: int) -> str:
    """Return the command that does the same again."""
    return f"make campaign CAMPAIGN={name} SEED={seed} COUNT={count}"


CAMPAIGNS = {"kill": run_kill}


def main() -> None:
    """Run one campaign, or all of them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__)
    parser.add_argument("campaign", choices=[*CAMPAIGNS, "all"])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=3_600.0, help="longest time of each campaign")
    parser.add_argument("--count", type=int, help="tries, messages … of each campaign; default: its full number")
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="campaign-") as temporary:
        folder = options.folder or Path(temporary)
        names = list(CAMPAIGNS) if options.campaign == "all" else [options.campaign]
        codes = [CAMPAIGNS[name](options.seed, options.seconds, options.count, folder / name) for name in names]
    sys.exit(max(codes))
