"""What may still be spent, by hand arithmetic."""

from mixopt.search.allowance import Allowance


def allowance(*, charged_flops: float = 0.0, elapsed_s: float = 0.0, limit_s: float | None = 100.0) -> Allowance:
    return Allowance(
        budget_flops=100.0,
        charged_flops=charged_flops,
        reserve_flops=30.0,
        limit_s=limit_s,
        elapsed_s=elapsed_s,
        slots=2,
        trial_s={"small": 10.0, "large": 20.0},
        pending_s=20.0,
        reserve_s=40.0,
    )


def test_the_proofs_part_of_the_budget_is_kept() -> None:
    assert allowance(charged_flops=60.0).refusal("small", 10.0) is None
    refusal = allowance(charged_flops=61.0).refusal("small", 10.0)
    assert "9 of 100 FLOPs" in str(refusal)


def test_time_is_kept_for_what_runs_and_for_the_proof() -> None:
    # (20 pending + 10 this one + 40 proof) / 2 slots + 10 margin = 45 s
    assert allowance(elapsed_s=55.0).refusal("small", 1.0) is None
    assert allowance(elapsed_s=56.0).refusal("small", 1.0) is not None
    assert allowance(elapsed_s=56.0, limit_s=None).refusal("small", 1.0) is None


def test_nothing_is_refused_for_time_before_any_trial_was_timed() -> None:
    assert allowance(elapsed_s=99.0).refusal("unseen", 1.0) is None


def test_a_limit_that_is_over_ends_a_search_of_which_no_trial_was_timed() -> None:
    assert allowance(elapsed_s=100.0).refusal("unseen", 1.0) == "no time is left: 100 of 100 s are over"
