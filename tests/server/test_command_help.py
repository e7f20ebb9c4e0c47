"""`clearsky` and its groups without arguments, and what the help says of every command."""

from __future__ import annotations

import sys

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


def test_every_option_with_few_values_lists_them() -> None:
    options = {option.name: option for option in export.params if isinstance(option, click.Option)}
    assert options["analysis_resolution"].metavar == "|".join(RESOLUTIONS)
