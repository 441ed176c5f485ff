"""Start a child so that it dies with its parent, and does not run as root if the program refuses that.

This file is a program, run as ``python -I -S exec_wrapper.py DEATH_SIGNAL PARENT_PID IDENTITY command…``. A ``preexec_fn``
would instead run Python between fork and exec of a process with threads, which may deadlock. The program costs 20 ms and
replaces itself by the command, so the pid stays the same.

* The parent-death signal ends all children when the supervisor is killed with ``kill -9``. It exists on Linux only; on other
  systems children end at the latest when they notice their closed output.
* IDENTITY ``mapped``: a user namespace in which our own uid is called 1000. PostgreSQL refuses to run as root; this needs no
  other user, and the files stay ours. ``nobody``: become that user, where namespaces are forbidden.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # The default, as in the command: PostgreSQL is stopped with SIGINT, which may arrive during the imports below.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
MAPPED_ID = 1000


def main() -> None:
    """Apply the three arguments, then become the command."""
    death_signal, parent, identity, *command = sys.argv[1:]
    IDENTITIES[identity]()
    if sys.platform == "linux":
        # After the change of identity, which clears it.
        _call("prctl", PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):  # it died before the signal was requested
            sys.exit("The supervisor has gone.")
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own arguments, no shell
    except OSError as error:
        sys.exit(f"{command[0]} can't be started: {error.strerror}.")


def map_user() -> None:
    """Enter a user namespace in which this process is an ordinary user."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")  # the kernel wants this before gid_map
    _write("/proc/self/uid_map", f"{MAPPED_ID} {uid} 1")
    _write("/proc/self/gid_map", f"{MAPPED_ID} {gid} 1")


def become_nobody() -> None:
    """Drop root permanently."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    os.environ["HOME"] = "/"


def _call(function: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments) != 0:
        sys.exit(f"{function} is refused here: {os.strerror(ctypes.get_errno())}.")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # without pathlib, which would be half of the start-up time
        file.write(text)


IDENTITIES = {"self": lambda: None, "mapped": map_user, "nobody": become_nobody}

if __name__ == "__main__":
    main()
