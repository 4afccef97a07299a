"""Every option and every command, as data: the parser, the help texts, the man pages and completion read it.

An option is `(name, short, kind, default, metavar, text)`. Kinds: "bool", "str", "uint" (a number of 0 or
more), "int" (None when it is not given), "duration" (as Go writes it, kept as text) and "list" (may be
repeated). An option without a text is accepted and left out of the help.

A command is `(arguments, fewest, most, summary, options)`; `fewest` and `most` count the arguments.
Plain tuples, because they come out of the compiled file at no cost.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Option: TypeAlias = tuple[str, str, str, object, str, str]
    Command: TypeAlias = tuple[str, int, int, str, tuple[Option, ...]]

ID = "<container-id>"

HELP: Option = ("help", "h", "bool", False, "", "show help")

GLOBALS: tuple[Option, ...] = (
    ("debug", "", "bool", False, "", "log what is done, with the place in the source"),
    ("log", "", "str", "", "FILE", "append the log to this file (default: standard error)"),
    ("log-format", "", "str", "text", "FORMAT", "format of the log, text or json"),
    ("log-level", "", "str", "", "LEVEL", "what to log: error, warning or debug (default: warning)"),
    ("root", "", "str", "", "DIR", "directory for the state of containers; should be on a tmpfs"),
    ("systemd-cgroup", "", "bool", False, "", "let systemd make the cgroups"),
    (
        "cgroup-manager",
        "",
        "str",
        "cgroupfs",
        "NAME",
        "who makes the cgroups: cgroupfs, systemd or disabled",
    ),
    ("rootless", "", "str", "auto", "WHEN", "ignore that cgroups may not be changed: true, false or auto"),
    ("trace", "", "str", "", "FILE", "write where the time went, in the trace-event format"),
    ("criu", "", "str", "", "PATH", ""),
    HELP,
    ("version", "v", "bool", False, "", "print the version"),
)

BUNDLE: Option = ("bundle", "b", "str", "", "DIR", "path of the bundle (default: the current directory)")
NO_PIVOT: Option = (
    "no-pivot", "", "bool", False, "",
    "do not use pivot_root(2), for a root file system on a ramdisk",
)  # fmt: skip
NO_NEW_KEYRING: Option = (
    "no-new-keyring", "", "bool", False, "",
    "keep the caller's session keyring instead of making a new one",
)  # fmt: skip
PRESERVE_FDS: Option = (
    "preserve-fds", "", "uint", 0, "N",
    "hand on N descriptors beyond the standard ones and those of $LISTEN_FDS",
)  # fmt: skip
FORMAT: Option = ("format", "f", "str", "table", "FORMAT", "table or json")

REGEX: Option = (
    "regex", "r", "bool", False, "",
    "the id is a regular expression: all containers in whose ids it is found",
)  # fmt: skip

CONFIG: Option = (
    "config", "f", "str", "", "FILE",
    "configuration to use instead of the bundle's config.json",
)  # fmt: skip

CREATE: tuple[Option, ...] = (
    BUNDLE,
    CONFIG,
    ("console-socket", "", "str", "", "PATH", "Unix socket that receives the master end of the terminal"),
    ("pidfd-socket", "", "str", "", "PATH", "Unix socket that receives a pidfd of the process"),
    ("pid-file", "", "str", "", "FILE", "file to write the process id to"),
    NO_PIVOT,
    NO_NEW_KEYRING,
    PRESERVE_FDS,
)
RUN: tuple[Option, ...] = (
    *CREATE,
    ("detach", "d", "bool", False, "", "leave the container running in the background"),
    ("keep", "", "bool", False, "", "keep the stopped container until it is deleted"),
    ("no-subreaper", "", "bool", False, "", "do not become the reaper of the container's orphans"),
)

UPDATE: tuple[Option, ...] = (
    ("resources", "r", "str", "", "FILE", "JSON file with resources, as in config.json; - is standard input"),
    ("blkio-weight", "", "int", None, "N", "weight of block I/O, from 10 to 1000"),
    ("cpu-period", "", "str", "", "USEC", "period of CPU time; 0 for the default"),
    ("cpu-quota", "", "str", "", "USEC", "CPU time in a period"),
    ("cpu-burst", "", "str", "", "USEC", "CPU time that may be saved up for a burst"),
    ("cpu-share", "", "str", "", "N", "weight of CPU time, from 2 to 262144"),
    ("cpu-rt-period", "", "str", "", "USEC", "period of real-time scheduling; 0 for the default"),
    ("cpu-rt-runtime", "", "str", "", "USEC", "real-time scheduling in a period"),
    ("cpu-idle", "", "str", "", "0|1", "1 runs the container only when nothing else wants the CPU"),
    ("cpuset-cpus", "", "str", "", "LIST", "CPUs to use: 0-3,7"),
    ("cpuset-mems", "", "str", "", "LIST", "memory nodes to use"),
    ("memory", "", "str", "", "BYTES", "limit of memory: 512m, or -1 for none"),
    ("memory-reservation", "", "str", "", "BYTES", "soft limit of memory"),
    ("memory-swap", "", "str", "", "BYTES", "limit of memory and swap together, or -1 for none"),
    ("pids-limit", "", "int", None, "N", "limit of processes and threads, or -1 for none"),
    ("l3-cache-schema", "", "str", "", "SCHEMA", "share of the L3 cache (resctrl)"),
    ("mem-bw-schema", "", "str", "", "SCHEMA", "share of the memory bandwidth (resctrl)"),
    ("kernel-memory", "", "str", "", "BYTES", ""),
    ("kernel-memory-tcp", "", "str", "", "BYTES", ""),
)

EXEC: tuple[Option, ...] = (
    ("console-socket", "", "str", "", "PATH", "Unix socket that receives the master end of the terminal"),
    ("pidfd-socket", "", "str", "", "PATH", "Unix socket that receives a pidfd of the process"),
    ("cwd", "", "str", "", "DIR", "working directory in the container"),
    ("env", "e", "list", None, "NAME=VALUE", "add to the environment (may be repeated)"),
    ("tty", "t", "bool", False, "", "give the process a terminal"),
    ("user", "u", "str", "", "UID[:GID]", "user, and group, to run as"),
    ("additional-gids", "g", "list", None, "GID", "add a supplementary group (may be repeated)"),
    ("process", "p", "str", "", "FILE", "JSON file with the whole process, instead of a command"),
    ("detach", "d", "bool", False, "", "leave the process running in the background"),
    ("pid-file", "", "str", "", "FILE", "file to write the process id to"),
    ("process-label", "", "str", "", "LABEL", "SELinux label of the process"),
    ("apparmor", "", "str", "", "PROFILE", "AppArmor profile of the process"),
    ("no-new-privs", "", "bool", False, "", "set no_new_privs for the process"),
    ("cap", "c", "list", None, "CAP", "add a capability (may be repeated)"),
    ("preserve-fds", "", "uint", 0, "N", "hand on N descriptors beyond the standard ones"),
    (
        "cgroup", "", "list", None, "[CONTROLLERS:]PATH",
        "run in a cgroup below the container's own (may be repeated, with controllers)",
    ),
    ("ignore-paused", "", "bool", False, "", "also in a paused container: the process waits until it goes on"),
    ("no-subreaper", "", "bool", False, "", ""),
)  # fmt: skip

IMAGES: tuple[Option, ...] = (
    ("image-path", "", "str", "", "DIR", "directory of criu's image files (default: ./checkpoint)"),
    ("work-path", "", "str", "", "DIR", "directory of criu's log and other working files"),
    ("tcp-established", "", "bool", False, "", "allow open TCP connections"),
    ("ext-unix-sk", "", "bool", False, "", "allow Unix sockets that are connected to the outside"),
    ("shell-job", "", "bool", False, "", "allow a session or terminal of the outside"),
    ("file-locks", "", "bool", False, "", "allow file locks"),
    (
        "manage-cgroups-mode",
        "",
        "str",
        "",
        "MODE",
        "how criu treats cgroups: soft (default), full, strict or ignore",
    ),
    ("empty-ns", "", "list", None, "NAMESPACE", "leave a namespace empty (network only)"),
    ("auto-dedup", "", "bool", False, "", "remove pages of memory that a later image replaces"),
    ("lazy-pages", "", "bool", False, "", "move memory as it is asked for (userfaultfd)"),
    (
        "network-lock",
        "",
        "str",
        "",
        "METHOD",
        "how the network is kept still: iptables (default), nftables or skip",
    ),
)
CHECKPOINT: tuple[Option, ...] = (
    *IMAGES,
    ("parent-path", "", "str", "", "DIR", "directory of an earlier --pre-dump, relative to the image path"),
    ("leave-running", "", "bool", False, "", "let the container go on afterwards"),
    ("tcp-skip-in-flight", "", "bool", False, "", "leave out TCP connections that are not yet established"),
    ("link-remap", "", "bool", False, "", "give files without a name one, to be found again"),
    (
        "status-fd",
        "",
        "int",
        None,
        "FD",
        "descriptor that is written to when criu's server for lazy pages is ready",
    ),
    ("page-server", "", "str", "", "ADDRESS:PORT", "send memory to this page server of criu"),
    ("pre-dump", "", "bool", False, "", "write memory only, and let the container go on"),
)
RESTORE: tuple[Option, ...] = (
    *IMAGES,
    BUNDLE,
    ("console-socket", "", "str", "", "PATH", "Unix socket that receives the master end of the terminal"),
    ("detach", "d", "bool", False, "", "leave the container running in the background"),
    ("pid-file", "", "str", "", "FILE", "file to write the process id to"),
    ("no-subreaper", "", "bool", False, "", "do not become the reaper of the container's orphans"),
    NO_PIVOT,
    (
        "lsm-profile",
        "",
        "str",
        "",
        "TYPE:NAME",
        "LSM profile to restore with: apparmor:NAME or selinux:LABEL",
    ),
    ("tcp-close", "", "bool", False, "", "close the TCP connections of the image"),
    ("lsm-mount-context", "", "str", "", "CONTEXT", "SELinux context of the restored mounts"),
)

ANY = 1 << 30
"""For `most`, when there may be any number of arguments."""
HAND_ON = frozenset({"exec", "ps"})
"""Commands whose arguments are another program's, with that program's options: ours end at the first argument."""

COMMANDS: dict[str, Command] = {
    "check": ("", 0, 0, "show what this host can and cannot do for containers, and why", (FORMAT,)),
    "checkpoint": (ID, 1, 1, "write a running container to files (needs criu)", CHECKPOINT),
    "create": (ID, 1, 1, "create a container", CREATE),
    "completion": ("<shell> [words]", 1, ANY, "print the completion script of a shell", ()),
    "delete": (
        ID, 1, 1, "delete what is held for a container",
        (("force", "f", "bool", False, "", "kill the container first if it is still running"), REGEX),
    ),
    "engines": ("", 0, 0, "show how to name this runtime to the container engines of this host", ()),
    "events": (
        ID, 1, 1, "show what a container uses, and when it runs out of memory",
        (
            ("interval", "", "duration", "5s", "TIME", "how often to show what is used"),
            ("stats", "", "bool", False, "", "show it once, and end"),
        ),
    ),
    "exec": (f"{ID} <command> [command options]", 1, ANY, "run one more process in a container", EXEC),
    "features": ("", 0, 0, "show the enabled features", ()),
    "kill": (
        f"{ID} [signal]", 1, 2, "send a signal (default: SIGTERM) to the container's first process",
        (("all", "a", "bool", False, "", ""), REGEX),
    ),
    "list": (
        "", 0, 0, "list the containers below the root",
        (FORMAT, ("quiet", "q", "bool", False, "", "show only the ids")),
    ),
    "mounts": (
        f"add|remove {ID} <file>", 3, 3,
        "add mounts to a container that lives, or remove them", (),
    ),
    "pause": (ID, 1, 1, "stop all processes of a container where they stand", ()),
    "plan": (
        "[bundle]", 0, 1, "show what would be asked of the kernel for a bundle",
        (
            BUNDLE,
            ("json", "", "bool", False, "", "as JSON"),
            CONFIG,
            ("host", "", "str", "", "FILE", "compile for the host that is recorded in this file"),
            ("save-host", "", "str", "", "FILE", "record this host in a file"),
            ("plan-diff", "", "str", "", "DIR", "show only what differs from the plan of this other bundle"),
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
        ),
    ),
    "ps": (f"{ID} [ps options]", 1, ANY, "show the processes of a container", (FORMAT,)),
    "resume": (ID, 1, 1, "let the processes of a paused container go on", ()),
    "restore": (ID, 1, 1, "bring a container back from the files of checkpoint (needs criu)", RESTORE),
    "run": (ID, 1, 1, "create and start a container", RUN),
    "spec": (
        "", 0, 0, "write a new configuration",
        (
            ("bundle", "b", "str", "", "DIR", "directory to write it to (default: the current directory)"),
            ("rootless", "", "bool", False, "", "for a container of an ordinary user"),
        ),
    ),
    "start": (ID, 1, 1, "run the program of a created container", ()),
    "state": (ID, 1, 1, "show the state of a container", ()),
    "top": (
        "", 0, 0, "show what all containers use",
        (
            ("interval", "", "duration", "2s", "TIME", "how often to look"),
            ("once", "", "bool", False, "", "show it once, and end"),
        ),
    ),
    "update": (ID, 1, 1, "change the limits of a container", UPDATE),
    "validate": ("[bundle]", 0, 1, "check a bundle's configuration and report every fault", (BUNDLE,)),
}  # fmt: skip
"""The commands in the order of the help, beside `help` itself."""

CHOICES: dict[str, tuple[str, ...]] = {
    "cgroup-manager": ("cgroupfs", "systemd", "disabled"),
    "cpu-idle": ("0", "1"),
    "format": ("table", "json"),
    "log-format": ("text", "json"),
    "log-level": ("error", "warning", "debug"),
    "manage-cgroups-mode": ("soft", "full", "strict", "ignore"),
    "rootless": ("auto", "true", "false"),
    "<shell>": ("bash", "zsh", "fish"),
}
"""The words that an option or an argument may be, where they can be counted."""
