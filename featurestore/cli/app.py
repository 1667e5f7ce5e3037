"""All commands by name, and ``main``, which runs one and gives its exit code."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Annotated

import typer

from featurestore.cli import (
    begin,
    declarations,
    events,
    failure,
    features,
    forget,
    leaks,
    models,
    serve,
    served,
    upkeep,
    verify,
)
from featurestore.cli.session import AsJson, Debug, Project, command, options
from featurestore.cli.terminal import Terminal

_HELP = """Declare features once; train and serve the same bytes.

Exit codes: 0 fine, 1 a problem was found, 2 the command line is wrong, 3 the environment is.
"""

COMMANDS: Mapping[str, Callable[..., int]] = {
    "init": command(begin.init, interrupted=begin.INIT_INTERRUPTED),
    "demo": command(begin.demo, interrupted=begin.DEMO_INTERRUPTED),
    "check": command(declarations.check),
    "plan": command(declarations.plan),
    "apply": command(declarations.apply, interrupted="A recording counts wholly or not at all: see history."),
    "list": command(declarations.list_),
    "show": command(declarations.show),
    "history": command(declarations.history),
    "lineage": command(declarations.lineage),
    "materialize": command(events.materialize, interrupted=events.LOAD_INTERRUPTED),
    "ingest": command(events.ingest, interrupted=events.INGEST_INTERRUPTED),
    "quarantined": command(events.quarantined),
    "training-set": command(features.training_set, interrupted=features.TRAINING_INTERRUPTED),
    "training-sets": command(features.training_sets),
    "spine": command(features.spine),
    "lookup": command(features.lookup),
    "explain": command(features.explain),
    "leaks": command(leaks.leaks),
    "predict": command(models.predict),
    "log": command(served.log),
    "status": command(upkeep.status),
    "verify-log": command(upkeep.verify_log),
    "compact": command(upkeep.compact, interrupted=upkeep.COMPACTION_INTERRUPTED),
    "forget": command(forget.forget, interrupted=forget.FORGET_INTERRUPTED),
    "serve": command(serve.serve, interrupted=serve.STOPPED),
}
"""In the order in which help lists them: the first minutes, declarations, events, features, upkeep, server."""

GROUPS: Mapping[str, tuple[str, Mapping[str, Callable[..., int]]]] = {
    "models": (
        "Saved models and their versions.",
        {
            "list": command(models.list_),
            "show": command(models.show),
            "verify": command(models.verify),
            "promote": command(models.promote, interrupted=models.SWITCH_INTERRUPTED),
            "rollback": command(models.rollback, interrupted=models.SWITCH_INTERRUPTED),
        },
    ),
    "verify": (
        "Proof that served and trained values are the same bytes.",
        {
            "training-set": command(verify.training_set),
            "served": command(verify.served),
            "late": command(verify.late),
        },
    ),
    "keys": (
        "API keys of the server.",
        {
            "create": command(serve.keys_create),
            "list": command(serve.keys_list),
            "revoke": command(serve.keys_revoke),
        },
    ),
}
"""Commands of two words, by the first: its help, and the second words."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        What follows the word ``featurestore``; by default the process's own.

    Returns
    -------
    int
        The exit code, see :mod:`featurestore.cli.failure`.
    """
    asked = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = typer.main.get_command(_app()).main(args=asked, prog_name="featurestore", standalone_mode=False)
    except failure.USAGE_ERROR as error:
        if "--json" in asked:
            Terminal(as_json=True).failure(error)
        else:
            getattr(error, "show", lambda: None)()
        return failure.USAGE
    except typer.Abort:
        return failure.INTERRUPTED
    return code if isinstance(code, int) else 0


def _print_version(asked: bool) -> None:  # noqa: FBT001 - how an option's callback is called
    if asked:
        typer.echo(metadata.version("featurestore"))
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)]


def _before(
    context: typer.Context,
    *,
    project: Project = None,
    as_json: AsJson = None,
    debug: Debug = None,
    version: Version = False,  # noqa: ARG001 - its callback has done the work
) -> None:
    options(context, project, as_json, debug)


def _app() -> typer.Typer:
    app = typer.Typer(
        name="featurestore",
        help=_HELP,
        callback=_before,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help takes a third of the time
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, one in COMMANDS.items():
        app.command(name)(one)
    for group, (words, commands) in GROUPS.items():
        within = typer.Typer(name=group, help=words, no_args_is_help=True, rich_markup_mode=None)
        for name, one in commands.items():
            within.command(name)(one)
        app.add_typer(within)
    return app
