"""The loop: propose, train, record, until the budget is spent; then recommend, and prove it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from math import ceil
from statistics import median
from typing import Any

from mixopt.config import SearchConfig
from mixopt.errors import DomainsChanged, SearchError, SearchStopped
from mixopt.evidence import IMPORTED, Evidence, Experts, Proposal, Purse, Strategy
from mixopt.optimize.strategies import STRATEGIES
from mixopt.search.allowance import Allowance, seconds_a_trial
from mixopt.search.brain import Brain, Fault, Question
from mixopt.search.dues import awaits_experts, check_budget, expert_proposals
from mixopt.search.expert_agreement import expert_agreement
from mixopt.search.finish import conclude, decide, proof_flops, proof_proposals, proof_seeds, proof_trials
from mixopt.search.lease import HeldLease
from mixopt.search.ledger import (
    WAITING,
    begun,
    expert_folders,
    expert_runs,
    gold_folders,
    lasting_recommendation,
    new_trial,
    read_evidence,
    read_history,
    record,
    take_back,
    trained_experts,
)
from mixopt.search.packing import most_together, packs
from mixopt.search.provenance import provenance
from mixopt.search.revising import CHANGE_DOMAINS, REVISE
from mixopt.search.setting import Setting
from mixopt.search.snapshot import Phase, Running, Snapshot, best_of, count_states, hopeless, phase_of, result, title
from mixopt.search.telling import handed_out
from mixopt.search.wishes import ASK, CANCEL, heed, heed_waiting
from mixopt.workers import Job, JobProgress, Outcome, Workers
from proxies.checkpoint import remove
from proxies.pace import Pace
from store import FAILED, Attempt, NewTrial, RunInTraining, Search, Store, Trial

POLL_S = 0.5
GLANCE_S = 0.05  # where a slot is free and its trial is being thought of
LITTLE = 0.02  # of a trial: thinking that takes less need not be done ahead
MOST_ROUNDS = 2  # of trials, at most, are thought of before their turn: they know less than those thought of late
LAST = 16  # trials that tell how long one takes
MAX_ATTEMPTS = 3  # a worker lost this often took the trial with it
HOPELESS = 4  # so many failures without one success are the proxy's fault, not the mixtures'

Begins = Callable[[Proposal, Sequence[Trial], Setting, Store], str | None]
ExpertsOf = Callable[[Sequence[Trial]], Experts | None]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Trials to run next; seen: what was known when they were thought of (None: all that is); refusal: why no more."""

    proposals: Sequence[Proposal] = ()
    seen: tuple[int, ...] | None = None
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the brain thinks about: for whom (None: the driver), in what setting, and after how many trials.

    room: how many trials are wanted; the question may be for more, of which an opening counts.
    """

    question: Question
    asker: str | None
    setting: Setting
    trials: int
    room: int


@dataclass(kw_only=True)
class Driver:
    """One driver of one search. All that matters is in the store; what is kept here only saves reading it again.

    paces: of the rungs whose trials may train together, as measured.
    """

    setting: Setting
    search: Search
    store: Store
    lease: HeldLease
    workers: Workers
    strategy: Strategy
    experts_of: ExpertsOf
    brain: Brain = field(default_factory=Brain)
    paces: Mapping[str, Pace] = field(default_factory=dict)
    elapsed_before_s: float = 0.0
    _asked: _Asked | None = None
    _in_flight: dict[int, tuple[Trial, Job]] = field(default_factory=dict)
    _programs: dict[int, int] = field(default_factory=dict)
    _fractions: dict[int, float] = field(default_factory=dict)
    _news: list[str] = field(default_factory=list)
    _experts: Experts | None = None
    _experts_runs: Mapping[str, str] = field(default_factory=dict)
    _started_s: float = 0.0
    _driven_before_s: float = 0.0
    _over: bool = False
    _mark: int = 0
    _known: dict[int, Trial] = field(default_factory=dict)
    _awaited: set[int] = field(default_factory=set)
    _substituted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.brain.told = self._hear_of

    def drive(self) -> Iterator[Snapshot]:
        """Run the search to its end, and yield what there is to see; leaving early loses nothing.

        Raises:
            SearchError: the budget pays not even for the experts and the proof, or no training succeeds.
            LeaseLost: another driver has taken this one's place.
        """
        self._started_s = self.workers.clock()
        self._resume()
        self.store.set_state(self.search.id, "running")
        while True:
            yield from self._until_idle(self._explore)
            if self._recommendation() is None:
                self._decide()
            yield from self._until_idle(self._prove)
            if self._recommendation() is not None:  # a trial that it rests on may be retracted, or the search revised
                break
        self._conclude()
        for line in heed_waiting(self.store, self.search):
            self.say(line)
        self.store.set_state(self.search.id, "finished")
        yield self._snapshot("finished", self._trials())

    def put_away(self) -> None:
        """Record what has ended and put back what has not, where a search is left: then the store knows all."""
        for outcome in self.workers.finished():
            if outcome.key in self._in_flight and outcome.state != "halted":
                trial, job = self._landed(outcome.key)
                record(self.store, trial, outcome, gold=job.gold)
                remove(job.checkpoint)
        self.store.requeue(self.search.id)

    def _resume(self) -> None:
        again = self.store.requeue(self.search.id)
        self.store.settle(self.search.id)
        said = take_back(self.store, self._trials(), self.setting)
        if said is not None:
            self.say(said)
        trials = self._trials()
        self._over = self.store.search(self.search.id).explored or self._recommendation() is not None
        if trials:
            done = sum(trial.state == "completed" for trial in trials)
            self.say(f"resumed: {done} trials are done and stay, {len(again)} were interrupted and start again")
            self._driven_before_s = self._driven(trials)
        else:
            check_budget(self.setting)

    def _driven(self, trials: Sequence[Trial]) -> float:
        """Return for how long earlier drivers drove the search; a guess where they did not say."""
        said = self.store.driven_s(self.search.id)
        return sum(trial.elapsed_s or 0.0 for trial in trials) / self.workers.slots if said is None else said

    @property
    def _driven_s(self) -> float:
        """For how long the search has been driven, on the clock of its workers."""
        return self._driven_before_s + self.workers.clock() - self._started_s

    def _until_idle(self, propose: Callable[[list[Trial], int], Chosen]) -> Iterator[Snapshot]:
        """Keep every slot busy, and one trial waiting, until `propose` gives nothing more and none runs."""
        while True:
            self.lease.check()
            self._hear()
            if self._awaited:
                self.store.settle(self.search.id)
            trials = self._trials()
            self._submit(trials)  # what waits starts before anything new is thought about
            at_once = self.workers.slots * (self.setting.config.workers.together or 1)
            room = at_once + self._ahead(trials) - sum(map(self._is_ours, trials))
            chosen = propose(trials, room) if room > 0 or self._asked else Chosen()
            if chosen.proposals:
                trials = self._add(chosen, trials, begins=begun)
                self._submit(trials)
            if not (self._in_flight or chosen.proposals or self._awaited or self._asked):
                return
            if self._awaited and not self._in_flight:
                time.sleep(POLL_S)
            is_short = self._asked is not None and self._free > 0
            for event in self.workers.wait(GLANCE_S if is_short else POLL_S) if self._in_flight else ():
                self._take(event)
            trials = self._trials()
            yield self._snapshot(phase_of(trials), trials)

    def _ahead(self, trials: Sequence[Trial]) -> int:
        """Return how many trials are to wait for a slot: one, or rounds where thinking of the next ones takes long."""
        if not self.brain.is_apart:
            return 1
        took = [t.elapsed_s for t in trials if t.state == "completed" and t.elapsed_s and t.purpose != IMPORTED]
        trial_s = median(took[-LAST:]) if took else 0.0
        if self.brain.thought_s < LITTLE * trial_s:
            return 1
        # Between two answers lie two thoughts at most: what ended since the first was asked waits for the second.
        rounds = ceil(2.0 * self.brain.thought_s / trial_s) if trial_s else 1
        return self.workers.slots * min(rounds, MOST_ROUNDS)

    def _hear(self) -> None:
        """Do what others ask for: to stop a trial, or the search; to propose trials; to record what was told.

        Raises:
            SearchStopped: it was the search. DomainsChanged: its workers, brain and experts know others than there are.
        """
        for message in self.store.messages(self.search.id):
            if message.kind == ASK:
                said = self.hand_out(int(message.payload["n"]), str(message.payload["asker"]))
                if said is not None:
                    self.say(said)
                    self.store.mark_drained(message.id)
                continue
            if message.kind != CANCEL:
                said = heed(self.store, self.search, message)
                self.say(said)
                if message.kind == REVISE:
                    self._take_up()
                if message.kind == CHANGE_DOMAINS and self._is_revised():
                    raise DomainsChanged(said)
                continue
            self.store.mark_drained(message.id)  # first: the next driver is not to stop again
            if message.payload["trial"] is None:
                name = self.search.name
                raise SearchStopped(f"search {name!r} was asked to stop, and did; to go on, run the same command again")
            self._cancel(int(message.payload["trial"]))

    def _take_up(self) -> None:
        """Go on with the search as it was revised: from the next proposal on, with what was seen so far."""
        self.search = self.store.search(self.search.id)
        config = SearchConfig.from_plain(self.search.config, root=self.setting.config.root)
        if config.digest() == self.setting.config.digest():
            return
        self.setting = Setting.of(config, self.setting.text, artifacts=self.setting.artifacts)
        self.strategy = STRATEGIES[config.strategy.name](self.setting.problem)
        self._over = False

    def _is_revised(self) -> bool:
        """Say whether the search stands otherwise than this driver goes by."""
        return self.store.search(self.search.id).config_hash != self.setting.config.digest()

    def _cancel(self, number: int) -> None:
        """End one trial that is not over; nothing is charged for it, and its mixture may be proposed again."""
        for trial in self._trials():
            if trial.number == number and trial.state in WAITING:
                self.workers.cancel(trial.id)
                if trial.id in self._in_flight:
                    self._landed(trial.id)
                remove(self.setting.checkpoint(trial.run_hash))
                self._fractions.pop(trial.id, None)
                self.store.fail(trial.id, state="cancelled", error="somebody asked for it")
                self.say(f"{title(trial)}: cancelled, as somebody asked")

    def _explore(self, trials: list[Trial], room: int) -> Chosen:
        """Return the missing experts, or else what the strategy proposes and the budget pays."""
        if self._over or self.setting.config.trained_outside:
            return Chosen()
        if experts := expert_proposals(self.setting, trials):
            return Chosen(proposals=experts)
        if awaits_experts(self.setting, trials):
            return Chosen()
        chosen = self._chosen(trials, room, asker=None, opening=self._opening(trials))
        if chosen is None:
            return Chosen()
        if chosen.refusal is not None and not chosen.proposals:
            self._over = True
            if any(trial.state == "completed" for trial in trials):  # else whoever mends the cause begins anew
                self.store.set_explored(self.search.id)  # with more evidence, the next driver might go on
            self.say(f"the search ends after {len(trials)} trials{chosen.refusal}")
        return chosen

    def _opening(self, trials: Sequence[Trial]) -> int:
        """Return how many trials to begin with, where those may have company that precede any model; else 0."""
        if any(trial.purpose != "expert" for trial in trials):
            return 0
        strategy, most = self.setting.config.strategy, max(most_together(self.setting, self.paces).values())
        return min(self.workers.slots * most, strategy.natural_seeds + strategy.spread) if most > 1 else 0

    def _chosen(self, trials: Sequence[Trial], n: int, *, asker: str | None, opening: int = 0) -> Chosen | None:
        """Return `n` trials that the strategy proposes and the budget pays; None while the brain thinks.

        opening: where more than `n`, as many of those that precede any model.

        What was thought of for another setting, or before trials came from elsewhere, is thrown away.
        """
        if self._asked is None:
            evidence = replace(self._evidence(trials), purse=self._purse(trials))
            seed = self.setting.config.seed * 1_000_003 + len(trials)
            question = Question(strategy=self.strategy, evidence=evidence, n=max(n, opening), seed=seed)
            self._asked = _Asked(question=question, asker=asker, setting=self.setting, trials=len(trials), room=n)
            self.brain.ask(question)
        asked = self._asked
        if asked.asker != asker:
            return None
        proposals = self.brain.answer(0.0 if self._in_flight else POLL_S)
        if proposals is None:
            return None
        self._asked = None
        if asked.setting is not self.setting or asked.trials != len(trials):
            return None
        return self._paid(proposals, asked, trials)

    def _paid(self, proposals: Sequence[Proposal], asked: _Asked, trials: Sequence[Trial]) -> Chosen:
        """Return those of `proposals` that the budget pays, and why they are fewer than asked for, in words."""
        question = asked.question
        openings = sum(1 for _ in takewhile(lambda proposal: proposal.purpose == "design", proposals))
        kept: list[Proposal] = []
        for proposal in proposals[: max(asked.room, openings)]:
            refusal = self._allowance(trials, kept).refusal(proposal.fidelity, self.setting.flops_of(proposal))
            if refusal:
                return Chosen(proposals=kept, seen=question.evidence.seen, refusal=f": {refusal}")
            kept.append(proposal)
        if len(proposals) >= asked.room:
            return Chosen(proposals=kept, seen=question.evidence.seen)
        least = self.setting.config.strategy.stop_below
        refusal = (
            f", before its budget: no other is expected to gain {least:g} bits per byte for what a trial at the top "
            "rung costs"
        )
        return Chosen(proposals=kept, seen=question.evidence.seen, refusal=refusal)

    def _hear_of(self, news: Fault | str) -> None:
        """Say what the brain has to tell, and record what went wrong with it."""
        if isinstance(news, str):
            self.say(news)
            return
        self.say(f"the strategy failed: {news.line}")
        session = provenance(self.setting, self.workers, self.paces) | {"brain": news.details}
        self.store.add_session(self.search.id, provenance=session)

    def hand_out(self, n: int, asker: str) -> str | None:
        """Propose `n` trials that `asker` trains and tells of, and say what came of it; heard twice, it is done once.

        They are in training from then on; a mixture that was trained before is done at once and counts for none.
        None: they are still being thought of.
        """
        if awaits_experts(self.setting, self._trials()):
            return None
        refusal: str | None = None
        while (lacking := n - len(handed_out(self.store, self.search, asker))) > 0 and refusal is None:
            trials = self._trials()
            chosen = self._chosen(trials, lacking, asker=asker)
            if chosen is None:
                return None
            refusal = chosen.refusal
            for trial in self._add(chosen, trials)[len(trials) :] if chosen.proposals else []:
                if trial.state == "queued":
                    self.store.start(trial.id, worker=asker)
        given = ", ".join(str(trial.number) for trial in handed_out(self.store, self.search, asker)) or "none"
        return f"handed out, as somebody asked for {n} trials: {given}{refusal or ''}"

    def _is_ours(self, trial: Trial) -> bool:
        """Say whether this driver trains `trial`, or will: what else is in training was handed out."""
        return trial.state == "queued" or trial.id in self._in_flight

    def _purse(self, trials: Sequence[Trial]) -> Purse:
        """Return what a strategy may spend; where time ends before the money does, what it buys at the top rung."""
        allowance = self._allowance(trials)
        experts = sum(trial.charged_flops for trial in trials if trial.purpose == "expert")
        left = allowance.search_flops(self.setting.problem.ladder.top)
        return Purse(total_flops=left + allowance.charged_flops - experts, left_flops=left)

    def _decide(self) -> None:
        """Record the recommendation and the fit behind it."""
        trials = self._trials()
        evidence = self._evidence(trials)
        if not evidence.history.observations:
            raise SearchError(hopeless(self.search.name, trials, self.setting))
        payload, model = decide(evidence, self.setting, proof_seeds=self._proof_seeds(trials))
        folders = gold_folders(self.store, trials, self.setting)
        opening = {trial.number for trial in trials if trial.purpose == "design"}
        payload["experts"] = expert_agreement(evidence, self.setting, folders, opening=opening)
        self.store.add_fit(self.search.id, seen=evidence.seen, payload=model)
        self.store.add_recommendation(self.search.id, payload=payload)

    def _proof_seeds(self, trials: Sequence[Trial]) -> int:
        """Return how many seeds the proof takes, and say where they are fewer than asked for or end too late."""
        proof = self.setting.config.proof
        if not proof:
            return 0
        allowance = self._allowance(trials)
        top = self.setting.problem.ladder.top.name
        left_flops = allowance.budget_flops - allowance.charged_flops
        top_s = allowance.trial_s.get(top)
        seeds = proof_seeds(self.setting, trials, top_s=top_s, slots=self.workers.slots, left_flops=left_flops)
        if seeds < proof.seeds:
            self.say(f"the proof takes {seeds} seeds, not {proof.seeds}: budget or time limit have no room for more")
        late_s = allowance.elapsed_s + allowance.reserve_s / allowance.slots - (allowance.limit_s or float("inf"))
        if late_s > 0.0:
            self.say(f"the proof will end about {late_s:.0f} s after the time limit: this machine is slow for it")
        return seeds

    def _prove(self, trials: list[Trial], room: int) -> Chosen:  # as every proposer
        """Return every trial that the proof lacks, all at once."""
        payload = self._recommendation()
        return Chosen() if payload is None else Chosen(proposals=proof_proposals(self.setting, payload, trials))

    def _conclude(self) -> None:
        """Record what the proof says."""
        payload = self._recommendation()
        assert payload is not None
        if payload["proof_seeds"] and payload["proof"] is None:
            self.store.add_recommendation(self.search.id, payload=conclude(payload, self._trials(), self.setting))

    def _add(self, chosen: Chosen, trials: Sequence[Trial], *, begins: Begins | None = None) -> list[Trial]:
        """Write the proposals down before anything else happens to them; those already trained are done at once.

        begins: names the run that a training may go on from.
        """
        seen = self._evidence(trials).seen if chosen.seen is None else chosen.seen
        rows = [
            new_trial(
                p,
                self.setting,
                seen=seen,
                continues=begins(p, trials, self.setting, self.store) if begins else None,
                experts=expert_runs(p, trials, self.setting),
            )
            for p in chosen.proposals
        ]
        self._tell_of_substitutes(rows)
        for trial in self.store.add_trials(self.search.id, rows):
            if trial.state == "completed":
                self.say(f"{title(trial)}: trained before, {result(trial, self.setting)}")
        return self._trials()

    def _tell_of_substitutes(self, rows: Sequence[NewTrial]) -> None:
        """Say which data experts are missing where a training starts from them, once."""
        for row in rows:
            runs = row.content.get("experts", {})
            assert isinstance(runs, Mapping)
            lacking = {name for name, run in runs.items() if run is None} - self._substituted
            if lacking:
                self.say(
                    f"rung {row.fidelity} starts without the data experts of {', '.join(sorted(lacking))}, which could "
                    "not be trained: the mean of the others stands in for them"
                )
            self._substituted |= lacking

    def _submit(self, trials: Sequence[Trial]) -> None:
        """Hand the workers a program for every slot that is free; content that others train is waited for."""
        awaited, self._awaited = self._awaited, set()
        most, slots = most_together(self.setting, self.paces), self.workers.slots
        waiting = [trial for trial in trials if trial.state == "queued" and trial.id not in self._in_flight]
        while waiting and self._free > 0:
            rungs = [self.setting.rung_of(trial) for trial in waiting]
            found = packs(rungs, most, slots=slots, free=self._free)
            for places in found:
                started = [waiting[place] for place in places if self._start(waiting[place], awaited)]
                for trial in started:
                    self._programs[trial.id] = started[0].id
                if started:
                    self.workers.submit(*(self._in_flight[trial.id][1] for trial in started))
            taken = {place for places in found for place in places}
            waiting = [trial for place, trial in enumerate(waiting) if place not in taken]

    @property
    def _free(self) -> int:
        """How many slots have no program."""
        return self.workers.slots - len(set(self._programs.values()))

    def _start(self, trial: Trial, awaited: set[int]) -> bool:
        """Say that `trial` is in training now, unless another search trains its content already."""
        content = self.store.run(trial.run_hash).content
        begins_with = content.get("experts") if self.setting.config.has_own_text else None
        experts = expert_folders(self.store, begins_with) if begins_with is not None else None
        try:
            attempt = self.store.start(trial.id, worker=type(self.workers).__name__, began_s=self._driven_s)
        except RunInTraining as error:
            self._awaited.add(trial.id)
            if trial.id not in awaited:
                self.say(f"{title(trial)} waits: {error}")
            return False
        job = self.setting.job(
            trial,
            attempt=attempt.number,
            began_s=self._began_s(attempt),
            continues=content.get("continues"),
            experts=experts,
        )
        self._in_flight[trial.id] = (trial, job)
        return True

    def _landed(self, key: int) -> tuple[Trial, Job]:
        """Return the trial in flight of that key, which is over."""
        self._programs.pop(key, None)
        return self._in_flight.pop(key)

    def _began_s(self, attempt: Attempt) -> float | None:
        """Return when the first attempt at a trial began, on the workers' clock; None where this is the first."""
        earlier = self.store.attempts(attempt.trial_id)[:-1]
        said = [each.began_s for each in earlier if each.began_s is not None]
        return min(said) - self._driven_before_s + self._started_s if said else None

    def _take(self, event: Outcome | JobProgress) -> None:
        """Record one event of the workers."""
        trial, job = self._in_flight[event.key]
        if isinstance(event, JobProgress):
            self._fractions[trial.id] = event.tokens / job.tokens
            self.store.beat(trial.id, spent_flops=trial.charged_flops * self._fractions[trial.id])
            return
        self._landed(event.key)
        self._fractions.pop(event.key, None)
        if event.state == "lost" and self.store.trial(self.search.id, trial.number).attempts < MAX_ATTEMPTS:
            self.store.requeue_trial(trial.id, error=event.error or "worker lost", node=event.node)
            self.say(f"{title(trial)}: {event.error}; it starts again")
            return
        if event.state == "halted":
            said = (event.error or "the disk is full").splitlines()[0]
            self.store.requeue_trial(trial.id, error=said, node=event.node)
            raise SearchError(f"{title(trial)} waits: {said}; make room on that disk, and run again")
        record(self.store, trial, event, gold=job.gold)
        remove(job.checkpoint)  # not before: were this driver to die now, the next one would go on from it
        self.say(f"{title(trial)}: {result(self.store.trial(self.search.id, trial.number), self.setting)}")
        trials = self._trials()
        failed = sum(trial.state in FAILED for trial in trials)
        if failed >= HOPELESS and not any(trial.state == "completed" for trial in trials):
            raise SearchError(hopeless(self.search.name, trials, self.setting))

    # What there is to see

    def say(self, *lines: str) -> None:
        """Tell whoever watches."""
        self._news += lines

    def _trials(self) -> list[Trial]:
        """Return the trials as they are now, having read those that were altered since the last time."""
        changes = self.store.changes(self.search.id, since=self._mark)
        self._mark = changes.mark
        self._known.update({trial.number: trial for trial in changes.trials})
        return list(self._known.values())  # a new one has the highest number, so that they stay in order

    def _evidence(self, trials: Sequence[Trial]) -> Evidence:
        runs = trained_experts(trials)
        if self._experts is None or self._experts_runs != runs:  # one may have been taken back, and trained again
            self._experts, self._experts_runs = self.experts_of(trials), runs
        return read_evidence(trials, self.setting, self._experts)

    def _recommendation(self) -> dict[str, Any] | None:
        """Return the recommendation that stands, None where there is none, or its file or trials are others now."""
        found = lasting_recommendation(self.store, self.search.id, self.setting.config)
        return None if found is not None and self.setting.config.trained_outside and self._told_since() else found

    def _told_since(self) -> bool:
        """Say whether anything was told since the last fit."""
        fit = self.store.latest_fit(self.search.id)
        return fit is None or tuple(fit.seen) != read_history(self._trials(), self.setting).seen

    def _allowance(self, trials: Sequence[Trial], kept: Sequence[Proposal] = ()) -> Allowance:
        """Return what may still be spent when `kept` are proposed as well."""
        ladder, config = self.setting.problem.ladder, self.setting.config
        seconds = seconds_a_trial(trials, {rung.name: rung.cost_flops for rung in ladder})
        top_s, slots = seconds.get(ladder.top.name), self.workers.slots
        decided = self._over and self._recommendation() is not None
        seeds = (
            0
            if decided
            else proof_seeds(self.setting, trials, top_s=top_s, slots=slots, left_flops=config.budget_flops)
        )
        proofs = proof_trials(self.setting, seeds=seeds, trials=trials) if seeds else 0
        pending = [(t.fidelity, 1.0 - self._fractions.get(t.id, 0.0)) for t in trials if self._is_ours(t)]
        pending += [(proposal.fidelity, 1.0) for proposal in kept]
        charged = sum(trial.charged_flops for trial in trials) + sum(self.setting.flops_of(p) for p in kept)
        return Allowance(
            budget_flops=config.budget_flops,
            charged_flops=charged,
            reserve_flops=proofs * proof_flops(self.setting),
            limit_s=config.time_limit_s,
            elapsed_s=self.elapsed_before_s + self._driven_s,
            slots=slots,
            trial_s=seconds,
            pending_s=sum(seconds.get(fidelity, 0.0) * left for fidelity, left in pending),
            reserve_s=proofs * (top_s or 0.0),
        )

    def _snapshot(self, phase: Phase, trials: Sequence[Trial]) -> Snapshot:
        news, self._news = tuple(self._news), []
        running = tuple(
            Running(number=t.number, purpose=t.purpose, fidelity=t.fidelity, fraction=self._fractions.get(t.id, 0.0))
            for t, _ in self._in_flight.values()
        )
        return Snapshot(
            phase=phase,
            counts=count_states(trials),
            running=running,
            best=best_of(trials, self.setting),
            allowance=self._allowance(trials),
            news=news,
        )
