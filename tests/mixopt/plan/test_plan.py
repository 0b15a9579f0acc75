"""What a plan says, against closed forms, the law's own optimum, and the driver's arithmetic."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mixopt.cli import main
from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.plan.domains import plan_domains
from mixopt.plan.ladder import advice, elapsed_s, plan_ladder
from mixopt.plan.outlook import share_interval
from mixopt.plan.rehearsal import Rehearsal, Rehearsed, money
from mixopt.search.setting import Setting
from mixopt.search.throughput import Throughput
from mixopt.simulated_workers import simulated_text

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"


def setting_of(**sections: object) -> Setting:
    config = SearchConfig.from_plain(load(CONFIG).resolved() | sections)
    return Setting.of(config, simulated_text(config), artifacts="")


def played(rungs: tuple[str, ...]) -> Rehearsed:
    return Rehearsed(rungs=rungs, regret=0.0, gain=0.01, missed=(0.0, 0.0, 0.0, 1.0))


def test_a_share_has_the_interval_of_wilson() -> None:
    assert share_interval(8, 8, z=2.0) == pytest.approx((8.0 / 12.0, 1.0))
    assert share_interval(2, 4, z=2.0) == pytest.approx((0.5 - 0.25 * np.sqrt(2.0), 0.5 + 0.25 * np.sqrt(2.0)))


def test_the_money_is_split_as_the_driver_charges_it() -> None:
    setting = setting_of()
    ladder, found = setting.problem.ladder, money(setting)
    whole, cut = setting.flops("small", "search", 500_000), setting.flops("small", "search", 8 * 16_666)
    assert found.experts_flops == pytest.approx(3 * whole + cut)  # that of math makes 8 passes and no more
    assert found.proof_flops == pytest.approx(20 * setting.flops("large", "proof", 2_000_000))
    assert found.experts_flops + found.proof_flops + found.search_flops == pytest.approx(3e14)
    with pytest.raises(SearchError, match=r"do not pay .* at least"):
        money(setting_of(budget_flops=found.experts_flops + found.proof_flops + 0.5 * ladder.top.cost_flops))


def test_the_optimum_is_the_laws_own_where_nothing_is_forbidden() -> None:
    free = [{"name": name, "available_tokens": 10**12} for name in ("web", "code", "books", "math")]
    rehearsal = Rehearsal(setting=setting_of(domains=free), seed=3)
    target = rehearsal.problem.ladder.target
    assert target is not None
    shares = dict.fromkeys(rehearsal.problem.sets, 0.25)
    _, least = rehearsal.law.optimum(shares, parameters=target.parameters, tokens=target.tokens)
    assert rehearsal.optimum == pytest.approx(least, abs=2e-5)


def test_a_raised_domain_takes_from_the_others_in_proportion_and_keeps_its_cap() -> None:
    rehearsal = Rehearsal(setting=setting_of(), seed=0)
    assert rehearsal.raised.sum(axis=1) == pytest.approx(np.ones(4))
    web, math = rehearsal.raised[0], rehearsal.raised[3]
    assert web == pytest.approx([0.9, 0.075, 0.02, 0.005])  # natural is 0.8, 0.15, 0.04, 0.01
    assert math[3] == pytest.approx(0.11)
    sizes = {"web": 8e11, "code": 1.5e11, "books": 4e10, "math": 1e10}
    free = [{"name": name, "available_tokens": int(count)} for name, count in sizes.items()]
    capped = Rehearsal(
        setting=setting_of(domains=free, max_epochs=0.3), seed=0
    )  # the target passes 0.3 times over all there is
    assert capped.raised == pytest.approx(np.tile(capped.base, (4, 1)), abs=1e-6)


def test_domains_are_told_with_their_epochs_and_the_one_that_cannot_be_resolved() -> None:
    found = {domain.name: domain for domain in plan_domains(setting_of(), [played(("small",))])}
    assert [domain.natural_epochs for domain in found.values()] == pytest.approx([0.3] * 4)
    assert (found["math"].unimax, found["math"].unimax_epochs) == pytest.approx((4 * 1e10 / 3e11, 4.0))
    assert (found["code"].cap_weight, found["code"].cap_epochs) == pytest.approx((0.6, 1.2))
    assert [name for name, domain in found.items() if not domain.is_resolved] == ["math"]


def test_the_time_is_that_of_trials_on_slots_with_experts_before_and_the_proof_after() -> None:
    setting = setting_of(proof={"seeds": 2, "mixtures": ["natural"]})
    some = [played(("small",) * 3 + ("large",))]
    rungs = plan_ladder(setting, some, {"small": 10.0, "large": 100.0})
    assert [(rung.search, rung.experts, rung.proof) for rung in rungs] == [(3.0, 4, 0), (1.0, 0, 4)]
    # Four experts on two slots; three small ones and a large one on the slot that is free first; four large ones.
    assert elapsed_s(setting, rungs, some[0], slots=2) == pytest.approx(20.0 + 110.0 + 200.0)


def test_a_rung_of_the_wrong_size_is_named() -> None:
    setting = setting_of()
    ladder = [dict(rung) for rung in setting.config.resolved()["ladder"]]  # type: ignore[attr-defined]
    close = setting_of(ladder=[ladder[0] | {"tokens": 1_200_000, "proxy": ladder[1]["proxy"]}, ladder[1]])
    seconds = {"small": 1.0, "large": 1.0}
    words = advice(close, plan_ladder(close, [played(("small", "large"))], seconds), money(close))
    assert any("'small' costs 60% of 'large' and saves little" in line for line in words)
    poor = setting_of(budget_flops=1.55e14)
    words = advice(poor, plan_ladder(poor, [played(("small",))], seconds), money(poor))
    assert any("'large' is too large for this budget: the search could train 2 mixtures" in line for line in words)
    assert any("'large' is bought by no rehearsal" in line for line in words)
    assert not any("'small' is bought by no" in line for line in words)


def test_device_hours_become_flops_at_the_pace_of_the_rungs() -> None:
    setting = setting_of()
    found = Throughput(rungs={"small": 1e10, "large": 3e10}, source="measured")
    assert found.flops_per_s(setting.problem.ladder) == pytest.approx(1.5e10)  # half of the FLOPs at either pace
    hours = setting_of(budget_flops=None, budget_device_hours=2, throughput_flops=1.5e10)
    assert hours.config.budget_flops == pytest.approx(2 * 3600 * 1.5e10)
    again = SearchConfig.from_plain(hours.config.resolved())
    assert (again.digest(), again.budget_flops) == (hours.config.digest(), hours.config.budget_flops)


def test_plan_tells_what_a_plain_strategy_buys_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = CONFIG.read_text(encoding="utf-8").replace("budget_flops: 3.0e+14", "budget_device_hours: 0.5")
    (tmp_path / "plan.yaml").write_text(text + "\nstrategy: {name: random, natural_seeds: 2}\n", encoding="utf-8")
    arguments = ["plan", "plan.yaml", "--rehearsals", "1", "--throughput", "1e11", "--json"]
    monkeypatch.setattr(sys, "argv", ["mixopt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["budget_flops"] == pytest.approx(1.8e14)
    small, large = found["rungs"]
    assert small["search"] == 2  # the natural mixture twice, for the noise; all else is at the top rung
    left_flops = found["money"]["search_flops"] - 2 * small["trial_flops"]
    assert large["search"] == int(left_flops / large["trial_flops"])
    assert large["trial_s"] == pytest.approx(large["trial_flops"] / 1e11)
    assert found["simulated"]["rehearsals"] == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.yaml"]
