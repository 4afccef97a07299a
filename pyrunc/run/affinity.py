"""Which CPUs a process may run on."""

from __future__ import annotations

from errno import EINVAL, EPERM, ESRCH

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import OpError

LAST_CPU = 8191
"""No kernel is built for more (CONFIG_NR_CPUS), and it leaves what lies beyond out of account."""


def set_affinity(pid: int, cpus: str, at: str) -> None:
    """Let a process run on a list of CPUs such as 0-3,7 (cpuset(7)). Raises OpError naming `at`."""
    numbers = parse_cpus(cpus)
    log.debug(f"affinity: {sum(1 << number for number in numbers):#x}")
    try:
        os.sched_setaffinity(pid, numbers)
    except (OSError, OverflowError) as error:
        raise OpError(f'{at}: sched_setaffinity "{cpus}"', getattr(error, "errno", 0) or EINVAL) from None


def allow_all_cpus(pid: int) -> None:
    """Undo the caller's own affinity: what a container may use is the cpuset's to say. Raises OpError."""
    try:
        cpus = os.cpu_count() or 1
        if len(os.sched_getaffinity(0)) < cpus:
            os.sched_setaffinity(pid, range(cpus))
    except OSError as error:
        if error.errno not in {EPERM, ESRCH}:  # a host that forbids it has a reason to
            raise OpError("sched_setaffinity", error.errno or EPERM) from None


def parse_cpus(text: str) -> set[int]:
    """Return the numbers of a list that the rules have accepted (`is_number_list`)."""
    numbers: set[int] = set()
    for part in text.split(","):
        low, _, high = part.strip(" ").partition("-")
        numbers.update(range(int(low), min(int(high or low), LAST_CPU) + 1))
    return numbers
