"""Where a training stands, kept so that it goes on from there, bit for bit, after its process is gone.

And the weights that one ended with, for those who want more of it than its losses.
"""

import hashlib
import io
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import torch

from proxies.errors import ProxyError

FILE = "training.pt"
WEIGHTS = "weights.pt"
Model = TypeVar("Model", bound=torch.nn.Module)
DIGEST_BYTES = 64  # the payload's sha256 in hex, ahead of it: a file that was cut short is no checkpoint


@dataclass(kw_only=True)
class Checkpoint:
    """The file of one training in `folder`, a path or any URL that fsspec knows; saved at most every `every_s`.

    Read without running anything that it may contain (`weights_only`).
    """

    folder: str
    every_s: float
    _saved_s: float = field(default_factory=time.monotonic)

    @property
    def is_due(self) -> bool:
        """Whether the last save, or the start, is `every_s` ago."""
        return time.monotonic() - self._saved_s >= self.every_s

    @property
    def exists(self) -> bool:
        """Whether something was saved."""
        system, folder = _open(self.folder)
        return bool(system.exists(f"{folder}/{FILE}"))

    def save(self, state: Mapping[str, Any]) -> None:
        """Write `state` (tensors and plain values), so that at every moment there is the last one or this one."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        payload = buffer.getvalue()
        content = hashlib.sha256(payload).hexdigest().encode() + payload
        system, folder = _open(self.folder)
        try:
            system.makedirs(folder, exist_ok=True)
            if "file" in _protocols(system):
                _write_local(Path(folder) / FILE, content)
            else:  # an object store shows an object when all of it is there
                system.pipe_file(f"{folder}/{FILE}", content)
        except OSError as error:
            raise ProxyError(
                f"no checkpoint can be written to {self.folder!r} ({error}); choose another place"
            ) from None
        self._saved_s = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last; None where there is none that is whole."""
        system, folder = _open(self.folder)
        try:
            content: bytes = system.cat_file(f"{folder}/{FILE}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProxyError(
                f"the checkpoint in {self.folder!r} cannot be read ({error}); mend that, or remove it"
            ) from None
        digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(payload).hexdigest().encode() != digest:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
        return state


def remove(folder: str) -> None:
    """Remove a checkpoint with its folder, if it is there."""
    system, place = _open(folder)
    if system.exists(place):
        system.rm(place, recursive=True)


def keep_weights(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write the weights of a model into `folder`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({name: values.cpu() for name, values in weights.items()}, buffer)
    _write_local(folder / WEIGHTS, buffer.getvalue())


def kept_weights(folder: Path) -> dict[str, torch.Tensor] | None:
    """Return the weights that lie in `folder`, None where there are none; nothing that they may contain is run."""
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return weights


def with_kept_weights(model: Model, folder: Path) -> Model:
    """Return `model` with the weights that lie in `folder`; ProxyError where there are none, or another model's."""
    weights = kept_weights(folder)
    if weights is None:
        raise ProxyError(f"{folder} holds no weights of a training; train it again")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ProxyError(f"the weights in {folder} are of another model: {' '.join(str(error).split())}") from None
    return model


def _open(folder: str) -> tuple[Any, str]:
    try:
        system, place = fsspec.core.url_to_fs(folder)
    except (ValueError, ImportError) as error:
        raise ProxyError(f"{folder!r} is no place for checkpoints: {error}; give a path or another URL") from None
    return system, place.rstrip("/")


def _protocols(system: Any) -> tuple[str, ...]:  # noqa: ANN401
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _write_local(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also where the power fails."""
    making = path.with_name(f"{path.name}.{os.getpid()}")
    with making.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
