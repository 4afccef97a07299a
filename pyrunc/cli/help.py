"""The help texts, in the shape that runC prints: made from the table, with a few sentences a command."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.cli.table import COMMANDS, GLOBALS, HELP
from pyrunc.commands import app_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrunc.cli.table import Option

ABOUT = """\
{name} runs applications that are packaged according to the Open Container Initiative
(OCI) format. It takes the place of runC below container engines, with the same
commands, options, files and messages.

A container is configured by a bundle: a directory with a file named "config.json"
and a root file system. To start a new instance of a container:

    # {name} run [ -b bundle ] <container-id>

where "<container-id>" is a name for the instance that is unique on the host."""

CONTAINER_ID = 'Where "<container-id>" is the name for the instance of the container.'
NEW_ID = """\
Where "<container-id>" is your name for the instance of the container that you are
starting. It must be unique on your host."""

ARGUMENTS: dict[str, str] = {
    "completion": """\
Where "<shell>" is bash, zsh or fish. With "--" and the words of a command line it prints,
for the script, what could stand for the last of them.""",
    "checkpoint": CONTAINER_ID,
    "create": NEW_ID,
    "delete": CONTAINER_ID,
    "events": CONTAINER_ID,
    "exec": f"""\
{CONTAINER_ID[:-1]}, and
"<command>" is the program to run, followed by its own options. Options of exec stand
before the container's id. With --process there is no command.""",
    "kill": f'{CONTAINER_ID[:-1]}, and\n"[signal]" is a number or a name such as KILL or SIGKILL.',
    "list": 'The root is given by the global option "--root".',
    "mounts": f"""\
{CONTAINER_ID[:-1]}, and
"<file>" is JSON with an array "mounts" as in config.json; - is standard input.""",
    "pause": CONTAINER_ID,
    "plan": 'Where "[bundle]" is the path of the bundle (default: the current directory).',
    "ps": f'{CONTAINER_ID[:-1]}, and\n"[ps options]" are options of ps(1) (default: -ef).',
    "restore": NEW_ID,
    "resume": CONTAINER_ID,
    "run": NEW_ID,
    "start": CONTAINER_ID,
    "state": CONTAINER_ID,
    "top": 'The root is given by the global option "--root".',
    "update": CONTAINER_ID,
    "validate": 'Where "[bundle]" is the path of the bundle (default: the current directory).',
}

