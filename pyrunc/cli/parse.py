"""From words to options, by the rules of Go's flag package and urfave/cli, which callers of runC rely on.

`-x` and `--x` are the same, `--x=value` and `--x value` too; a bool takes a value only behind "="; `--` ends
the options; the last of repeated options wins. Options of a command may follow its arguments.
"""

from __future__ import annotations

from pyrunc.cli.table import COMMANDS, HAND_ON, HELP
from pyrunc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.cli.table import Option

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")


class MisuseError(UsageError):
    """A wrong command line: `headline` and the help of `command` ("" for the program) are shown with it."""

    def __init__(self, message: str, headline: str = "Incorrect Usage.", hint: str = "") -> None:
        super().__init__(message)
        self.headline = headline
        self.hint = hint
        self.command = ""


class NoCommandError(UsageError):
    """There is no such command; `hint` may name the one that was meant."""

    exit_code = 3

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def parse_options(
    table: Sequence[Option], words: Sequence[str], *, mixed: bool
) -> tuple[dict[str, object], list[str]]:
    """Return every option of the table by its long name, and the other words.

    With `mixed`, options may follow arguments; else the first argument ends the options.
    Raise MisuseError for a word that fits no option of the table.
    """
    options: dict[str, object] = {row[0]: [] if row[2] == "list" else row[3] for row in table}
    rest: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            break
        if word[:1] == "-" and word != "-":
            position = _take(table, options, words, position)
            continue
        rest.append(word)
        if not mixed:
            break
    rest.extend(words[position:])
    return options, rest


def _take(table: Sequence[Option], options: dict[str, object], words: Sequence[str], position: int) -> int:
    """Store the option before `position`; return the position behind its value."""
    word = words[position - 1]
    name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
    if not name or name[0] == "-":
        raise _wrong_flag(f"bad flag syntax: {word}")
    long, _short, kind, *_ = _find(table, name)
    if kind == "bool":
        options[long] = parse_bool(value, name) if equals else True
        return position
    if not equals:
        if position == len(words):
            raise _wrong_flag(f"flag needs an argument: -{name}")
        value = words[position]
        position += 1
    _store(options, long, kind, name, value)
    return position


def _store(options: dict[str, object], long: str, kind: str, name: str, value: str) -> None:
    if kind == "uint":
        options[long] = _parse_uint(value, name)
    elif kind == "int":
        options[long] = _parse_int(value, name)
    elif kind == "duration":
        options[long] = _check_duration(value, name)
    elif kind == "list":
        entries = options[long]
        assert isinstance(entries, list)
        entries.append(value)
    else:
        options[long] = value


def _find(table: Sequence[Option], name: str) -> Option:
    for row in table:
        if name in (row[0], row[1]):
            return row
    from pyrunc.cli.hints import option_hint  # heavy, and the command has failed already

    raise _wrong_flag(f"flag provided but not defined: -{name}", option_hint(table, name))


def _wrong_flag(message: str, hint: str = "") -> MisuseError:
    return MisuseError(message, f"Incorrect Usage: {message}", hint)


def parse_bool(value: str, name: str) -> bool:
    """Read a bool as Go's strconv.ParseBool does."""
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise _wrong_flag(f'invalid boolean value "{value}" for -{name}: parse error')


def _parse_uint(value: str, name: str) -> int:
    try:
        number = int(value, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise _wrong_flag(f'invalid value "{value}" for flag -{name}: parse error')
    return number


def _parse_int(value: str, name: str) -> int:
    try:
        return int(value, 0)
    except ValueError:
        raise _wrong_flag(f'invalid value "{value}" for flag -{name}: parse error') from None


def _check_duration(value: str, name: str) -> str:
    from pyrunc.spec.units import parse_duration

    try:
        parse_duration(value)
    except ValueError:
        raise _wrong_flag(f'invalid value "{value}" for flag -{name}: parse error') from None
    return value


def parse_command(name: str, words: Sequence[str], argv0: str) -> tuple[dict[str, object], list[str]]:
    """Return the options and the arguments of a command; `help` among the options when it was asked for."""
    if name not in COMMANDS:
        from pyrunc.cli.hints import command_hint

        raise NoCommandError(f"No help topic for '{name}'", command_hint(name))
    _arguments, fewest, most, _summary, table = COMMANDS[name]
    try:
        options, rest = parse_options((*table, HELP), words, mixed=name not in HAND_ON)
        if not options["help"]:
            _check_count(len(rest), fewest, most, f'{argv0}: "{name}" requires')
    except MisuseError as error:
        error.command = name
        raise
    return options, rest


def _check_count(count: int, fewest: int, most: int, prefix: str) -> None:
    if fewest <= count <= most:
        return
    if fewest == most:
        raise MisuseError(f"{prefix} exactly {most} argument(s)")
    if count < fewest:
        raise MisuseError(f"{prefix} a minimum of {fewest} argument(s)")
    raise MisuseError(f"{prefix} a maximum of {most} argument(s)")


def find_log(words: Sequence[str]) -> tuple[str, str, bool]:
    """Return log file, log format and debug of a command line that could not be parsed, as far as seen.

    Callers read the reason of a failure in the log file, so it must not depend on the order of the options.
    """
    found = {"log": "", "log-format": "text", "debug": ""}
    for position, word in enumerate(words):
        name, equals, value = word.lstrip("-").partition("=")
        if word in COMMANDS or word == "--":
            break
        if word[:1] != "-" or name not in found:
            continue
        if not equals:
            value = "true" if name == "debug" else "".join(words[position + 1 : position + 2])
        found[name] = value
    return found["log"], found["log-format"], found["debug"] in TRUE
