"""Whether the head of a Ray cluster still answers, asked without Ray, whose own calls would wait for it unheeding."""

import os
import socket
import threading
import time

RAY_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
RAY_PATIENCE_S = 60.0  # Ray's default: it ends the process of a driver whose head is silent for longer
SHARE = 0.75  # of Ray's patience; in the rest a search is left in order
ASK_EVERY_S = 1.0
ANSWER_S = 2.0


class Head:
    """The head whose own service (the GCS) is at `address`, HOST:PORT; a thread remembers when it was last heard."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._heard_s = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def is_there(self) -> bool:
        """Say whether the head answers; one that is silent is waited for, almost as long as Ray would."""
        while not self._asked():
            if time.monotonic() - self._heard_s > patience_s():
                return False
            time.sleep(ASK_EVERY_S)
        return True

    def close(self) -> None:
        """Listen no longer."""
        self._over.set()

    def _listen(self) -> None:
        while not self._over.wait(ASK_EVERY_S):
            self._asked()

    def _asked(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
        except OSError:
            return False
        self._heard_s = time.monotonic()
        return True


def patience_s() -> float:
    """Return after how many seconds of silence a head is given up."""
    return SHARE * float(os.environ.get(RAY_PATIENCE, RAY_PATIENCE_S))
