from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.offers import LINE, live, offer

from stream.core.errors import ConflictError, StoreError
from stream.core.files import file_sha256
from stream.dashboard.tuning.changes import BundleChanges
from stream.line.config import LineConfig, parse
from stream.model.bundle import load_bundle
from stream.store.review_store import Review
from stream.training.extend import with_threshold


def test_a_change_goes_live_by_one_step_and_back_by_another_and_each_is_in_the_audit_log(
    config: LineConfig, changes: BundleChanges, review: Review
):
    before = live(config)
    offered = offer(changes, 3.5)
    assert (offered.state, offered.may_go_live, offered.may_undo) == ("offered", True, False)
    assert live(config) == before, "an offer changes nothing"

    put = changes.apply(offered.id, "live", "otto")
    assert live(config) == put.bundle_sha256
    thresholds = load_bundle(config.stations["cap"].bundle).info.thresholds
    assert thresholds is not None
    assert thresholds.image == 3.5
    assert (put.state, put.may_go_live, put.may_undo) == ("live", False, True)

    undone = changes.apply(offered.id, "undo", "eva")
    assert live(config) == before
    assert (undone.state, undone.may_go_live, undone.may_undo) == ("undone", True, False)
    assert [(step.who, step.what) for step in undone.log] == [
        ("anna", "offered"),
        ("otto", "put live"),
        ("eva", "undone"),
    ]
    audit = [(entry.who, entry.what) for entry in review.audit(10)]
    assert audit == [
        ("eva", "undone: threshold"),
        ("eva", "asks to undo: threshold"),
        ("otto", "put live: threshold"),
        ("otto", "asks to put live: threshold"),
        ("anna", "offer threshold"),
    ]


def test_what_was_made_of_another_bundle_than_the_present_one_cannot_go_live(
    config: LineConfig, changes: BundleChanges
):
    first, second = offer(changes, 3.5), offer(changes, 4.5)
    changes.apply(first.id, "live", "otto")
    found = changes.get(second.id)
    assert found is not None
    assert not found.may_go_live
    with pytest.raises(ConflictError, match="make the change again"):
        changes.apply(second.id, "live", "otto")
    assert live(config) == first.bundle_sha256
    assert [change.state for change in changes.of("cap")] == ["offered", "live"]


def test_a_bundle_that_somebody_put_there_by_hand_is_not_undone_away(
    config: LineConfig, changes: BundleChanges, small_bundle: Path
):
    put = changes.apply(offer(changes, 3.5).id, "live", "otto")
    with_threshold(small_bundle, config.stations["cap"].bundle, 9.0)
    by_hand = live(config)
    found = changes.get(put.id)
    assert found is not None
    assert not found.may_undo
    with pytest.raises(ConflictError, match="another user or program has replaced it"):
        changes.apply(put.id, "undo", "otto")
    assert live(config) == by_hand


def test_what_was_taught_may_follow_any_bundle_and_undo_leads_back_to_that(config: LineConfig, changes: BundleChanges):
    taught = offer(changes, 5.5, kind="teach")
    between = changes.apply(offer(changes, 3.5).id, "live", "otto").bundle_sha256
    changes.apply(taught.id, "live", "otto")
    assert live(config) == taught.bundle_sha256
    changes.apply(taught.id, "undo", "otto")
    assert live(config) == between


def test_a_discarded_change_is_gone_with_its_file_and_the_others_stay(config: LineConfig, changes: BundleChanges):
    kept, gone = offer(changes, 3.5), offer(changes, 4.5)
    changes.apply(gone.id, "discard", "anna")
    files = {file.stem for file in (config.store.path / "bundles" / "cap").glob("*.safetensors")}
    assert files == {kept.base_sha256, kept.bundle_sha256}
    with pytest.raises(ConflictError, match="discarded"):
        changes.apply(gone.id, "live", "otto")
    with pytest.raises(ConflictError, match="is offered, not live"):
        changes.apply(kept.id, "undo", "otto")


def test_a_kept_bundle_that_was_removed_is_named_and_the_line_keeps_its_own(config: LineConfig, changes: BundleChanges):
    before, offered = live(config), offer(changes, 3.5)
    (config.store.path / "bundles" / "cap" / f"{offered.bundle_sha256}.safetensors").unlink()
    assert not changes.of("cap")[0].may_go_live
    with pytest.raises(ConflictError, match="no longer kept"):
        changes.apply(offered.id, "live", "otto")
    assert live(config) == before


