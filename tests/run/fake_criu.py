"""A criu that answers what a test has written down, and keeps what it was asked.

`criu swrk FD`: for each request of a type, the answers of that type in answers.json come one by one, each after the request
or after the acknowledgement of the one before. An answer "fork" stands for criu's post-restore with the pid of a process
that it makes, an answer "tty" for a notification with a terminal.
"""

import array
import json
import os
import pathlib
import socket
import sys

PRE_DUMP = 4
HERE = pathlib.Path(__file__).resolve().parent


def field(number: int, value: "int | bytes") -> bytes:
    """Encode a field whose number is below 16, independently of the code under test."""
    if isinstance(value, int):
        out = bytearray([number << 3])
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes(out) + bytes([value])
    return bytes([number << 3 | 2]) + bytes([len(value)]) + value


def notice(script: str, pid: int = 0) -> bytes:
    return field(1, 6) + field(2, 1) + field(5, field(1, script.encode()) + field(2, pid))


def make_process() -> int:
    """Fork twice: the process is nobody's child, as far as criu is concerned."""
    read, write = os.pipe()
    if (first := os.fork()) == 0:
        second = os.fork()
        if second == 0:
            os.setsid()
            os.closerange(3, 100)
            os.execv("/bin/sleep", ["sleep", "60"])
        os.write(write, str(second).encode())
        os._exit(0)
    os.waitpid(first, 0)
    return int(os.read(read, 20))


def main(fd: int) -> None:
    peer = socket.socket(fileno=fd)
    answers = json.loads((HERE / "answers.json").read_text())
    pending: list[str] = []
    kept = False
    while data := peer.recv(1 << 20):
        with (HERE / "asked").open("a") as file:
            file.write(data.hex() + "\n")
        if data[:2] != b"\x08\x06":
            pending = list(answers[str(data[1])])
            kept = data[1] == PRE_DUMP
        if not pending:
            continue
        answer = pending.pop(0)
        if answer == "fork":
            peer.send(notice("post-restore", make_process()))
        elif answer == "tty":
            rights = array.array("i", [os.openpty()[0]])
            peer.sendmsg([notice("orphan-pts-master")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        elif answer == "end":
            return
        else:
            peer.send(bytes.fromhex(answer))
    if kept:  # it waits for the next one, and criu 3.17 takes the end of the conversation for an error
        sys.stderr.write("Error (criu/cr-service.c:915): Can't recv request: Connection reset by peer\n")


if __name__ == "__main__":
    main(int(sys.argv[2]))
