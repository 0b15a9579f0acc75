"""What happened, durably: a ledger of searches, their trials and the runs behind them."""

from store.errors import InvalidRecord as InvalidRecord
from store.errors import LeaseHeld as LeaseHeld
from store.errors import LeaseLost as LeaseLost
from store.errors import NotInStore as NotInStore
from store.errors import SchemaMismatch as SchemaMismatch
from store.errors import SearchExists as SearchExists
from store.errors import StoreError as StoreError
from store.errors import StoreUnavailable as StoreUnavailable
from store.errors import TrialStateError as TrialStateError
from store.migrate import upgrade as upgrade
from store.records import Artifact as Artifact
from store.records import Attempt as Attempt
from store.records import CurvePoint as CurvePoint
from store.records import Fit as Fit
from store.records import Lease as Lease
from store.records import Message as Message
from store.records import NewTrial as NewTrial
from store.records import Recommendation as Recommendation
from store.records import Result as Result
from store.records import Revision as Revision
from store.records import Run as Run
from store.records import Search as Search
from store.records import Trial as Trial
from store.store import Store as Store
