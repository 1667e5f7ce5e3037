"""Errors on their way out: the exit code of each family, and what a program is told.

=====  ==========================================================================
code   meaning
=====  ==========================================================================
0      fine
1      a problem was found: in the definitions, the data or what was asked
2      the command line itself is wrong
3      the environment is: a busy or damaged store, a missing library, the disk
130    stopped by Ctrl-C
=====  ==========================================================================
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import typer

from featurestore.errors import (
    DataError,
    DefinitionError,
    DefinitionProblems,
    FeatureStoreError,
    OperationError,
    RequestError,
)

PROBLEM, USAGE, ENVIRONMENT, INTERRUPTED = 1, 2, 3, 130
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # typer shows only this child of click's UsageError

EXIT_CODES: Mapping[type[Exception], int] = {
    DefinitionError: PROBLEM,
    DataError: PROBLEM,
    RequestError: PROBLEM,
    OperationError: ENVIRONMENT,
    USAGE_ERROR: USAGE,
}


def exit_code(error: Exception) -> int:
    """Exit code of an error. What is no deliberate error is the environment's: a full disk, a bug."""
    return next((code for family, code in EXIT_CODES.items() if isinstance(error, family)), ENVIRONMENT)


def message(error: Exception) -> str:
    """Words for a person."""
    if isinstance(error, FeatureStoreError):
        return str(error)
    if isinstance(error, USAGE_ERROR):
        return str(getattr(error, "format_message", lambda: error)())
    if isinstance(error, OSError):
        return f"{error}. Look at the folder, its rights and the disk."
    return f"{type(error).__name__}: {error}. This was not foreseen: --debug shows where it happened."


def document(error: Exception) -> dict[str, Any]:
    """``{"error": {"type", "message"}}``; ``problems`` of definitions and ``rows`` of data where they are listed."""
    kind = "UsageError" if isinstance(error, USAGE_ERROR) else type(error).__name__
    told: dict[str, Any] = {"type": kind, "message": message(error)}
    if isinstance(error, DefinitionProblems):
        told["problems"] = list(error.problems)
    elif isinstance(error, (DataError, RequestError)) and len(error.args) > 1 and isinstance(error.args[1], tuple):
        told["rows"] = [dataclasses.asdict(row) for row in error.args[1]]
    return {"error": told}
