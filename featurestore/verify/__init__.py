"""Proof on a user's own data that served and trained values are the same bytes, and why not where they are not.

``trained`` serves the rows of a training set again, ``served`` computes again what was served, ``late`` tells what has
become known since. ``causes`` explains a difference; ``verification`` is what they answer with, ``page`` as HTML.
"""

from featurestore.verify.late import Late, Moved
from featurestore.verify.verification import Cause, Difference, Verification

__all__ = ["Cause", "Difference", "Late", "Moved", "Verification"]
