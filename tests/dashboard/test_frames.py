"""Frames say what the records say, and the objective is computed on reading."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from dashboard import frames, health, progress
from dashboard.frames import SearchFrames
from store import NotInStore, Store
from tests.dashboard.filled_stores import (
    RUNG_FLOPS,
    SEVEN,
    add,
    config_of,
    create,
    fill,
    finish,
    finish_routed,
    losses_of,
)

NATURAL = {name: tokens / sum(SEVEN.values()) for name, tokens in SEVEN.items()}


@pytest.fixture
def view(filled: Path) -> SearchFrames:
    return frames.load(str(filled), "quickstart")


def test_a_trial_has_the_objective_of_its_losses(view: SearchFrames) -> None:
    losses = losses_of(NATURAL, rung="large", seed=1)
    expected = 0.75 * losses["topics"] + 0.25 * losses["assistant"]
    assert view.trials.loc[8, "objective"] == pytest.approx(expected, rel=1e-12)


def test_a_trial_that_failed_has_no_objective(view: SearchFrames) -> None:
    ended = view.trials["state"] == "completed"
    assert view.trials.loc[~ended, "objective"].isna().all()
    assert view.trials.loc[ended, "objective"].notna().all()


def test_reweighing_the_objective_needs_no_training(filled: Path) -> None:
    plain = config_of(SEVEN) | {"objective": {"weights": {"assistant": 1.0}}}
    with Store(filled) as store:
        search = store.find_search("quickstart")
        assert search is not None
        store.revise_search(search.id, config=plain, config_hash="other", note="only the assistant counts")
    again = frames.load(str(filled), "quickstart")
    assert again.trials.loc[8, "objective"] == losses_of(NATURAL, rung="large", seed=1)["assistant"]


def test_the_worst_set_can_be_the_objective(filled: Path) -> None:
    plain = config_of(SEVEN) | {"objective": {"kind": "worst", "weights": {}, "sets": ["topics", "assistant"]}}
    with Store(filled) as store:
        search = store.find_search("quickstart")
        assert search is not None
        store.revise_search(search.id, config=plain, config_hash="other", note="the worst counts")
    again = frames.load(str(filled), "quickstart")
    assert again.trials.loc[8, "objective"] == max(losses_of(NATURAL, rung="large", seed=1).values())


def test_a_set_that_joins_the_objective_later_leaves_old_trials_unranked(filled: Path) -> None:
    plain = config_of(SEVEN) | {"objective": {"weights": {"new": 1.0}}}
    with Store(filled) as store:
        search = store.find_search("quickstart")
        assert search is not None
        store.revise_search(search.id, config=plain, config_hash="other", note="a new set")
    again = frames.load(str(filled), "quickstart")
    assert progress.measured(again).empty
    assert progress.best(again) is None


def test_weights_of_every_trial_sum_to_one(view: SearchFrames) -> None:
    assert view.weights.sum(axis=1).tolist() == pytest.approx([1.0] * len(view.trials))
    assert tuple(view.weights.columns) == tuple(SEVEN)


def test_an_unknown_search_is_an_error_that_names_the_known_ones(filled: Path) -> None:
    with pytest.raises(NotInStore, match="no search is called 'other'; the store has \\['quickstart'\\]"):
        frames.load(str(filled), "other")


def test_failed_trials_count_as_spent_and_running_ones_do_not(view: SearchFrames) -> None:
    counts = progress.totals(view)
    large, small, experts = 3 + 8 + 1, 24 + 2, 7 * 5e11
    assert counts.spent_flops == pytest.approx(large * RUNG_FLOPS["large"] + small * RUNG_FLOPS["small"] + experts)
    assert progress.by_rung(view)["charged_flops"].sum() == pytest.approx(counts.spent_flops)
    assert (counts.done, counts.running, counts.queued, counts.failed) == (43, 1, 1, 2)


def test_best_so_far_never_rises_and_leaves_the_proof_out(view: SearchFrames) -> None:
    rows = progress.measured(view)
    assert set(rows["part"]) == {"search"}
    for _, rung in rows.groupby("rung"):
        assert (rung["best"].diff().dropna() <= 0).all()
    assert rows["spent_flops"].is_monotonic_increasing
    best = progress.best(view)
    assert best is not None
    assert best.objective == rows.loc[rows["rung"] == "large", "objective"].min()


def test_replicates_of_one_mixture_are_one_row_with_their_mean(view: SearchFrames) -> None:
    ranked = progress.by_mixture(view, "large")
    row = ranked[ranked["label"].str.startswith("natural")].iloc[0]
    assert (row["label"], row["seeds"]) == ("natural #7 #8 #9", 3)
    assert row["objective"] == pytest.approx(view.trials.loc[[7, 8, 9], "objective"].mean())
    assert ranked["objective"].is_monotonic_increasing


def test_epochs_at_the_target_are_weight_times_target_over_available(view: SearchFrames) -> None:
    assert progress.epochs_at_target(view, 0.8, "docs") == pytest.approx(0.8 * 1e9 / 45e6)


def test_a_trial_in_detail_has_its_curve_and_what_was_predicted(filled: Path) -> None:
    detail = frames.load_trial(str(filled), "quickstart", 8)
    assert detail.curve["tokens"].tolist() == [100_000 * step for step in range(1, 21)]
    assert detail.predicted["topics"] == (1.65, 0.03)
    assert detail.attempts["state"].tolist() == ["completed"]


def test_the_experts_that_domains_use_are_a_frame_a_layer(tmp_path: Path) -> None:
    with Store(tmp_path / "routed.db") as store:
        usage = {"docs": [[0.75, 0.25], [0.0, 1.0]], "cpp": [[0.5, 0.5], [1.0, 0.0]]}
        finish_routed(store, create(store), usage)
    first, second = frames.load_trial(str(tmp_path / "routed.db"), "quickstart", 0).usage
    assert first.to_dict("index") == {"docs": {1: 0.75, 2: 0.25}, "cpp": {1: 0.5, 2: 0.5}}
    assert second.loc["docs"].tolist() == [0.0, 1.0]


def test_reading_never_changes_the_store(filled: Path) -> None:
    before = filled.read_bytes()
    frames.searches(str(filled))
    frames.load(str(filled), "quickstart")
    assert filled.read_bytes() == before


def test_a_search_that_says_nothing_for_long_is_called_dead(tmp_path: Path) -> None:
    fill(tmp_path / "quiet.db", state="running")
    view = frames.load(str(tmp_path / "quiet.db"), "quickstart")
    last = health.last_record(view)
    soon = [hint.text for hint in health.hints(view, now=last + timedelta(minutes=1))]
    late = [hint.text for hint in health.hints(view, now=last + timedelta(hours=1))]
    assert not any("driver may be dead" in text for text in soon)
    assert late[0].startswith("nothing was recorded for 1 h 0 min: the driver may be dead")


def test_many_failures_are_a_warning(tmp_path: Path) -> None:
    with Store(tmp_path / "bad.db") as store:
        search = create(store)
        for salt in range(4):
            trial = add(store, search, NATURAL, salt=salt)
            store.start(trial, worker="w")
            store.fail(trial, state="failed", error="out of memory")
        finish(store, search, NATURAL, seed=5)
    view = frames.load(str(tmp_path / "bad.db"), "quickstart")
    found = health.hints(view, now=health.last_record(view))
    assert [(hint.level, hint.text.split(":")[0]) for hint in found] == [
        ("warning", "4 of 5 trials failed or diverged")
    ]


def test_seeds_that_differ_as_much_as_mixtures_are_a_warning(tmp_path: Path) -> None:
    with Store(tmp_path / "noisy.db") as store:
        search = create(store)
        for seed in range(3):
            finish(store, search, NATURAL, seed=seed)
        for shift in (1e-5, 2e-5, 3e-5):
            near = NATURAL | {"python": NATURAL["python"] - shift, "cpp": NATURAL["cpp"] + shift}
            finish(store, search, near, seed=0)
    view = frames.load(str(tmp_path / "noisy.db"), "quickstart")
    assert any("seeds differ as much as mixtures" in hint.text for hint in health.hints(view, now=view.updated_at))


def test_frames_of_a_search_without_trials_keep_their_columns(tmp_path: Path) -> None:
    with Store(tmp_path / "new.db") as store:
        create(store)
    view = frames.load(str(tmp_path / "new.db"), "quickstart")
    assert list(view.trials.columns) == list(frames.TRIAL_COLUMNS)
    assert isinstance(progress.by_rung(view), pd.DataFrame)
    assert progress.by_mixture(view, "large").empty
