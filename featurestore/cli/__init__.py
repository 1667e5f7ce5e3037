"""The command line: one command is one call of the store; nothing is computed here.

``app`` lists the commands, ``session`` runs one of them, ``terminal`` prints what it answers, ``failure`` says which
exit code an error has. The commands are in ``declarations``, ``events``, ``upkeep`` and ``features``; ``given`` reads
what stands on the command line. All of them import the store when they run, so that ``featurestore --help`` is fast.
"""

from featurestore.cli.app import main

__all__ = ["main"]
