"""Guards: triggers that keep what is finished from being changed, by any program.

They are no part of the migrations, which may have to rewrite rows: removed before these run, and laid anew after.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from store.records import OPEN_STATES

FINISHED = "OLD.state NOT IN ({})".format(", ".join(f"'{state}'" for state in OPEN_STATES))
FUNCTION = "mixopt_refuse"
APPEND_ONLY = (
    "revisions",
    "trial_pages",
    "trial_weights",
    "predictions",
    "measurements",
    "curve_points",
    "artifacts",
    "retractions",
    "domain_changes",
    "outdated_trials",
    "fits",
    "recommendations",
    "sessions",
)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What must not happen to a table: UPDATE (of `columns`, all where empty) or DELETE of rows where `when` holds."""

    table: str
    event: str
    message: str
    columns: tuple[str, ...] = ()
    when: str | None = None

    @property
    def name(self) -> str:
        """The trigger's name."""
        return f"guard_{self.table}_{self.event.lower()}"


GUARDS = (
    *(Guard(table=t, event="UPDATE", message=f"rows of {t} are never changed") for t in APPEND_ONLY),
    *(
        Guard(table=t, event="DELETE", message=f"rows of {t} are never deleted")
        for t in (*APPEND_ONLY, "runs", "trials", "attempts", "inbox")
    ),
    Guard(
        table="runs",
        event="UPDATE",
        when="OLD.completed_at IS NOT NULL",
        message="a completed run is never changed; retract it",
    ),
    Guard(
        table="trials",
        event="UPDATE",
        columns=(
            *("search_id", "number", "run_id", "purpose", "fidelity", "seed", "part", "recipe", "state", "reason"),
            *("seen", "charged_flops", "error", "created_at", "started_at", "finished_at"),
        ),
        when=FINISHED,
        message="a finished trial is never changed; retract it",
    ),
    Guard(
        table="attempts",
        event="UPDATE",
        when="OLD.ended_at IS NOT NULL",
        message="an attempt that has ended is never changed",
    ),
    Guard(
        table="inbox",
        event="UPDATE",
        columns=("search_id", "kind", "payload", "posted_at"),
        message="a message is never changed",
    ),
)


def install(connection: Connection) -> None:
    """Lay every guard over the tables on `connection`."""
    if connection.dialect.name == "sqlite":
        for guard in GUARDS:
            connection.exec_driver_sql(_sqlite(guard))
        return
    connection.execute(
        text(
            f"CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = TG_ARGV[0]; END $$"
        )
    )
    for guard in GUARDS:
        connection.exec_driver_sql(_postgresql(guard))


def remove(connection: Connection) -> None:
    """Take every guard away, those of earlier programs too."""
    for name, table in _found(connection):
        on = "" if connection.dialect.name == "sqlite" else f" ON {table}"
        connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")


def missing(connection: Connection) -> list[str]:
    """Return the names of guards that are not there."""
    found = {name for name, _ in _found(connection)}
    return [guard.name for guard in GUARDS if guard.name not in found]


def _found(connection: Connection) -> list[tuple[str, str]]:
    queries = {
        "sqlite": "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard%'",
        "postgresql": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal "
        "AND tgname LIKE 'guard%'",
    }
    return [(name, table) for name, table in connection.execute(text(queries[connection.dialect.name]))]


def _sqlite(guard: Guard) -> str:
    return f"{_head(guard)} WHEN {guard.when or '1'} BEGIN SELECT RAISE(ABORT, '{guard.message}'); END"


def _postgresql(guard: Guard) -> str:
    when = f" WHEN ({guard.when})" if guard.when else ""
    return f"{_head(guard)} FOR EACH ROW{when} EXECUTE FUNCTION {FUNCTION}('{guard.message}')"


def _head(guard: Guard) -> str:
    columns = f" OF {', '.join(guard.columns)}" if guard.columns else ""
    return f"CREATE TRIGGER {guard.name} BEFORE {guard.event}{columns} ON {guard.table}"
