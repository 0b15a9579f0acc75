"""The store: the one way in and out. Every method is one transaction, and returns frozen records."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy.orm import Session

from store import (
    attempts,
    details,
    domains,
    fits,
    inbox,
    leases,
    retractions,
    runs,
    searches,
    sessions,
    table,
    tallies,
    throughputs,
    trials,
    upkeep,
)
from store.engine import Connections
from store.errors import StoreError
from store.migrate import ensure_current
from store.records import (
    Artifact,
    Attempt,
    Changes,
    CurvePoint,
    DomainChange,
    DriverSession,
    Fit,
    Lease,
    Message,
    NewTrial,
    Recommendation,
    Result,
    Retraction,
    Revision,
    Run,
    Search,
    Table,
    Tally,
    Totals,
    Trial,
    TrialDetail,
)
from store.schema import TrialRow


class Store:
    """A ledger of searches in a file or a database, `location` being a path or a URL.

    A new one gets its tables; one with other tables than this program's is a SchemaMismatch. `read_only` never creates,
    migrates or writes. Usable from several threads and programs at once; every method may raise a StoreError.
    """

    def __init__(self, location: str | Path, *, read_only: bool = False) -> None:
        self._connections = Connections(location, read_only=read_only)
        self._held: dict[int, str] = {}  # the owners that took leases here
        try:
            ensure_current(self._connections)
        except StoreError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the store."""
        self._connections.close()

    @contextmanager
    def _write(self) -> Iterator[Session]:
        """Yield a session that writes, unless a lease taken here is another's now: then LeaseLost, and no trace."""
        with self._connections.write() as session:
            for search_id, owner in self._held.items():
                leases.confirm(session, search_id, owner=owner)
            yield session

    def create_search(
        self,
        *,
        name: str,
        seed: int,
        config: Mapping[str, object],
        config_hash: str,
        corpus: Mapping[str, object],
        domains: Mapping[str, int],
    ) -> Search:
        """Add a search, running; `domains` maps each to its available tokens. SearchExists where the name is taken."""
        with self._write() as session:
            return searches.create(
                session, name=name, seed=seed, config=config, config_hash=config_hash, corpus=corpus, domains=domains
            )

    def find_search(self, name: str) -> Search | None:
        """Return a search by its name; None where there is none."""
        with self._connections.read() as session:
            return searches.find(session, name)

    def search(self, search_id: int) -> Search:
        """Return a search by its id."""
        with self._connections.read() as session:
            return searches.get(session, search_id)

    def searches(self) -> list[Search]:
        """Return every search, oldest first."""
        with self._connections.read() as session:
            return searches.read(session)

    def revise_search(self, search_id: int, *, config: Mapping[str, object], config_hash: str, note: str) -> Revision:
        """Record a changed configuration, from then on the search's; an unchanged one is not recorded again."""
        with self._write() as session:
            return searches.revise(session, search_id, config=config, config_hash=config_hash, note=note)

    def change_domains(
        self,
        search_id: int,
        change: DomainChange,
        *,
        config: Mapping[str, object],
        config_hash: str,
        note: str,
    ) -> Revision:
        """Record what became of the domains of a search, with its configuration from then on.

        No row of before is altered: trials read with the weights of the domains as they are now, or as "outdated".
        """
        with self._write() as session:
            revision = searches.revise(session, search_id, config=config, config_hash=config_hash, note=note)
            domains.add(session, search_id, change, revision=revision.number, note=note)
            trials.mark_all(session, search_id)
            return revision

    def revisions(self, search_id: int) -> list[Revision]:
        """Return every configuration that a search has had, oldest first."""
        with self._connections.read() as session:
            return searches.revisions(session, search_id)

    def set_state(self, search_id: int, state: str) -> None:
        """Record that a search is "running", "finished", "stopped" or "failed"."""
        with self._write() as session:
            searches.set_state(session, search_id, state)

    def set_explored(self, search_id: int) -> None:
        """Record that a search has nothing more to propose; a revision or a retraction takes that back."""
        with self._write() as session:
            searches.set_explored(session, search_id)

    def add_trials(self, search_id: int, new: Sequence[NewTrial]) -> list[Trial]:
        """Add all of `new` or none, queued; one whose run is measured already is completed at once, charged as any."""
        with self._write() as session:
            return trials.add(session, search_id, new)

    def add_finished(self, search_id: int, finished: Sequence[tuple[NewTrial, Result]]) -> list[Trial]:
        """Add all trials of `finished` or none, completed: runs that ended elsewhere, each with what it measured."""
        with self._write() as session:
            return attempts.add_finished(session, search_id, finished)

    def trials(
        self, search_id: int, *, states: Collection[str] | None = None, purposes: Collection[str] | None = None
    ) -> list[Trial]:
        """Return the trials of a search by number; None stands for any state, any purpose."""
        with self._connections.read() as session:
            return trials.read_search(session, search_id, states=states, purposes=purposes)

    def trial(self, search_id: int, number: int) -> Trial:
        """Return a trial by its number in a search."""
        with self._connections.read() as session:
            return trials.get(session, search_id, number)

    def detail(self, search_id: int, number: int) -> TrialDetail:
        """Return what else is recorded of a trial; NotInStore where there is none of that number."""
        with self._connections.read() as session:
            return details.get(session, search_id, number)

    def details(self, search_id: int, *, numbers: Collection[int] | None = None) -> dict[int, TrialDetail]:
        """Return what else is recorded of trials of a search, by number; None stands for all of them."""
        with self._connections.read() as session:
            return details.read(session, search_id, numbers=numbers)

    def last_completed(self, search_id: int, *, fidelity: str, count: int) -> list[Trial]:
        """Return the last `count` completed trials of a search at a fidelity, by number."""
        with self._connections.read() as session:
            return trials.last_completed(session, search_id, fidelity=fidelity, count=count)

    def tallies(self, search_id: int) -> list[Tally]:
        """Return the trials of a search counted by fidelity, purpose and state, in the order of their first ones."""
        with self._connections.read() as session:
            return tallies.read(session, search_id)

    def table(self, search_id: int, *, predicted: str | None = None, before: Table | None = None) -> Table:
        """Return the trials of a search by columns, `before` itself where nothing has changed since that was read.

        predicted: the name, of the objective or an evaluation set, whose predictions it is to hold; None: none.
        """
        with self._connections.read() as session:
            return table.read(session, search_id, predicted=predicted, before=before)

    def totals(self) -> dict[int, Totals]:
        """Return how many trials every search has by its id, and what they are charged; none where there are none."""
        with self._connections.read() as session:
            return trials.totals(session)

    def changes(self, search_id: int, *, since: int) -> Changes:
        """Return the trials of a search altered after the mark `since`, as they are now; 0 stands for all of them."""
        with self._connections.read() as session:
            return trials.read_changes(session, search_id, since=since)

    def start(self, trial_id: int, *, worker: str, node: str | None = None, began_s: float | None = None) -> Attempt:
        """Move a queued trial to running, on a node if that is known; TrialStateError where it is not queued.

        began_s: the seconds for which its search was driven so far, None where nobody counts them.

        Raises:
            RunInTraining: another trial, perhaps of another search that is driven now, trains the same content.
        """
        with self._write() as session:
            return attempts.start(session, trial_id, worker=worker, node=node, began_s=began_s)

    def beat(self, trial_id: int, *, spent_flops: float) -> None:
        """Record that a running trial lives and what it has spent, so that this is known if its driver dies."""
        with self._write() as session:
            attempts.beat(session, trial_id, spent_flops=spent_flops)

    def complete(
        self,
        trial_id: int,
        *,
        losses: Mapping[str, float],
        curve: Sequence[tuple[int, float]],
        epochs: Mapping[str, float],
        spent_flops: float,
        elapsed_s: float,
        artifacts: Sequence[Artifact] = (),
        details: Mapping[str, object] | None = None,
        accuracies: Mapping[str, float] | None = None,
        items: Mapping[str, int] | None = None,
        node: str | None = None,
    ) -> Trial:
        """Complete a running trial, on `node` if that is known, with a `Result`: what was measured, what it took."""
        result = Result(
            losses=losses,
            curve=curve,
            epochs=epochs,
            spent_flops=spent_flops,
            elapsed_s=elapsed_s,
            artifacts=artifacts,
            details=details or {},
            accuracies=accuracies or {},
            items=items or {},
        )
        with self._write() as session:
            return attempts.complete(session, trial_id, result, node=node)

    def fail(
        self,
        trial_id: int,
        *,
        state: str,
        error: str,
        spent_flops: float = 0.0,
        elapsed_s: float = 0.0,
        node: str | None = None,
    ) -> Trial:
        """Move a running trial to "failed", "diverged" or "cancelled" (a queued one too; this one is not charged)."""
        with self._write() as session:
            return attempts.fail(
                session, trial_id, state=state, error=error, spent_flops=spent_flops, elapsed_s=elapsed_s, node=node
            )

    def requeue(self, search_id: int) -> list[Trial]:
        """Put the running trials of a search back after its driver died; returned as they are then (see `settle`)."""
        with self._write() as session:
            return attempts.requeue(session, search_id)

    def requeue_trial(self, trial_id: int, *, error: str, node: str | None = None) -> Trial:
        """Put one running trial back whose worker was lost; its attempt stays as lost, and is not charged."""
        with self._write() as session:
            return attempts.requeue_trial(session, trial_id, error=error, node=node)

    def retract(self, trial_id: int, *, reason: str) -> list[Trial]:
        """Take a finished trial back, and with it all that rest on the same run; return them as they read then."""
        with self._connections.write() as session:
            ids = retractions.add(session, trial_id, reason=reason)
            return trials.read(session, TrialRow.id.in_(ids))

    def retractions(self, search_id: int) -> list[Retraction]:
        """Return the retractions of a search, by trial."""
        with self._connections.read() as session:
            return retractions.read(session, search_id)

    def settle(self, search_id: int) -> list[Trial]:
        """Complete the queued trials whose runs other trials have measured meanwhile, and return them."""
        with self._write() as session:
            return attempts.settle(session, search_id)

    def attempts(self, trial_id: int) -> list[Attempt]:
        """Return the attempts at a trial, oldest first."""
        with self._connections.read() as session:
            return attempts.read(session, trial_id)

    def driven_s(self, search_id: int) -> float | None:
        """Return for how long a search was driven until the last thing known of it; None where no attempt says."""
        with self._connections.read() as session:
            return attempts.driven_s(session, search_id)

    def run(self, run_hash: str) -> Run:
        """Return a run, with what all attempts at it spent and wasted."""
        with self._connections.read() as session:
            return runs.get(session, run_hash)

    def curve(self, run_hash: str) -> list[CurvePoint]:
        """Return the training curve of a run by tokens; empty where it has none yet."""
        with self._connections.read() as session:
            return runs.curve(session, run_hash)

    def artifacts(self, run_hash: str) -> list[Artifact]:
        """Return the files of a run by name."""
        with self._connections.read() as session:
            return runs.artifacts(session, run_hash)

    def add_throughput(self, *, device: str, identity: str, flops_per_s: float) -> None:
        """Record what a device did in a second when it trained what `identity` names."""
        with self._write() as session:
            throughputs.add(session, device=device, identity=identity, flops_per_s=flops_per_s)

    def throughput(self, *, device: str, identity: str) -> float | None:
        """Return the FLOPs a second that were recorded; None where nobody has measured them."""
        with self._connections.read() as session:
            return throughputs.find(session, device=device, identity=identity)

    def add_fit(self, search_id: int, *, seen: Sequence[int], payload: Mapping[str, object]) -> Fit:
        """Record a fit of the surrogate and the numbers of the trials it had seen."""
        with self._write() as session:
            return fits.add(session, search_id, seen=seen, payload=payload)

    def fits(self, search_id: int) -> list[Fit]:
        """Return the fits of a search, oldest first."""
        with self._connections.read() as session:
            return fits.read(session, search_id)

    def latest_fit(self, search_id: int) -> Fit | None:
        """Return the last fit of a search; None before the first."""
        with self._connections.read() as session:
            return fits.latest(session, search_id)

    def add_recommendation(self, search_id: int, *, payload: Mapping[str, object]) -> Recommendation:
        """Record a recommendation, which stands until the next."""
        with self._write() as session:
            return fits.recommend(session, search_id, payload=payload)

    def recommendation(self, search_id: int) -> Recommendation | None:
        """Return the recommendation that stands; None before the first."""
        with self._connections.read() as session:
            return fits.recommendation(session, search_id)

    def recommendations(self) -> dict[int, dict[str, Any]]:
        """Return the payload of the recommendation that stands, by search id; nothing for a search without any."""
        with self._connections.read() as session:
            return fits.recommendations(session)

    def acquire_lease(self, search_id: int, *, owner: str, host: str, pid: int, ttl_s: float) -> Lease:
        """Take the right to write a search, also from a holder that is dead or out of time; else raise LeaseHeld.

        From then on this store writes nothing once another driver has the lease: LeaseLost instead.
        """
        with self._connections.write() as session:
            lease = leases.acquire(session, search_id, owner=owner, host=host, pid=pid, ttl_s=ttl_s)
        self._held[search_id] = owner
        return lease

    def renew_lease(self, search_id: int, *, owner: str, ttl_s: float) -> Lease:
        """Hold the lease for `ttl_s` seconds more; LeaseLost where another driver has it."""
        with self._connections.write() as session:
            return leases.renew(session, search_id, owner=owner, ttl_s=ttl_s)

    def release_lease(self, search_id: int, *, owner: str) -> None:
        """Give the lease back; nothing happens where it is not `owner`'s."""
        with self._connections.write() as session:
            leases.release(session, search_id, owner=owner)
        if self._held.get(search_id) == owner:
            del self._held[search_id]

    def lease(self, search_id: int) -> Lease | None:
        """Return the lease of a search, expired or not; None where nobody has one."""
        with self._connections.read() as session:
            return leases.get(session, search_id)

    def post(self, search_id: int, kind: str, payload: Mapping[str, object]) -> Message:
        """Leave a message for the driver of a search."""
        with self._connections.write() as session:
            return inbox.post(session, search_id, kind, payload)

    def messages(self, search_id: int) -> list[Message]:
        """Return the messages of a search that its driver has not drained, oldest first."""
        with self._connections.read() as session:
            return inbox.waiting(session, search_id)

    def mark_drained(self, message_id: int) -> None:
        """Record that what a message says is done: it is not returned again."""
        with self._write() as session:
            inbox.mark_drained(session, message_id)

    def needed_runs(self) -> Mapping[str, bool]:
        """Return every run by its hash, and whether a trial still waits for it or trains it."""
        with self._connections.read() as session:
            return upkeep.needs(session.connection())

    def add_session(self, search_id: int, *, provenance: Mapping[str, object]) -> None:
        """Record that a driver begins, with what software on what machine and text."""
        with self._write() as session:
            sessions.add(session, search_id, provenance=provenance)

    def sessions(self, search_id: int) -> list[DriverSession]:
        """Return the drivers that a search has had, oldest first."""
        with self._connections.read() as session:
            return sessions.read(session, search_id)
