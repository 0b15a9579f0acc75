"""The right to drive a search: held by one process, renewed by a thread, so that long work does not lose it."""

import os
import socket
import threading
import uuid
from types import TracebackType
from typing import Self

from store import Store, StoreError

LEASE_S = 60.0  # a driver that has not been heard of for so long is dead


class HeldLease:
    """The lease of one search, from `with` to its end.

    LeaseHeld on entering where another driver is alive; `check` raises what made renewing fail, LeaseLost for one.
    """

    def __init__(self, store: Store, search_id: int) -> None:
        self._store = store
        self._search_id = search_id
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._over = threading.Event()
        self._failure: StoreError | None = None
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Self:
        self._store.acquire_lease(
            self._search_id, owner=self._owner, host=socket.gethostname(), pid=os.getpid(), ttl_s=LEASE_S
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._store.release_lease(self._search_id, owner=self._owner)

    def check(self) -> None:
        """Raise where the lease is no longer held: nothing may be written then."""
        if self._failure is not None:
            raise self._failure

    def _renew(self) -> None:
        while not self._over.wait(LEASE_S / 4):
            try:
                self._store.renew_lease(self._search_id, owner=self._owner, ttl_s=LEASE_S)
            except StoreError as error:  # said by `check`, on the thread that drives
                self._failure = error
                return
