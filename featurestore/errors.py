"""Every deliberate error, by who must act.

::

    FeatureStoreError
    ├── DefinitionError (ValueError)        the author of a definition
    │   ├── UnknownName                     a name that nothing declares
    │   ├── ColumnError (TypeError)         something a column cannot do
    │   └── DefinitionProblems              several of them, together
    ├── RequestError (ValueError)           who calls: a spine, a lookup, an argument
    │   ├── UnknownService (KeyError)       no such feature service, source, feature
    │   ├── KeyTypeMismatch (TypeError)     an entity key of another type than declared
    │   ├── InvalidRequest                  a row against the request schema
    │   ├── SpineError                      a spine that cannot be used
    │   └── AsOfError                       in the future, or older than what is retained
    ├── DataError (ValueError)              who owns the data
    │   ├── InvalidRows                     rows against the source's schema
    │   ├── ConflictingRows                 a known key with another payload, a changed row
    │   ├── SchemaChanged                   columns that no longer fit the log
    │   ├── SourceUnreadable                a file or query that cannot be read
    │   └── IntegerOverflow (OverflowError) an integer result past int64
    └── OperationError (RuntimeError)       who runs the store
        ├── StoreBusy (TimeoutError)        another process holds what is needed
        ├── StoreDamaged                    a file that fails its checksum
        ├── NewerFormat                     files of a later version of the product
        ├── NotMaterialized                 the log lacks what is asked
        ├── FeaturesChanged                 a model whose features are not those it was trained on
        └── MissingExtra (ImportError)      an optional dependency

Facts stand in ``args``, words in ``str()``: so each error survives a pickle.
"""

import difflib
from collections.abc import Iterable


class FeatureStoreError(Exception):
    """Base of every deliberate error of this package. ``args[0]`` is the message."""

    def __str__(self) -> str:
        """Words for a person: what was asked, what is there, what to do."""
        return str(self.args[0]) if self.args else ""


class DefinitionError(FeatureStoreError, ValueError):
    """A declaration that cannot be right."""


class UnknownName(DefinitionError):
    """A name in a definition that nothing declares."""


class ColumnError(DefinitionError, TypeError):
    """An operation that a column or a window does not have."""


class DefinitionProblems(DefinitionError):
    """All problems of a set of definitions. ``args[0]`` is a tuple of messages, each with file and line."""

    @property
    def problems(self) -> tuple[str, ...]:
        """One message per problem, in file order."""
        return tuple(self.args[0])

    def __str__(self) -> str:
        count = len(self.problems)
        head = "1 problem in the definitions" if count == 1 else f"{count} problems in the definitions"
        return "\n".join([f"{head}:", *(f"  {problem}" for problem in self.problems)])


class RequestError(FeatureStoreError, ValueError):
    """A call that cannot be answered as asked."""


class UnknownService(RequestError, KeyError):
    """No feature service, source, feature or training set of that name."""


class KeyTypeMismatch(RequestError, TypeError):
    """An entity key of another type than the source declares (S9)."""


class InvalidRequest(RequestError):
    """A request field that is missing, unknown, or against the request schema."""


class SpineError(RequestError):
    """A spine that lacks a column, or has one too many."""


class AsOfError(RequestError):
    """An instant in the future, or older than what the online store retains (S10)."""


class DataError(FeatureStoreError, ValueError):
    """Data that the declared source does not allow."""


class InvalidRows(DataError):
    """Rows against the source's schema. ``args[1]`` lists (file, row, column, rule, value)."""


class ConflictingRows(DataError):
    """A known key with another payload, or a row that has changed in place (S6)."""


class SchemaChanged(DataError):
    """A source's schema that no longer fits the events in the log."""


class SourceUnreadable(DataError):
    """A source's file, query or frame that cannot be read."""


class IntegerOverflow(DataError, OverflowError):
    """An integer result past int64 (S13)."""


class OperationError(FeatureStoreError, RuntimeError):
    """Something that who runs the store must mend."""


class StoreBusy(OperationError, TimeoutError):
    """Another process holds what this one needs."""


class StoreDamaged(OperationError):
    """A file of the store that fails its checksum or cannot be opened."""


class NewerFormat(OperationError):
    """A store written by a later version of the product."""


class NotMaterialized(OperationError):
    """Something is asked of the log or the online store that has not been loaded."""


class FeaturesChanged(OperationError):
    """A model whose features have changed since it was trained (S12)."""


class MissingExtra(OperationError, ImportError):
    """An optional dependency that is not installed."""


def row_number(place: int) -> int:
    """Return what a row is called, wherever a person or a program reads of it: the first, at place 0, is row 1."""
    return place + 1


def suggest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest known name, else the list of what there is."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    if not names:
        return " There are none."
    shown = ", ".join(repr(known_name) for known_name in names[:12])
    return f" There are: {shown}{', …' if len(names) > 12 else ''}."  # noqa: PLR2004
