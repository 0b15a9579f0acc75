"""The loop: propose, train, record, until the budget is spent; then recommend, and prove it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mixopt.errors import SearchError
from mixopt.evidence import Evidence, MixtureLosses, Proposal, Strategy
from mixopt.mixture import Mixture
from mixopt.search.allowance import Allowance, seconds_a_trial
from mixopt.search.finish import conclude, decide, proof_proposals, proof_seeds, proof_size
from mixopt.search.ledger import WAITING, new_trial, read_evidence, record
from mixopt.search.setting import EXPERT_FIDELITY, Setting
from mixopt.workers import JobProgress, Outcome, Workers
from store import Search, Store, Trial

POLL_S = 0.5
LEASE_S = 60.0  # a driver that has not been heard of for so long is dead
MAX_ATTEMPTS = 3  # a worker lost this often took the trial with it
HOPELESS = 4  # so many failures without one success are the proxy's fault, not the mixtures'

Phase = Literal["experts", "search", "proof", "finished"]
EnsembleOf = Callable[[Sequence[Trial]], MixtureLosses | None]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial in flight, and the fraction of its tokens that is trained."""

    number: int
    purpose: str
    fidelity: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The search at one moment, for whoever watches; `news` is what happened since the last one, a line each.

    counts: trials by state; best: trial number, rung and objective of the best observation at the highest rung seen.
    """

    phase: Phase
    counts: dict[str, int]
    running: tuple[Running, ...]
    best: tuple[int, str, float] | None
    allowance: Allowance
    news: tuple[str, ...]


@dataclass(kw_only=True)
class Driver:
    """One driver of one search. All that matters is in the store; what is kept here only saves reading it again."""

    setting: Setting
    search: Search
    store: Store
    workers: Workers
    strategy: Strategy
    ensemble_of: EnsembleOf
    owner: str
    elapsed_before_s: float = 0.0
    _in_flight: dict[int, Trial] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)
    _fractions: dict[int, float] = field(default_factory=dict)
    _news: list[str] = field(default_factory=list)
    _ensemble: MixtureLosses | None = None
    _started_s: float = 0.0
    _renewed_s: float = field(default_factory=time.monotonic)
    _over: bool = False

    def drive(self) -> Iterator[Snapshot]:
        """Run the search to its end, and yield what there is to see; leaving early loses nothing."""
        self._started_s = self.workers.clock()
        self._resume()
        self.store.set_state(self.search.id, "running")
        yield from self._until_idle(self._explore)
        if self.store.recommendation(self.search.id) is None:
            self._decide()
        yield from self._until_idle(self._prove)
        self._conclude()
        self.store.set_state(self.search.id, "finished")
        yield self._snapshot("finished", self._trials())

    def _resume(self) -> None:
        again = self.store.requeue(self.search.id)
        self.store.settle(self.search.id)
        trials = self._trials()
        self._over = any(trial.purpose == "proof" for trial in trials)
        if trials:
            done = sum(trial.state == "completed" for trial in trials)
            self._say(f"resumed: {done} trials are done and stay, {len(again)} were interrupted and start again")
            self.elapsed_before_s += sum(trial.elapsed_s or 0.0 for trial in trials) / self.workers.slots

    def _until_idle(self, propose: Callable[[list[Trial], int], list[Proposal]]) -> Iterator[Snapshot]:
        """Keep every slot busy, and one trial waiting, until `propose` gives nothing more and none runs."""
        while True:
            trials = self._trials()
            self._submit(trials)  # what waits starts before anything new is thought about
            room = self.workers.slots + 1 - sum(trial.state in WAITING for trial in trials)
            proposals = propose(trials, room) if room > 0 else []
            if proposals:
                trials = self._add(proposals, trials)
                self._submit(trials)
            if not self._in_flight:
                if proposals:  # all of them were trained before, by another search
                    continue
                return
            for event in self.workers.wait(POLL_S):
                self._take(event)
            self._keep_lease()
            yield self._snapshot(self._phase(trials), self._trials())

    def _keep_lease(self) -> None:
        """Say from time to time that this driver lives; LeaseLost where another has taken its place."""
        if time.monotonic() - self._renewed_s > LEASE_S / 4:
            self.store.renew_lease(self.search.id, owner=self.owner, ttl_s=LEASE_S)
            self._renewed_s = time.monotonic()

    def _explore(self, trials: list[Trial], room: int) -> list[Proposal]:
        """Return the missing experts, or else what the strategy proposes and the budget pays."""
        if self._over:
            return []
        if experts := self._experts(trials):
            return experts
        evidence = self._evidence(trials)
        seed = self.setting.config.seed * 1_000_003 + len(trials)
        kept: list[Proposal] = []
        for proposal in self.strategy.propose(evidence, n=room, seed=seed):
            cost = self.setting.problem.ladder[proposal.fidelity].cost_flops
            refusal = self._allowance(trials, kept).refusal(proposal.fidelity, cost)
            if refusal:
                self._over = True
                self._say(f"the search ends after {len(trials) + len(kept)} trials: {refusal}")
                break
            kept.append(proposal)
        return kept

    def _experts(self, trials: Sequence[Trial]) -> list[Proposal]:
        """Return a proposal for every domain whose expert was never asked for."""
        experts = self.setting.config.experts
        if experts is None:
            return []
        rung = self.setting.config.rung(experts.rung)
        asked = {name for t in trials if t.purpose == "expert" for name, weight in t.weights.items() if weight == 1.0}
        return [
            Proposal(
                mixture=Mixture({n: float(n == name) for n in self.setting.names}),
                fidelity=rung.name if self.setting.expert_tokens(name) == rung.tokens else EXPERT_FIDELITY,
                seed=0,
                purpose="expert",
                reason=f"the data expert of {name}",
            )
            for name in self.setting.names
            if name not in asked
        ]

    def _decide(self) -> None:
        """Record the recommendation and the fit behind it."""
        trials = self._trials()
        evidence = self._evidence(trials)
        if not evidence.history.observations:
            raise SearchError(self._hopeless(trials))
        payload, model = decide(evidence, self.setting)
        self.store.add_fit(self.search.id, seen=evidence.seen, payload=model)
        self.store.add_recommendation(self.search.id, payload=payload)

    def _prove(self, trials: list[Trial], room: int) -> list[Proposal]:
        """Return every trial of the proof at once, when none was ever asked for."""
        if not self.setting.config.proof or any(trial.purpose == "proof" for trial in trials):
            return []
        seeds = proof_seeds(self.setting, self._seconds(trials), slots=self.workers.slots)
        if seeds < self.setting.config.proof.seeds:
            self._say(
                f"the proof takes {seeds} seeds, not {self.setting.config.proof.seeds}: "
                "the time limit has no room for more"
            )
        return proof_proposals(self.setting, self._recommendation(), seeds=seeds)

    def _conclude(self) -> None:
        """Record what the proof says."""
        payload = self._recommendation()
        if self.setting.config.proof and payload["proof"] is None:
            self.store.add_recommendation(self.search.id, payload=conclude(payload, self._trials(), self.setting))

    def _add(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> list[Trial]:
        """Write the proposals down before anything else happens to them; those already trained are done at once."""
        evidence = self._evidence(trials)
        part = "proof" if proposals[0].purpose == "proof" else "search"
        rows = [new_trial(proposal, self.setting, evidence, part=part) for proposal in proposals]
        for trial in self.store.add_trials(self.search.id, rows):
            if trial.state == "completed":
                self._say(f"{self._title(trial)}: trained before, {self._result(trial)}")
        return self._trials()

    def _submit(self, trials: Sequence[Trial]) -> None:
        """Hand the workers as many trials as they have slots for."""
        for trial in trials:
            if len(self._in_flight) >= self.workers.slots:
                return
            if trial.state == "queued" and trial.id not in self._in_flight:
                self.store.start(trial.id, worker=type(self.workers).__name__)
                self._in_flight[trial.id] = trial
                job = self.setting.job(trial)
                self._tokens[trial.id] = job.tokens
                self.workers.submit(job)

    def _take(self, event: Outcome | JobProgress) -> None:
        """Record one event of the workers."""
        trial = self._in_flight[event.key]
        if isinstance(event, JobProgress):
            self._fractions[trial.id] = event.tokens / self._tokens[trial.id]
            return
        del self._in_flight[event.key]
        self._fractions.pop(event.key, None)
        if event.state == "lost" and self.store.trial(self.search.id, trial.number).attempts < MAX_ATTEMPTS:
            self.store.requeue_trial(trial.id, error=event.error or "worker lost")
            self._say(f"{self._title(trial)}: {event.error}; it starts again")
            return
        record(self.store, trial, event, gold=self.setting.gold(trial))
        ended = self.store.trial(self.search.id, trial.number)
        self._say(f"{self._title(ended)}: {self._result(ended)}")
        trials = self._trials()
        if self._is_hopeless(trials):
            raise SearchError(self._hopeless(trials))

    def _is_hopeless(self, trials: Sequence[Trial]) -> bool:
        failed = sum(trial.state == "failed" for trial in trials)
        return failed >= HOPELESS and not any(trial.state == "completed" for trial in trials)

    def _hopeless(self, trials: Sequence[Trial]) -> str:
        errors = [trial.error for trial in trials if trial.error]
        last = errors[-1].splitlines()[0] if errors else "no trial was run: the budget pays for none"
        failed = sum(trial.state in ("failed", "diverged") for trial in trials)
        return f"no trial succeeded and {failed} failed, the last one with: {last}; mend it and run again"

    # What there is to see

    def _title(self, trial: Trial) -> str:
        return f"trial {trial.number} ({trial.reason}, {trial.fidelity})"

    def _result(self, trial: Trial) -> str:
        if trial.state != "completed":
            return f"{trial.state}: {(trial.error or '').splitlines()[0] if trial.error else 'no reason given'}"
        took = f", {trial.elapsed_s:.1f} s" if trial.elapsed_s is not None else ""
        return f"objective {self.setting.problem.objective.value(trial.losses):.4f}{took}"

    def _say(self, line: str) -> None:
        self._news.append(line)

    def _trials(self) -> list[Trial]:
        return self.store.trials(self.search.id)

    def _evidence(self, trials: Sequence[Trial]) -> Evidence:
        if self._ensemble is None:
            self._ensemble = self.ensemble_of(trials)
        return read_evidence(trials, self.setting, self._ensemble)

    def _recommendation(self) -> dict[str, object]:
        found = self.store.recommendation(self.search.id)
        assert found is not None
        return dict(found.payload)

    def _phase(self, trials: Sequence[Trial]) -> Phase:
        if any(trial.purpose == "proof" for trial in trials):
            return "proof"
        waiting = [trial for trial in trials if trial.state in WAITING]
        return "experts" if waiting and all(trial.purpose == "expert" for trial in waiting) else "search"

    def _allowance(self, trials: Sequence[Trial], kept: Sequence[Proposal] = ()) -> Allowance:
        """Return what may still be spent when `kept` are proposed as well."""
        ladder = self.setting.problem.ladder
        costs = {rung.name: rung.cost_flops for rung in ladder}
        seconds = self._seconds(trials)
        proofs = (
            0
            if any(trial.purpose == "proof" for trial in trials)
            else proof_size(self.setting, seconds, slots=self.workers.slots)
        )
        pending = [(t.fidelity, 1.0 - self._fractions.get(t.id, 0.0)) for t in trials if t.state in WAITING]
        pending += [(proposal.fidelity, 1.0) for proposal in kept]
        return Allowance(
            budget_flops=self.setting.config.budget_flops,
            charged_flops=sum(t.charged_flops for t in trials if t.state != "cancelled")
            + sum(costs[p.fidelity] for p in kept),
            reserve_flops=proofs * self.setting.flops(ladder.top.name, "proof", ladder.top.tokens),
            limit_s=self.setting.config.time_limit_s,
            elapsed_s=self.elapsed_before_s + self.workers.clock() - self._started_s,
            slots=self.workers.slots,
            trial_s=seconds,
            pending_s=sum(seconds.get(fidelity, 0.0) * left for fidelity, left in pending),
            reserve_s=proofs * seconds.get(ladder.top.name, 0.0),
        )

    def _seconds(self, trials: Sequence[Trial]) -> dict[str, float]:
        return seconds_a_trial(trials, {rung.name: rung.cost_flops for rung in self.setting.problem.ladder})

    def _snapshot(self, phase: Phase, trials: Sequence[Trial]) -> Snapshot:
        counts: dict[str, int] = {}
        for trial in trials:
            counts[trial.state] = counts.get(trial.state, 0) + 1
        news, self._news = tuple(self._news), []
        running = tuple(
            Running(number=t.number, purpose=t.purpose, fidelity=t.fidelity, fraction=self._fractions.get(t.id, 0.0))
            for t in self._in_flight.values()
        )
        return Snapshot(
            phase=phase,
            counts=counts,
            running=running,
            best=self._best(trials),
            allowance=self._allowance(trials),
            news=news,
        )

    def _best(self, trials: Sequence[Trial]) -> tuple[int, str, float] | None:
        """Return the best observation of the highest rung that has one."""
        observations = read_evidence(trials, self.setting, None).history.observations
        ladder, objective = self.setting.problem.ladder, self.setting.problem.objective
        for rung in reversed(ladder.rungs):
            values = [(objective.value(o.losses), o.trial) for o in observations if o.fidelity == rung.name]
            if values:
                value, number = min(values)
                return number, rung.name, value
        return None
