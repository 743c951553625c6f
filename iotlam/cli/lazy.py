"""The root command: loads an app's commands only when they are called, and turns errors into sentences."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import click
import typer
from typer.core import TyperGroup

from iotlam.contracts import IotlamError
from iotlam.plugins import find, load_entry, names

GROUP = "iotlam.commands"


class RootGroup(TyperGroup):
    """Built-in commands, and those of entry-point group `iotlam.commands`, which help lists without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        built_in = super().list_commands(ctx)
        return [*built_in, *(name for name in names(GROUP) if name not in built_in)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A built-in command, or a stand-in that has just a line of help."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None or cmd_name not in names(GROUP):
            return built_in
        package = find(GROUP, cmd_name, "Command").module.partition(".")[0]
        return click.Command(cmd_name, help=f"Commands of {package}: 'iotlam {cmd_name} --help'.")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run; here a stand-in is replaced by what it stands for."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name not in self.commands:
            command = _load(name)
        return name, command, rest

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accept --debug anywhere, since it is asked for after a command has failed."""
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _misused(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every error ends here, in one sentence."""
        if ctx.params.get("debug"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except (click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            _end("stopped; run the same command again to go on or start over", 130)
        except click.UsageError as error:
            _misused(error)
        except IotlamError as error:
            _end(str(error), 2)
        except Exception as error:
            package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
            if package and not package.startswith("iotlam"):  # a module of our own that is not there is a bug
                _end(
                    f"{package}: expected to be installed, got no such package; 'iotlam doctor' says how to get it.", 2
                )
            _end(f"unexpected {type(error).__name__}: {error}; run it again with --debug to see where", 1)


def _misused(error: click.UsageError) -> NoReturn:
    """A wrong option, argument or command, and where to read what is right."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error
    command = error.ctx.command_path if error.ctx else "iotlam"
    sentences = re.split(r"(?<=[.?)]) ", error.format_message().strip())
    message = " ".join(dict.fromkeys(sentences)).rstrip(".")  # click and typer both suggest
    _end(f"{message[:1].lower() + message[1:]}; see '{command} --help'.", 2)


def _load(name: str) -> click.Command:
    command = typer.main.get_command(load_entry(GROUP, name, "Command"))
    command.name = name
    return command


def _end(sentence: str, status: int) -> NoReturn:
    click.echo(f"iotlam: {sentence}", err=True)
    raise click.exceptions.Exit(status)
