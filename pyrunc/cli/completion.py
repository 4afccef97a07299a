"""Completion for bash, zsh and fish: small scripts that ask, for each TAB, what could stand for the last word.

The answer is made here from the table of options, so the three shells cannot differ and no script grows old. It is a
line that names the kind (`words`, `files` or `directories`), then one word a line in the form that the shell reads.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.cli.parse import MisuseError, parse_options
from pyrunc.cli.table import CHOICES, COMMANDS, GLOBALS, HAND_ON, HELP, ID
from pyrunc.errors import PyruncError, UsageError
from pyrunc.state import StateRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from pyrunc.cli.table import Option

    Words: TypeAlias = list[tuple[str, str]]
    """What may stand there, with a text about it ("" for none)."""

FILES, DIRECTORIES = "files", "directories"
KINDS = {"FILE": FILES, "PATH": FILES, "DIR": DIRECTORIES}
"""What the value of an option is, by the name that the help gives to it."""
NEW = frozenset({"create", "run"})
"""Commands whose container does not exist yet."""

BASH = """\
_pyrunc() {
    local line kind=
    COMPREPLY=()
    while IFS= read -r line; do
        if [ -n "$kind" ]; then COMPREPLY+=("$line"); else kind=$line; fi
    done < <("${1/#\\~\\//$HOME/}" completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case $kind in
        files) compopt -o default ;;
        directories) compopt -o dirnames ;;
    esac
}
complete -F _pyrunc @NAME@
"""
ZSH = """\
#compdef @NAME@
_pyrunc() {
    local kind
    local -a lines
    lines=("${(@f)$("${words[1]/#\\~\\//$HOME/}" completion zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    kind=${lines[1]}
    shift lines
    [[ $kind == words ]] || compset -P '-*='
    case $kind in
        words) _describe 'pyrunc' lines ;;
        files) _files ;;
        directories) _files -/ ;;
    esac
}
if [ "${funcstack[1]}" = _pyrunc ]; then
    _pyrunc "$@"
else
    compdef _pyrunc @NAME@
fi
"""
FISH = """\
function __pyrunc_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l command $words[1]
    set -e words[1]
    set -l lines ($command completion fish -- $words "$last" 2>/dev/null)
    set -l option (string match -r -- '^-[^=]*=' "$last")
    set -l value (string replace -r -- '^-[^=]*=' '' "$last")
    switch "$lines[1]"
        case words
            printf '%s\\n' $lines[2..-1]
        case files
            printf "$option%s\\n" (__fish_complete_path "$value")
        case directories
            printf "$option%s\\n" (__fish_complete_directories "$value" '')
    end
end
complete -c @NAME@ -f -a '(__pyrunc_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion(argv0: str, positionals: Sequence[str]) -> str:
    """Return the script for a shell, or with words behind its name the answer to them."""
    shell, *words = positionals
    if shell not in SCRIPTS:
        raise UsageError(f"completion: {shell}: expected {', '.join(SCRIPTS)}")
    if words:
        return _answer(shell, words)
    return SCRIPTS[shell].replace("@NAME@", _quoted(os.path.basename(argv0)))


def _quoted(name: str) -> str:
    from shlex import quote

    return quote(name)


def _answer(shell: str, words: Sequence[str]) -> str:
    found = candidates(joined(words) if shell == "bash" else words)
    if isinstance(found, str):
        return f"{found}\n"
    return "".join([f"{line}\n" for line in ("words", *[_line(shell, *row) for row in found])])


def _line(shell: str, word: str, text: str) -> str:
    if shell == "bash":  # it completes what stands behind the "=", and shows no texts
        return word.partition("=")[2] or word
    if shell == "zsh":
        word = word.replace(":", "\\:")
    separator = ":" if shell == "zsh" else "\t"
    return f"{word}{separator}{text}" if text else word


def joined(words: Sequence[str]) -> list[str]:
    """Put together what bash takes apart (COMP_WORDBREAKS): `--root`, `=`, `/x`."""
    whole: list[str] = []
    glue = False
    for word in words:
        breaks = word in {"=", ":"}
        if whole and (glue or breaks):
            whole[-1] += word
        else:
            whole.append(word)
        glue = breaks
    return whole


def candidates(words: Sequence[str]) -> Words | str:
    """Return what could stand for the last of the words behind the program's name, or FILES, or DIRECTORIES."""
    *before, last = words
    try:
        given, rest = parse_options(GLOBALS, before, mixed=False)
    except MisuseError:
        return _after(GLOBALS, before, last)
    if not rest:
        return _options(GLOBALS, last) if last[:1] == "-" else _commands(last)
    name, *before = rest
    if name in ("help", "h"):
        return _commands(last)
    if name not in COMMANDS:
        return []
    table = (*COMMANDS[name][4], HELP)
    try:
        _given, arguments = parse_options(table, before, mixed=name not in HAND_ON)
    except MisuseError:
        return _after(table, before, last)
    if last[:1] == "-" and "--" not in before and not (arguments and name in HAND_ON):
        return _options(table, last)
    return _argument(name, len(arguments), last, str(given["root"]))


def _after(table: Sequence[Option], before: Sequence[str], last: str) -> Words | str:
    """Return what the value of the option before may be; nothing for a line that is wrong already."""
    row = _row(table, before[-1])
    return _value(row, last) if row is not None else []


def _row(table: Sequence[Option], word: str) -> Option | None:
    """Return the option of a word such as `--root`, if it takes a value."""
    name = word.lstrip("-")
    return next((row for row in table if word[:1] == "-" and name in row[:2] and row[2] != "bool"), None)


def _value(row: Option, last: str, prefix: str = "") -> Words | str:
    if row[4] in KINDS:
        return KINDS[row[4]]
    return [(prefix + word, "") for word in CHOICES.get(row[0], ()) if word.startswith(last)]


def _options(table: Sequence[Option], last: str) -> Words | str:
    name, equals, value = last.partition("=")
    if equals:
        row = _row(table, name)
        return _value(row, value, f"{name}=") if row is not None else []
    return [(f"--{row[0]}", row[5]) for row in table if row[5] and f"--{row[0]}".startswith(last)]


def _commands(last: str) -> Words:
    rows = [(name, row[3]) for name, row in COMMANDS.items()]
    return [(name, text) for name, text in (*rows, ("help", "show help")) if name.startswith(last)]


def _argument(name: str, position: int, last: str, root: str) -> Words | str:
    """Return what may be the argument of a command at a position, counted from 0."""
    arguments, _fewest, most, *_ = COMMANDS[name]
    if position >= most:
        return []
    kind = arguments.split()[min(position, len(arguments.split()) - 1)]
    if kind == "[bundle]":
        return DIRECTORIES
    if kind == ID:
        return [] if name in NEW else [(word, "") for word in _ids(root) if word.startswith(last)]
    if kind == "[signal]":
        return [(word, "") for word in _signals() if word.startswith(last.upper())]
    return [(word, "") for word in CHOICES.get(kind, ()) if word.startswith(last)]


def _signals() -> list[str]:
    from pyrunc.spec.tables import SIGNALS

    return [form for name in SIGNALS for form in (name.removeprefix("SIG"), name)]


def _ids(root: str) -> list[str]:
    from pyrunc.cli import root_of

    try:
        return StateRoot(root_of(root)).names()
    except (OSError, PyruncError):
        return []  # nothing can be read there: nothing to offer, and TAB is no place for a message
