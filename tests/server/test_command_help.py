"""`clearsky` and its groups without arguments, and what the help says of every command."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator

import click
import pytest

from server.cli import cli, main
from server.export.command import export
from server.export.job import RESOLUTIONS
from server.export.terminal import in_flags
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


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that fails."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/anything", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(
    ("words", "help_of"),
    [
        ("expor", "clearsky"),
        ("export", "clearsky export"),
        ("mask --levl", "clearsky mask"),
        ("mask a.tif b.tif --window 80", "clearsky mask"),
        ("picture a.tif b.png", "clearsky picture"),
        ("export a.tif b.tif --window 7", "clearsky export"),
        ("recipe check", "clearsky recipe check"),
    ],
)
def test_errors_name_the_help_of_their_command(
    words: str, help_of: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"(see `{help_of} --help`)" in said(monkeypatch, capsys, *words.split())


def test_a_command_lists_the_options_that_it_uses() -> None:
    told = {name: command.get_help(click.Context(command)) for name, command in cli.commands.items()}
    for flag in ("--window", "--adjustment", "--unfilled", "--buffer", "--residual"):
        assert flag in told["export"]
        assert flag in told["picture"]
        assert flag not in told["mask"]
    assert "--sensitivity" in told["mask"]
    assert ("stepwise" in told["export"], "|stepwise" in told["picture"]) == (True, False)


def test_messages_for_programs_are_in_flags_on_a_terminal() -> None:
    assert in_flags("give another name, or `overwrite=True`") == "give another name, or --overwrite"
    assert in_flags("leave `per_asset` out; `bands=`, `model=rgb-rules`") == (
        "leave --per-asset out; --bands, `--model rgb-rules`"
    )


@pytest.mark.parametrize("module", ["clearsky", "server.cli"])
def test_modules_are_the_command(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--version"])
    monkeypatch.delitem(sys.modules, "server.cli", raising=False)
    runpy.run_module(module, run_name="__main__")
    assert capsys.readouterr().out.startswith("clearsky, version")
