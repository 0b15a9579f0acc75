"""The store: the one way in and out. Every method is one transaction, and returns frozen records."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from store import attempts, fits, inbox, leases, runs, searches, trials
from store.engine import Connections
from store.errors import StoreError
from store.migrate import ensure_current
from store.records import (
    Artifact,
    Attempt,
    CurvePoint,
    Fit,
    Lease,
    Message,
    NewTrial,
    Recommendation,
    Result,
    Revision,
    Run,
    Search,
    Trial,
)


class Store:
    """A ledger of searches in a file or a database, `location` being a path or a URL.

    A new one gets its tables; one with other tables than this program's is a SchemaMismatch. `read_only` never creates,
    migrates or writes. Usable from several threads and programs at once; every method may raise a StoreError.
    """

    def __init__(self, location: str | Path, *, read_only: bool = False) -> None:
        self._connections = Connections(location, read_only=read_only)
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
        with self._connections.write() as session:
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
        with self._connections.write() as session:
            return searches.revise(session, search_id, config=config, config_hash=config_hash, note=note)

    def revisions(self, search_id: int) -> list[Revision]:
        """Return every configuration that a search has had, oldest first."""
        with self._connections.read() as session:
            return searches.revisions(session, search_id)

    def set_state(self, search_id: int, state: str) -> None:
        """Record that a search is "running", "finished", "stopped" or "failed"."""
        with self._connections.write() as session:
            searches.set_state(session, search_id, state)

    def add_trials(self, search_id: int, new: Sequence[NewTrial]) -> list[Trial]:
        """Add all of `new` or none, queued; one whose run is measured already is completed at once, charged as any."""
        with self._connections.write() as session:
            return trials.add(session, search_id, new)

    def add_finished(self, search_id: int, finished: Sequence[tuple[NewTrial, Result]]) -> list[Trial]:
        """Add all trials of `finished` or none, completed: runs that ended elsewhere, each with what it measured."""
        with self._connections.write() as session:
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

    def start(self, trial_id: int, *, worker: str) -> Attempt:
        """Move a queued trial to running; a TrialStateError where it is not queued."""
        with self._connections.write() as session:
            return attempts.start(session, trial_id, worker=worker)

    def beat(self, trial_id: int, *, spent_flops: float) -> None:
        """Record that a running trial lives and what it has spent, so that this is known if its driver dies."""
        with self._connections.write() as session:
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
    ) -> Trial:
        """Complete a running trial with a `Result` of these: what was measured on its part, and what it took."""
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
        with self._connections.write() as session:
            return attempts.complete(session, trial_id, result)

    def fail(self, trial_id: int, *, state: str, error: str, spent_flops: float = 0.0, elapsed_s: float = 0.0) -> Trial:
        """Move a running trial to "failed", "diverged" or "cancelled" (a queued one too; this one is not charged)."""
        with self._connections.write() as session:
            return attempts.fail(
                session, trial_id, state=state, error=error, spent_flops=spent_flops, elapsed_s=elapsed_s
            )

    def requeue(self, search_id: int) -> list[Trial]:
        """Put the running trials of a search back after its driver died; returned as they are then (see `settle`)."""
        with self._connections.write() as session:
            return attempts.requeue(session, search_id)

    def requeue_trial(self, trial_id: int, *, error: str) -> Trial:
        """Put one running trial back whose worker was lost; its attempt stays as lost, and is not charged."""
        with self._connections.write() as session:
            return attempts.requeue_trial(session, trial_id, error=error)

    def settle(self, search_id: int) -> list[Trial]:
        """Complete the queued trials whose runs other trials have measured meanwhile, and return them."""
        with self._connections.write() as session:
            return attempts.settle(session, search_id)

    def attempts(self, trial_id: int) -> list[Attempt]:
        """Return the attempts at a trial, oldest first."""
        with self._connections.read() as session:
            return attempts.read(session, trial_id)

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

    def add_fit(self, search_id: int, *, seen: Sequence[int], payload: Mapping[str, object]) -> Fit:
        """Record a fit of the surrogate and the numbers of the trials it had seen."""
        with self._connections.write() as session:
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
        with self._connections.write() as session:
            return fits.recommend(session, search_id, payload=payload)

    def recommendation(self, search_id: int) -> Recommendation | None:
        """Return the recommendation that stands; None before the first."""
        with self._connections.read() as session:
            return fits.recommendation(session, search_id)

    def acquire_lease(self, search_id: int, *, owner: str, host: str, pid: int, ttl_s: float) -> Lease:
        """Take the right to write a search, also from a holder that is dead or out of time; else raise LeaseHeld."""
        with self._connections.write() as session:
            return leases.acquire(session, search_id, owner=owner, host=host, pid=pid, ttl_s=ttl_s)

    def renew_lease(self, search_id: int, *, owner: str, ttl_s: float) -> Lease:
        """Hold the lease for `ttl_s` seconds more; LeaseLost where another driver has it."""
        with self._connections.write() as session:
            return leases.renew(session, search_id, owner=owner, ttl_s=ttl_s)

    def release_lease(self, search_id: int, *, owner: str) -> None:
        """Give the lease back; nothing happens where it is not `owner`'s."""
        with self._connections.write() as session:
            leases.release(session, search_id, owner=owner)

    def lease(self, search_id: int) -> Lease | None:
        """Return the lease of a search, expired or not; None where nobody has one."""
        with self._connections.read() as session:
            return leases.get(session, search_id)

    def post(self, search_id: int, kind: str, payload: Mapping[str, object]) -> Message:
        """Leave a message for the driver of a search."""
        with self._connections.write() as session:
            return inbox.post(session, search_id, kind, payload)

    def drain(self, search_id: int) -> list[Message]:
        """Take the messages of a search that have not been taken, oldest first."""
        with self._connections.write() as session:
            return inbox.drain(session, search_id)
