"""What others want of a search that is driven: read from its inbox, done by its driver, and crossed off after.

A wish may be heard twice, where a driver died in between, so that doing it again must change nothing.
"""

import os
import socket
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mixopt.errors import SearchError
from mixopt.search.revising import CHANGE_DOMAINS, REVISE, change_domains, revise
from mixopt.search.telling import TELL, record_told
from store import LeaseHeld, Message, Search, Store, StoreError

ASK = "ask"  # {"n": how many trials, "asker": who trains them}; this needs what a driver knows
CANCEL = "cancel"  # {"trial": the number of the trial to end, or None to stop the search}
LEASE_S = 60.0  # for a wish that is done at once: one that has not ended by then is dead


def cancel(store: Store, search: Search, *, trial: int | None) -> str:
    """End a trial that nobody drives, uncharged; a search (None) has stopped already where this is asked."""
    if trial is None:
        return f"{search.name} is not being driven; there is nothing to stop"
    store.fail(store.trial(search.id, trial).id, state="cancelled", error="somebody asked for it")
    return f"cancelled: trial {trial}"


def retract(store: Store, search: Search, *, trial: int, reason: str) -> str:
    """Take a finished trial back, and say what fell with it."""
    fallen = store.retract(store.trial(search.id, trial).id, reason=reason)
    mine = [each.number for each in fallen if each.search_id == search.id]
    others = len(fallen) - len(mine)
    elsewhere = f", and {others} of other searches that rest on the same run" if others else ""
    return f"retracted: trial{'s' if len(mine) > 1 else ''} {', '.join(map(str, mine))}{elsewhere}"


def wish(store: Store, search: Search, kind: str, payload: Mapping[str, object]) -> str:
    """Do a wish now where nobody drives the search, or leave it for the driver; return what was done, in words.

    Raises:
        StoreError: it cannot be done.
    """
    owner = f"{kind}:{uuid.uuid4().hex}"
    try:
        store.acquire_lease(search.id, owner=owner, host=socket.gethostname(), pid=os.getpid(), ttl_s=LEASE_S)
    except LeaseHeld:
        lease = store.lease(search.id)
        store.post(search.id, kind, payload)
        where = "" if lease is None else f" (process {lease.pid} on {lease.host})"
        return f"{search.name} is being driven{where}; left in its inbox, the driver will see to it"
    try:
        heed_waiting(store, search)
        return _do(store, search, kind, payload)
    finally:
        store.release_lease(search.id, owner=owner)


def is_driven(store: Store, search: Search) -> bool:
    """Say whether somebody holds the lease of `search`, and was heard of in time."""
    lease = store.lease(search.id)
    return lease is not None and lease.expires_at >= datetime.now(UTC)


def heed_waiting(store: Store, search: Search) -> list[str]:
    """Do what waits in the inbox and needs no driver, as the holder of the lease; return what came of it, in words."""
    return [heed(store, search, each) for each in store.messages(search.id) if each.kind in WISHES]


def heed(store: Store, search: Search, message: Message) -> str:
    """Do the wish of `message` as the driver of `search`, and return what came of it, in words."""
    try:
        said = _do(store, search, message.kind, message.payload)
    except (StoreError, SearchError) as error:
        said = f"a wish ({message.kind}) could not be done: {error}"
    store.mark_drained(message.id)
    return said


def _do(store: Store, search: Search, kind: str, payload: Mapping[str, Any]) -> str:
    if kind not in WISHES:
        raise SearchError(f"nobody knows the wish {kind!r}; known: {list(WISHES)}")
    return WISHES[kind](store, search, **payload)


WISHES: Mapping[str, Callable[..., str]] = {
    CANCEL: cancel,
    "retract": retract,
    TELL: record_told,
    REVISE: revise,
    CHANGE_DOMAINS: change_domains,
}
