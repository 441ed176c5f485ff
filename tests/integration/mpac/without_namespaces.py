"""Run a command as root without the possibility to create user namespaces: ``python without_namespaces.py command…``.

It creates a namespace that maps every user to itself, and sets the kernel's limit of further namespaces in it to 0. Many
containers have this restriction.
"""

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000
EVERYBODY = "0 0 4294967295"
REFUSED = 77


def main() -> int:
    """Create the namespace, run the command in it, and return its exit code."""
    made, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(made[1])
        if os.read(made[0], 1):
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{child}/{name}", "w") as file:
                    file.write(EVERYBODY)
            os.write(mapped[1], b"1")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ctypes.CDLL(None).unshare(CLONE_NEWUSER) != 0:
        return REFUSED
    os.write(made[1], b"1")
    os.read(mapped[0], 1)
    try:
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
    except OSError:
        return REFUSED
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
