from __future__ import annotations

import pytest

from pyrunc.cli.parse import MisuseError, NoCommandError, find_log, parse_command, parse_options
from pyrunc.cli.table import COMMANDS, GLOBALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cli.table import Option

TABLE: tuple[Option, ...] = (
    ("bundle", "b", "str", "", "DIR", "text"),
    ("all", "a", "bool", False, "", "text"),
    ("count", "", "uint", 0, "N", "text"),
    ("env", "e", "list", None, "NAME=VALUE", "text"),
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-bundle x", {"bundle": "x"}),
        ("--b x", {"bundle": "x"}),
        ("-b=x", {"bundle": "x"}),
        ("--bundle=", {"bundle": ""}),
        ("--bundle=a=b", {"bundle": "a=b"}),
        ("--bundle -b", {"bundle": "-b"}),
        ("-b 1 --bundle 2", {"bundle": "2"}),
        ("-a", {"all": True}),
        ("--all=false", {"all": False}),
        ("-a=T", {"all": True}),
        ("--count 0x10", {"count": 16}),
        ("-e A=1 --env B=2", {"env": ["A=1", "B=2"]}),
    ],
)
def test_an_option_by_each_of_its_spellings(words: str, expected: dict[str, object]) -> None:
    options, rest = parse_options(TABLE, words.split(), mixed=True)

    assert options == {"bundle": "", "all": False, "count": 0, "env": []} | expected
    assert rest == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bogus", "flag provided but not defined: -bogus"),
        ("-bogus=3", "flag provided but not defined: -bogus"),
        ("--bundle", "flag needs an argument: -bundle"),
        ("x -b", "flag needs an argument: -b"),
        ("--all=maybe", 'invalid boolean value "maybe" for -all: parse error'),
        ("--count x", 'invalid value "x" for flag -count: parse error'),
        ("--count -1", 'invalid value "-1" for flag -count: parse error'),
        ("--=x", "bad flag syntax: --=x"),
        ("---all", "bad flag syntax: ---all"),
    ],
)
def test_a_wrong_option_is_told_in_the_words_of_go(words: str, message: str) -> None:
    with pytest.raises(MisuseError) as caught:
        parse_options(TABLE, words.split(), mixed=True)

    assert str(caught.value) == message


def test_options_may_follow_arguments_where_they_are_mixed() -> None:
    options, rest = parse_options(TABLE, ["id", "--all", "KILL", "-b", "x"], mixed=True)

    assert options["all"] is True
    assert options["bundle"] == "x"
    assert rest == ["id", "KILL"]


def test_the_first_argument_ends_the_options_where_they_are_not_mixed() -> None:
    options, rest = parse_options(TABLE, ["-a", "id", "--all", "-x"], mixed=False)

    assert options["all"] is True
    assert rest == ["id", "--all", "-x"]


def test_two_dashes_end_the_options_and_one_dash_is_an_argument() -> None:
    _options, rest = parse_options(TABLE, ["-", "--", "--bogus", "--"], mixed=True)

    assert rest == ["-", "--bogus", "--"]


def test_two_parses_do_not_share_a_list() -> None:
    parse_options(TABLE, ["-e", "A=1"], mixed=True)
    options, _rest = parse_options(TABLE, ["-e", "B=2"], mixed=True)

    assert options["env"] == ["B=2"]


def test_the_nearest_option_is_suggested() -> None:
    with pytest.raises(MisuseError) as caught:
        parse_options(TABLE, ["--bundel", "x"], mixed=True)

    assert caught.value.hint == "did you mean --bundle?"


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("state", [], 'argv0: "state" requires exactly 1 argument(s)'),
        ("state", ["a", "b"], 'argv0: "state" requires exactly 1 argument(s)'),
        ("kill", [], 'argv0: "kill" requires a minimum of 1 argument(s)'),
        ("kill", ["a", "b", "c"], 'argv0: "kill" requires a maximum of 2 argument(s)'),
        ("list", ["a"], 'argv0: "list" requires exactly 0 argument(s)'),
    ],
)
def test_the_number_of_arguments(name: str, words: list[str], message: str) -> None:
    with pytest.raises(MisuseError) as caught:
        parse_command(name, words, "argv0")

    assert str(caught.value) == message
    assert caught.value.headline == "Incorrect Usage."
    assert caught.value.command == name


def test_an_unknown_command_has_an_exit_code_of_its_own() -> None:
    with pytest.raises(NoCommandError, match="No help topic for 'foo'") as caught:
        parse_command("foo", ["-h"], "pyrunc")

    assert caught.value.exit_code == 3


def test_help_asks_for_no_arguments() -> None:
    options, _rest = parse_command("state", ["-h"], "pyrunc")

    assert options["help"] is True


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--bogus --log f --log-format json", ("f", "json", False)),
        ("--log=f -log-format=json --debug --bogus", ("f", "json", True)),
        ("--log a --log b", ("b", "text", False)),
        ("--debug=false --log", ("", "text", False)),
        ("--bogus create --log f", ("", "text", False)),
    ],
)
def test_the_log_is_found_in_a_command_line_that_cannot_be_parsed(
    words: str, expected: tuple[object, ...]
) -> None:
    assert find_log(words.split()) == expected


ROWS = [(name, row) for name, (*_rest, options) in COMMANDS.items() for row in options]


@pytest.mark.parametrize(("command", "row"), [*ROWS, *(("", row) for row in GLOBALS)])
def test_every_row_of_the_table_is_complete(command: str, row: Option) -> None:
    name, short, kind, default, metavar, text = row
    default_type = {
        "bool": bool, "str": str, "uint": int, "duration": str, "int": type(None), "list": type(None),
    }[kind]  # fmt: skip

    assert isinstance(default, default_type)
    assert len(short) <= 1
    assert bool(metavar) == (kind != "bool")
    assert len(text) < 90
    assert name != "help" or not command
