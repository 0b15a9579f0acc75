"""What can go wrong between a search and its store, as one tree.

    StoreError
    |-- StoreUnavailable    the file or server cannot be opened, read or written
    |-- SchemaMismatch      the tables are older or newer than this program
    |-- NotInStore          no search, trial or run of that name or number
    |-- SearchExists        the name of a new search is taken
    |-- InvalidRecord       a value that a store must not keep: not finite, not plain, not in range
    |-- TrialStateError     a trial is not in the state that the step needs
    |   `-- RunInTraining   another trial, perhaps of another search, is training the same content
    |-- LeaseHeld           another driver runs this search
    `-- LeaseLost           another driver has taken this search over

Every message is one sentence that says what is wrong, what was found, and what to do.
"""


class StoreError(Exception):
    """Anything about the store that a user can mend."""


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written."""


class SchemaMismatch(StoreError):
    """The tables of the store are not those of this program."""


class NotInStore(StoreError):
    """The store holds no such search, trial or run."""


class SearchExists(StoreError):
    """A search of this name is already in the store."""


class InvalidRecord(StoreError):
    """A value that must not be stored."""


class TrialStateError(StoreError):
    """A trial is not in the state that the step needs."""


class RunInTraining(TrialStateError):
    """Another trial trains the same run; wait for its end."""


class LeaseHeld(StoreError):
    """Another driver holds the lease of the search."""


class LeaseLost(StoreError):
    """The lease of the search has gone to another driver, or was given back."""