def test_changes_are_still_there_after_a_restart(config: LineConfig, changes: BundleChanges, review: Review):
    offered = offer(changes, 3.5)
    review.close()
    again = BundleChanges(config, Review(config.store.path / "review.sqlite"))
    assert again.get(offered.id) == offered
    assert again.apply(offered.id, "live", "otto").may_undo


def test_what_a_killed_job_has_left_is_removed_at_the_next_start(
    config: LineConfig, changes: BundleChanges, review: Review
):
    kept = offer(changes, 3.5)
    (changes.archive.scratch_dir("cap") / "made.safetensors").write_bytes(b"half a bundle")
    again = BundleChanges(config, review)
    names = {file.name for file in (config.store.path / "bundles" / "cap").iterdir()}
    assert names == {f"{kept.base_sha256}.safetensors", f"{kept.bundle_sha256}.safetensors"}
    assert again.of("cap")[0].may_go_live


def test_what_cannot_stand_in_the_audit_log_is_not_done(config: LineConfig, changes: BundleChanges, tmp_path: Path):
    before, offered = live(config), offer(changes, 3.5)
    with sqlite3.connect(config.store.path / "review.sqlite") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(StoreError, match="disk full"):
        changes.apply(offered.id, "live", "otto")
    assert live(config) == before


def test_what_was_refused_stands_in_the_change_and_in_the_audit_log(
    config: LineConfig, changes: BundleChanges, review: Review
):
    first, second = offer(changes, 3.5), offer(changes, 4.5)
    changes.apply(first.id, "live", "otto")
    with pytest.raises(ConflictError):
        changes.apply(second.id, "live", "eva")
    found = changes.get(second.id)
    assert found is not None
    assert (found.log[-1].who, found.state, found.pending) == ("eva", "offered", None)
    assert "refused: " in found.log[-1].what
    last = review.audit(1)[0]
    assert (last.who, last.what) == ("eva", "refused: threshold")
    assert "another user or program has replaced it" in last.detail


def test_a_change_of_a_station_that_the_line_no_longer_has_is_refused_in_words(
    config: LineConfig, changes: BundleChanges, review: Review, tmp_path: Path
):
    offered = offer(changes, 3.5)
    renamed = BundleChanges(parse(LINE.replace("  cap:", "  lid:"), name="line.yaml", folder=tmp_path), review)
    found = renamed.get(offered.id)
    assert found is not None
    assert not found.may_go_live
    with pytest.raises(ConflictError, match="station cap, which the configuration does not have"):
        renamed.apply(offered.id, "live", "otto")


def test_a_kept_bundle_that_was_damaged_does_not_go_live_where_no_line_could_refuse_it(
    config: LineConfig, changes: BundleChanges
):
    before, offered = live(config), offer(changes, 3.5)
    with changes.archive.path("cap", offered.bundle_sha256).open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ConflictError, match="damaged"):
        changes.apply(offered.id, "live", "otto")
    assert live(config) == before


def test_what_was_taught_names_the_threshold_that_it_follows(
    config: LineConfig, changes: BundleChanges, review: Review
):
    taught = offer(changes, 5.5, kind="teach")
    changes.apply(offer(changes, 3.5).id, "live", "otto")
    assert changes.apply(taught.id, "live", "otto").threshold_before == 3.5
    assert "threshold 3.5 → 5.5" in review.audit(1)[0].detail


def test_each_file_is_hashed_once_while_a_change_goes_live(
    config: LineConfig, changes: BundleChanges, monkeypatch: pytest.MonkeyPatch
):
    offered = offer(changes, 3.5)
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("stream.line.install.file_sha256", counted)
    monkeypatch.setattr("stream.dashboard.tuning.bundle_archive.file_sha256", counted)
    for step, archived in (("live", offered.bundle_sha256), ("undo", offered.base_sha256)):
        hashed.clear()
        changes.apply(offered.id, step, "otto")
        # The archived file, and the live one after it was replaced: what it was before is known.
        assert hashed == [f"{archived}.safetensors", "cap.safetensors"]
        assert live(config) == archived
