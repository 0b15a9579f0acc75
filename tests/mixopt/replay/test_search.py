"""Replayed searches: what is charged, what may be seen, what is shipped, and that draws are paired."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from mixopt.errors import ReplayError
from mixopt.optimize.encoding import Array
from mixopt.replay.bayesian import BayesianPlayer
from mixopt.replay.players import PLAYERS, Player, observed
from mixopt.replay.pool import Pool, Position, Seller, Wish, draw_tops
from mixopt.replay.search import SearchPlan, play, replay_search
from mixopt.runs_table import RunsTable, TableRun
from tests.mixopt.replay.small_tables import TOKENS, changed, small_table


def seller_of(table: RunsTable, *, pool: int | None = None, draw: int = 0) -> Seller:
    tops = draw_tops(table, table.mean(), "large", size=pool, seed=(0, draw))
    return Seller.of(table, table.mean(), "large", tops)


def plan(table: RunsTable, **wishes: object) -> SearchPlan:
    settings = {"top": "large", "costs": (0.3, 2.0), "draws": 3, "pool": 8, **wishes}
    return SearchPlan(table=table, objective=table.mean(), **settings)  # type: ignore[arg-type]


def servable(table: RunsTable) -> list[str]:
    """Return the names of the strategies that the table can serve."""
    pool, names = seller_of(table).pool, []
    for name, start in PLAYERS.items():
        try:
            start(pool)
        except ReplayError:
            continue
        names.append(name)
    return names


TABLE = small_table()
FEW = small_table(cheap=14, top=6)
NAMES = servable(TABLE)


@dataclass(frozen=True)
class Scripted:
    """Buys what it is told, once, and ships by fixed scores."""

    wanted: tuple[int, ...]
    scores: Array

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        return Wish() if position.bought else Wish(places=self.wanted)

    def ship(self, position: Position) -> Array:
        return self.scores


def test_costs_are_charged_row_by_row_and_no_row_is_sold_twice_or_on_credit() -> None:
    seller = seller_of(TABLE)
    cheap, tops = seller.pool.at(0), seller.pool.tops
    end = play(Scripted((cheap[0], cheap[0], tops[0], tops[1], cheap[1]), np.zeros(16)), seller, budget=1.5, seed=(0,))
    assert end.bought == (cheap[0], tops[0], cheap[1])
    assert end.spent == pytest.approx(1.02)
    assert [o.fidelity for o in end.evidence.history.observations] == ["small", "large", "small"]


def test_the_shipped_row_is_scored_by_its_measured_loss() -> None:
    table = TABLE
    truth = table.truth(table.mean())[table.rows("large")]
    scores = np.zeros(16)
    scores[5] = -1.0
    report = replay_search(plan(table, pool=None, draws=1), {"scripted": lambda _: Scripted((), scores)})
    low, high = np.quantile(truth, [0.25, 0.75])
    for score in report.scores:
        assert score.regret.value == pytest.approx(truth[5] - truth.min())
        assert score.regret_iqr.value == pytest.approx((truth[5] - truth.min()) / (high - low))
        assert score.rank.value == 1 + int((truth < truth[5]).sum())


def test_what_is_on_offer_holds_no_losses() -> None:
    pool = seller_of(TABLE).pool
    poisoned = changed(TABLE, lambda run: replace(run, losses=dict.fromkeys(run.losses, 99.0)))
    other = seller_of(poisoned).pool
    assert pool.problem == other.problem
    assert np.array_equal(pool.weights, other.weights)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_was_not_paid_changes_nothing(name: str) -> None:
    seller = seller_of(FEW, pool=4)
    player = PLAYERS[name](seller.pool)
    end = play(player, seller, budget=2.1, seed=(0, 0))
    paid = {int(seller.places[place]) for place in end.bought}

    def poison(run: TableRun) -> TableRun:
        return run if FEW.runs.index(run) in paid else replace(run, losses=dict.fromkeys(run.losses, 0.001))

    other = seller_of(changed(FEW, poison), pool=4)
    again = play(PLAYERS[name](other.pool), other, budget=2.1, seed=(0, 0))
    assert again.bought == end.bought
    assert np.array_equal(player.ship(end), player.ship(again))


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_stays_within_its_budget_and_ships_a_row_of_the_top(name: str) -> None:
    for budget in (0.005, 0.15, 2.1):
        seller = seller_of(FEW, pool=4)
        player = PLAYERS[name](seller.pool)
        end = play(player, seller, budget=budget, seed=(0, 1))
        assert end.spent == pytest.approx(sum(seller.pool.costs[list(end.bought)]))
        assert end.spent <= budget * (1.0 + 1e-9)
        assert len(set(end.bought)) == len(end.bought)
        assert player.ship(end).shape == (4,)


def test_pools_are_paired_over_strategies_and_fresh_in_every_draw() -> None:
    seen: dict[str, list[Pool]] = {"one": [], "two": []}

    def spy(name: str, pool: Pool) -> Player:
        seen[name].append(pool)
        return Scripted((), np.zeros(8))

    replay_search(plan(TABLE), {name: lambda pool, name=name: spy(name, pool) for name in seen})  # type: ignore[misc]
    ones, twos = ([pool.weights[pool.tops] for pool in seen[name]] for name in ("one", "two"))
    assert all(np.array_equal(a, b) for a, b in zip(ones, twos, strict=True))
    assert not np.array_equal(ones[0], ones[1])
    assert {len(tops) for tops in ones} == {8}


def test_random_ships_the_best_that_it_has_observed() -> None:
    seller = seller_of(TABLE)
    player = PLAYERS["random"](seller.pool)
    end = play(player, seller, budget=5.0, seed=(1,))
    assert len(end.bought) == 5
    bought = seller.truth[list(end.bought)]
    assert seller.truth[seller.pool.tops[int(player.ship(end).argmin())]] == bought.min()
    assert np.isinf(observed(end)).sum() == 11


def test_random_without_the_money_for_a_trial_is_a_blind_choice() -> None:
    truth = TABLE.truth(TABLE.mean())[TABLE.rows("large")]
    score = replay_search(plan(TABLE, pool=None, draws=1), {"random": PLAYERS["random"]}).scores[0]
    assert score.regret.value == pytest.approx(float(truth.mean() - truth.min()))
    assert score.spent.value == 0.0


def test_natural_ships_the_row_nearest_to_the_natural_mixture() -> None:
    seller = seller_of(TABLE)
    player = PLAYERS["natural"](seller.pool)
    natural = np.array(list(TOKENS.values())) / sum(TOKENS.values())
    nearest = np.abs(seller.pool.weights[seller.pool.tops] - natural).sum(axis=1).argmin()
    assert player.ship(play(player, seller, budget=1.0, seed=(0,))).argmin() == nearest


def test_a_strategy_that_the_table_cannot_serve_says_so_and_is_left_out() -> None:
    names = ("natural", "temperature", "unimax", "mde", "random")
    report = replay_search(plan(small_table(counts=False)), {name: PLAYERS[name] for name in names})
    assert {score.strategy for score in report.scores} == {"random"}
    assert set(report.left_out) == {"natural", "temperature", "unimax", "mde"}
    assert "available/" in report.left_out["natural"]


def test_bayesian_opens_at_the_cheapest_rung_and_ends_at_the_top() -> None:
    seller = seller_of(TABLE)
    rungs = seller.pool.rungs[list(play(BayesianPlayer(), seller, budget=5.0, seed=(0,)).bought)]
    assert list(rungs[:16]) == [0] * 16
    assert (rungs == 1).sum() >= 2
    assert rungs[-1] == 1


def test_a_budget_beyond_all_rows_buys_them_all_and_ends() -> None:
    seller = seller_of(FEW)
    assert len(play(PLAYERS["bayesian"](seller.pool), seller, budget=1e3, seed=(0,)).bought) == 20


def test_bayesian_ships_better_rows_than_a_blind_choice_on_cheap_runs_alone() -> None:
    asked = plan(TABLE, costs=(0.3,), pool=None, draws=2)
    scores = {s.strategy: s for s in replay_search(asked, {n: PLAYERS[n] for n in ("bayesian", "random")}).scores}
    assert scores["bayesian"].regret.value < 0.25 * scores["random"].regret.value
    assert scores["bayesian"].spent.value <= 0.3 * (1.0 + 1e-9)


def test_a_single_fidelity_is_searched_too() -> None:
    table = RunsTable.of([run for run in TABLE.runs if run.fidelity == "large"])
    report = replay_search(plan(table, costs=(6.0,), draws=2), {n: PLAYERS[n] for n in ("bayesian", "random")})
    assert all(score.spent.value == pytest.approx(6.0) for score in report.scores)


def test_the_plain_score_has_the_keys_of_the_command() -> None:
    score = replay_search(plan(TABLE, draws=2), {"uniform": PLAYERS["uniform"]}).scores[0].plain()
    assert list(score) == [
        "strategy",
        "cost",
        "regret",
        "regret_se",
        "regret_iqr",
        "rank",
        "rank_se",
        "behind",
        "behind_se",
    ]
    assert score["strategy"] == "uniform"


@pytest.mark.parametrize("wishes", [{"costs": ()}, {"costs": (-1.0,)}, {"draws": 0}, {"pool": 1}, {"pool": 17}])
def test_searches_that_cannot_be_replayed_are_refused(wishes: dict[str, object]) -> None:
    with pytest.raises(ReplayError):
        replay_search(plan(TABLE, **wishes), {"random": PLAYERS["random"]})


def test_processes_play_what_one_would() -> None:
    asked, players = plan(FEW, costs=(0.12,), draws=2, pool=4), {name: PLAYERS[name] for name in ("bayesian", "regmix")}
    one, two = (replay_search(asked, players, jobs=jobs) for jobs in (1, 2))
    assert one == two


def test_what_others_lose_is_paired_with_the_products_own() -> None:
    asked = plan(TABLE, costs=(0.3,), draws=3)
    scores = {s.strategy: s for s in replay_search(asked, {n: PLAYERS[n] for n in ("bayesian", "uniform")}).scores}
    assert scores["bayesian"].behind is None
    behind = scores["uniform"].behind
    assert behind is not None
    assert behind.value == pytest.approx(scores["uniform"].regret.value - scores["bayesian"].regret.value)
