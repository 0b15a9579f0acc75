"""What devices do in a second, as it was measured: by device, and by the identity of what was trained."""

from sqlalchemy.orm import Session

from store.clock import now
from store.schema import ThroughputRow


def add(session: Session, *, device: str, identity: str, flops_per_s: float) -> None:
    """Record a throughput; a later one of the same takes its place."""
    session.merge(ThroughputRow(device=device, identity=identity, flops_per_s=flops_per_s, measured_at=now()))
    session.flush()


def find(session: Session, *, device: str, identity: str) -> float | None:
    """Return the FLOPs a second that were measured; None where nobody has."""
    row = session.get(ThroughputRow, (device, identity))
    return None if row is None else row.flops_per_s
