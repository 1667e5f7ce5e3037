"""The whole loop on one machine, told as a story; ``featurestore demo`` prints it.

``story`` is what happens; ``client`` starts the server as a process of its own, asks it, and stops it.
"""

from featurestore.demo.story import Chapter, Demo

__all__ = ["Chapter", "Demo"]
