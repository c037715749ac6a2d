"""The command line with its extra: click's commands, and how they end."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import click

from pybreaker_ext.cli import demo_command
from pybreaker_ext.cli.bench import bench_command
from pybreaker_ext.cli.checking import check_command, tell_unknown
from pybreaker_ext.cli.ending import GOOD, INTERRUPTED, UNKNOWN
from pybreaker_ext.cli.showing import list_command, show_command
from pybreaker_ext.cli.steering import close_command, half_open_command, open_command, reset_command
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.timeline import history_command
from pybreaker_ext.cli.watching import watch_command

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG: Final = """\b
Exit codes, but of check, which has its own:
  0    done
  1    no such circuit, or nobody said yes
  2    the command is wrong, or an extra is missing
  3    the store can't be asked
  130  stopped by Ctrl-C

\b
Names may be globs: pybreaker-ext list 'openai/*'"""


def _version() -> str:
    try:
        return version("pybreaker-ext")
    except PackageNotFoundError:  # only on the path, not installed
        return "unknown"


class _Commands(click.Group):
    """Lists its commands in the order in which they are wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        del ctx
        return list(SUMMARIES)


@click.group(
    cls=_Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(_version(), prog_name="pybreaker-ext")
def app() -> None:
    """Look at circuits in Redis or SQLite, and set them."""


class _Demo(click.Command):
    """The demo reads its own command line, because it works without click, too."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Offer its options."""
        del ctx
        return [
            click.shell_completion.CompletionItem(option.flag, help=option.help)
            for option in demo_command.OPTIONS
            if incomplete and option.flag.startswith(incomplete)
        ]


@click.command(
    "demo",
    cls=_Demo,
    help=SUMMARIES["demo"],
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def _demo(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    return demo_command.run(arguments, str(ctx.find_root().info_name))


for _command in (
    list_command,
    show_command,
    watch_command,
    history_command,
    check_command,
    open_command,
    half_open_command,
    close_command,
    reset_command,
    _demo,
    bench_command,
):
    app.add_command(_command)


def run(arguments: Sequence[str], program: str) -> int:
    """Do what the command line says, and return the exit code."""
    try:
        code = app.main(arguments, prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        if arguments[:1] == ["check"]:  # by whose exit code 2 somebody would be called out of bed
            tell_unknown(error.format_message())
            return UNKNOWN
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else GOOD