DESCRIPTIONS: dict[str, str] = {
    "check": """\
The check command looks at kernel, namespaces, cgroups, user ids, capabilities, security
modules, seccomp and criu, and tells what a container can have here, what not, and why. It
changes nothing, and fails only when there can be no containers at all.""",
    "checkpoint": """\
The checkpoint command writes a running container to image files, by criu(8), and ends it.
With --leave-running it goes on afterwards; with --pre-dump only its memory is written, and
a later checkpoint with --parent-path writes what has changed since. When criu fails, the
container goes on as before.""",
    "create": """\
The create command makes the container of a bundle and stops before its program,
which "start" then runs. What the configuration says at this moment counts; later
changes of the file have no effect.""",
    "completion": """\
The completion command prints a script to be read by a shell at its start, such as
    source <({name} completion bash)
It completes commands, options, their values and the ids of containers.""",
    "delete": """\
The delete command removes what is held for a stopped or created container: its
cgroups and its state. After that it runs the poststop hooks.""",
    "engines": """\
The engines command looks for Docker, containerd, nerdctl, Podman and CRI-O, and prints
what to write into their configuration; it changes nothing.""",
    "events": """\
The events command prints JSON, an object a line: at regular intervals what the
container's cgroup has used, and a notice whenever it runs out of memory. It ends when the
container does. On a terminal it prints a table instead.""",
    "exec": """\
The exec command runs one more process in a container that is created or running, with the
environment, user and privileges that its configuration gives to the first one. The exit
status of the process becomes that of this command; 255 says that it could not be run.""",
    "features": """\
The features command prints what this runtime supports, as the JSON document that
the OCI defines.""",
    "kill": """\
The kill command sends a signal to the container's first process. A container
without its own pid namespace is killed as a whole by KILL.""",
    "list": """\
The list command shows each container with its process id, status, bundle, time of
creation and owner.""",
    "mounts": """\
The mounts command adds bind mounts and new file systems to a container, or unmounts what
lies at their destinations. The container is frozen for a moment while something is
removed. What it adds goes with the container; no file says that it is there.""",
    "pause": """\
The pause command freezes the container's cgroup: its processes do nothing until
"resume", and notice nothing. "list" then shows the container as paused.""",
    "plan": """\
The plan command prints, without doing anything, each operation that the
container's process would perform, one a line, with the place in the configuration
that it comes from. With --plan-diff it shows the lines in which the plans of two bundles
differ, and fails when there are any.""",
    "ps": """\
The ps command runs the host's ps(1) and shows what it says about the processes of
the container. With --format json it shows their process ids alone.""",
    "restore": """\
The restore command makes a container of a bundle and brings its processes back from the
image files that "checkpoint" wrote, by criu(8).""",
    "resume": "The resume command lets the processes of a paused container go on.",
    "run": """\
The run command creates a container, starts it and waits for it; its exit status
becomes that of this command. With --detach it returns as soon as the program runs.""",
    "spec": """\
The spec command writes a file named "config.json" to begin with: it runs "sh" on a
terminal in the root file system "rootfs". Edit it to your needs.""",
    "start": "The start command runs the program of a container that was made by the create command.",
    "state": "The state command prints the current state of a container as JSON.",
    "top": """\
The top command shows CPU time, memory, processes, I/O, throttling and pressure (the
share of the last ten seconds in which some task had to wait) of all containers, the
busiest first, until q is pressed. Without a terminal it shows them once.""",
    "update": """\
The update command changes limits of a container that is not stopped: those given by
options, or else those in a JSON file of the form of "linux.resources" in config.json. What
cannot be set leaves the limits as they were. Device rules cannot be changed.""",
    "validate": """\
The validate command checks a configuration against the schema and against the
rules that a schema cannot express, and reports every fault with its path.""",
}


def app_help(argv0: str, version: str) -> str:
    """Return the help of the program; `version` is the text of `--version` without the leading words."""
    name = app_name(argv0)
    command = os.path.basename(argv0)
    commands = [(verb, row[3]) for verb, row in COMMANDS.items()]
    commands.append(("help, h", "show a list of commands or help for one command"))
    return "\n".join(
        (
            f"NAME:\n   {name} - Open Container Initiative runtime\n\n{ABOUT.format(name=name)}\n",
            f"USAGE:\n   {command} [global options] command [command options] [arguments...]\n",
            f"VERSION:\n   {version}\n",
            f"COMMANDS:\n{_columns(commands)}\n",
            f"GLOBAL OPTIONS:\n{_columns(_option_rows(GLOBALS))}\n",
        )
    )


def command_help(argv0: str, command: str) -> str:
    """Return the help of one command."""
    arguments, _fewest, _most, summary, options = COMMANDS[command]
    name = f"{os.path.basename(argv0)} {command}"
    usage = " ".join(filter(None, (name, "[command options]" if options else "", arguments)))
    parts = [f"NAME:\n   {name} - {summary}\n", f"USAGE:\n   {usage}\n"]
    if command in ARGUMENTS:
        parts.append(f"{ARGUMENTS[command]}\n")
    description = DESCRIPTIONS[command].replace("{name}", os.path.basename(argv0))
    parts.append(f"DESCRIPTION:\n   {description}\n")
    parts.append(f"OPTIONS:\n{_columns(_option_rows((*options, HELP)))}\n")
    return "\n".join(parts)


def _option_rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    rows = []
    for name, short, _kind, default, metavar, text in options:
        value = f" {metavar}" if metavar else ""
        flags = f"--{name}{value}" + (f", -{short}{value}" if short else "")
        shown = f' (default: "{default}")' if default and metavar else ""
        if text:
            rows.append((flags, text + shown))
    return rows


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(left) for left, _right in rows) + 2
    return "\n".join(f"   {left:{width}}{right}" for left, right in rows)
