"""Several devices and machines on one training: who takes part, and how a cluster starts them."""

from recipes.distributed.team import ALONE, Team, join

__all__ = ["ALONE", "Team", "join"]
