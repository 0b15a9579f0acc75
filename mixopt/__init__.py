"""Which mixture of domains to train a language model on: what to try next, and the loop."""

from mixopt.errors import MixoptError as MixoptError
from mixopt.fidelity import Fidelity as Fidelity
from mixopt.fidelity import Ladder as Ladder
from mixopt.fidelity import Target as Target
from mixopt.mixture import Domain as Domain
from mixopt.mixture import Mixture as Mixture
from mixopt.mixture import Recipe as Recipe
from mixopt.objective import Objective as Objective

__version__ = "0.1.0"
