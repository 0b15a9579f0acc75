"""Tables of runs of the closed-form law: two fidelities, seeded mixtures, a known truth."""

from collections.abc import Callable

import numpy as np

from mixopt.mixture import Mixture
from mixopt.runs_table import RunsTable, TableRun
from proxies.simulated import SimulatedLaw

DOMAINS = ("a", "b", "c", "d")
SETS = ("x", "y", "z")
LAW = SimulatedLaw(domains=DOMAINS, sets=SETS, seed=3, noise=0.005)
SIZES = {"small": (100_000, 500_000, 0.01), "large": (400_000, 2_000_000, 1.0)}  # parameters, tokens, cost
TOKENS = {"a": 40_000_000, "b": 20_000_000, "c": 10_000_000, "d": 5_000_000}


def small_table(*, cheap: int = 40, top: int = 16, seed: int = 0, counts: bool = True) -> RunsTable:
    """Return `cheap` runs of the small proxy (the first half of split train) and `top` of the large one."""
    rng = np.random.default_rng(seed)
    runs = []
    for fidelity, count in (("small", cheap), ("large", top)):
        parameters, tokens, cost = SIZES[fidelity]
        for i, row in enumerate(rng.dirichlet(np.ones(len(DOMAINS)), size=count)):
            mixture = Mixture.from_array(DOMAINS, row)
            runs.append(
                TableRun(
                    run_id=f"{fidelity}-{i}",
                    fidelity=fidelity,
                    cost=cost,
                    seed=0,
                    split="train" if i < count // 2 else "test",
                    mixture=mixture,
                    losses=LAW.losses(mixture, parameters=parameters, tokens=tokens, seed=0),
                    parameters=parameters,
                    tokens=tokens,
                    available=TOKENS if counts else {},
                )
            )
    return RunsTable.of(runs)


def changed(table: RunsTable, change: Callable[[TableRun], TableRun]) -> RunsTable:
    """Return the table with every run changed."""
    return RunsTable.of([change(run) for run in table.runs])
