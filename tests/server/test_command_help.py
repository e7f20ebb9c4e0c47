"""`clearsky` and its groups without arguments, and what the help says of every command."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import pytest

from server.cli import cli, main
from server.export.command import export
from server.export.job import RESOLUTIONS
from server.recipes.command import recipe


@pytest.mark.parametrize("words", [[], ["recipe"]], ids=["clearsky", "recipe"])
def test_help_without_arguments_keeps_its_lines(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What --help prints, but on stderr and with status 2."""
    told = {}
    for arguments in ([*words, "--help"], words):
        monkeypatch.setattr(sys, "argv", ["clearsky", *arguments])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        told[len(arguments)] = (status, capsys.readouterr())
    (help_status, by_help), (bare_status, bare) = told[len(words) + 1], told[len(words)]
    assert (help_status, bare_status) == (0, 2)
    assert bare.out == by_help.err == ""
    assert bare.err == by_help.out
    assert len(bare.err.splitlines()) > 5


def test_no_list_of_commands_cuts_a_description() -> None:
    for group in (cli, recipe):
        context = click.Context(group, info_name="clearsky", max_content_width=80)
        told = group.get_help(context)
        assert "..." not in told.partition("Commands:")[2]
        assert [name for name in group.list_commands(context) if f"\n  {name} " not in told] == []


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else (command,)


def test_every_command_has_examples_that_it_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a line of its own, of words and options that the command has."""
    found = list(commands(cli))
    assert len(found) > 7
    for command in found:
        lines = (command.epilog or "").split("Examples:\n")[1].splitlines()
        assert lines
        told = command.get_help(click.Context(command, max_content_width=80))
        for line in lines:
            assert line.strip() in map(str.strip, told.splitlines()), line
            words = [word for word in line.split() if "=" not in word]
            position = words.index(str(command.name)) + 1
            monkeypatch.setattr(click.Path, "convert", lambda _self, value, *_: value)  # no file of the examples exists
            command.make_context(str(command.name), words[position:])


def test_every_option_with_few_values_lists_them() -> None:
    options = {option.name: option for option in export.params if isinstance(option, click.Option)}
    assert options["analysis_resolution"].metavar == "|".join(RESOLUTIONS)
