"""The man pages, made from the table of options and the texts of the help: `python -m pyrunc.cli.manual DIR`."""

from __future__ import annotations

import sys

from pyrunc import _os as os
from pyrunc.cli.help import ABOUT, ARGUMENTS, DESCRIPTIONS
from pyrunc.cli.table import CHOICES, COMMANDS, GLOBALS, HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.cli.table import Option

NAME = "pyrunc"
TITLE = '.TH {} 8 "" "pyrunc" "System Administration"'

EXIT_STATUS = (
    ("0", "The command did what it was asked for."),
    ("1", "It did not; one line on standard error, and in the log, says why."),
    ("3", "There is no such command."),
    ("255", "exec could not run the process."),
    (
        "other",
        "run and exec leave with the process's exit status, or with 128 + N when signal N ended it.",
    ),
)
ENVIRONMENT = (
    ("XDG_RUNTIME_DIR", "Where an ordinary user's containers are kept, in a directory named pyrunc."),
    ("LISTEN_FDS, LISTEN_PID", "Sockets that create and run hand on, as in sd_listen_fds(3)."),
    ("NOTIFY_SOCKET", "The socket that is told when the program says that it is ready, as in sd_notify(3)."),
    ("NO_COLOR", "When it is set, what is shown on a terminal has no colours."),
)
FILES = (
    ("/run/pyrunc", "The state of containers, unless the option --root names another directory."),
    (
        "/run/pyrunc/.snapshot-*",
        "Started interpreters, one an installation, from which root's commands go on. They may be removed at any time.",
    ),
    ("config.json", "The configuration in a bundle, as the OCI runtime specification describes it."),
)


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    found = {f"{NAME}.8": _main_page()}
    for command in COMMANDS:
        found[f"{NAME}-{command}.8"] = _command_page(command)
    return found


def _main_page() -> str:
    about = ABOUT.format(name=NAME)
    return _page(
        NAME.upper(),
        ("NAME", f"{NAME} \\- run containers by the OCI runtime specification\n"),
        ("SYNOPSIS", f".B {NAME}\n[global options] command [command options] [arguments...]\n"),
        ("DESCRIPTION", _prose(about)),
        (
            "COMMANDS",
            _items((f"{NAME}-{verb}(8)", f"{_sentence(row[3])}.") for verb, row in COMMANDS.items()),
        ),
        ("GLOBAL OPTIONS", _options(GLOBALS)),
        ("EXIT STATUS", _items(EXIT_STATUS)),
        ("ENVIRONMENT", _items(ENVIRONMENT)),
        ("FILES", _items(FILES)),
        ("SEE ALSO", ".BR runc (8),\n.BR crun (1)\n"),
    )


def _command_page(command: str) -> str:
    arguments, _fewest, _most, summary, options = COMMANDS[command]
    name = f"{NAME}-{command}"
    usage = f".B {NAME} {command}\n[command options] {arguments}".rstrip()
    text = DESCRIPTIONS[command].replace("{name}", NAME)
    if command in ARGUMENTS:
        text += f"\n\n{ARGUMENTS[command]}"
    return _page(
        name.upper(),
        ("NAME", f"{_escaped(name)} \\- {_escaped(summary)}\n"),
        ("SYNOPSIS", f"{_escaped(usage)}\n"),
        ("DESCRIPTION", _prose(text)),
        ("OPTIONS", _options((*options, HELP))),
        ("SEE ALSO", f".BR {NAME} (8)\n"),
    )


def _page(title: str, *sections: tuple[str, str]) -> str:
    parts = [f'.SH "{heading}"\n{text}' for heading, text in sections]
    return "\n".join((r".\" made by pyrunc/cli/manual.py", TITLE.format(_escaped(title)), "".join(parts)))


def _options(options: Iterable[Option]) -> str:
    return _items((_flags(row), _meaning(row)) for row in options if row[5])


def _flags(row: Option) -> str:
    name, short, _kind, _default, metavar, _text = row
    value = f" {metavar}" if metavar else ""
    return f"--{name}{value}" + (f", -{short}{value}" if short else "")


def _meaning(row: Option) -> str:
    name, _short, _kind, default, metavar, text = row
    known = CHOICES.get(name, ())
    values = "" if all(word in text for word in known) else f" One of {', '.join(known)}."
    shown = f" The default is {default}." if default and metavar and "default" not in text else ""
    return f"{_sentence(text)}.{values}{shown}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _items(rows: Iterable[tuple[str, str]]) -> str:
    return "".join([f".TP\n.B {_escaped(term)}\n{_line(_escaped(text))}\n" for term, text in rows])


def _prose(text: str) -> str:
    """Return paragraphs; lines that are indented in the help stand as they are."""
    lines = []
    for line in text.splitlines():
        if not line:
            lines.append(".PP")
        elif line.startswith("    "):
            lines += [".RS 4", ".nf", _line(_escaped(line.strip())), ".fi", ".RE"]
        else:
            lines.append(_line(_escaped(line)))
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def _line(text: str) -> str:
    """Keep a line from being read as a request."""
    return f"\\&{text}" if text[:1] in {".", "'"} else text


def main(directory: str) -> None:
    """Write all pages into a directory, and remove those that belong to no command any more."""
    for name in os.listdir(directory):
        if name.endswith(".8"):
            os.unlink(f"{directory}/{name}")
    for name, text in pages().items():
        with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
