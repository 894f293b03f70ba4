"""What a child may not do, set by the child itself before it reads anything. Standard library only.

Three layers, because each has gaps: resource limits (memory, CPU, files, no writing), a seccomp filter (no
sockets, no programs, no changes to the file system, no signals to others) where the kernel has one, and an audit
hook that stops the same things in Python with a readable error.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any, Final

# linux/prctl.h, linux/seccomp.h, linux/audit.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_DENY: Final = 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM
_KILL: Final = 0x80000000

# Call numbers per machine: (x86_64, aarch64); what aarch64 lacks has the number of what stands in for it.
# asm/unistd_64.h and asm-generic/unistd.h
_DENIED_CALLS: Final[dict[str, tuple[int, int]]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, 220),  # the child never starts threads or processes
    "vfork": (58, 220),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),  # abort() then ends by an illegal instruction instead of SIGABRT
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),  # would open sockets past this filter
    "rename": (82, 38),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlink": (87, 35),
    "unlinkat": (263, 35),
    "rmdir": (84, 35),
    "mkdir": (83, 34),
    "mkdirat": (258, 34),
    "link": (86, 37),
    "linkat": (265, 37),
    "symlink": (88, 36),
    "symlinkat": (266, 36),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "chmod": (90, 53),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, 54),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "mknod": (133, 33),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
}
_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT: Final = 0x40000000

_DENIED_EVENTS: Final = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "shutil.", "pickle.find_class", "urllib.", "ftplib.", "smtplib.", "http.client.",
)  # fmt: skip


def enter(*, memory_bytes: int, open_files: int, parent: int) -> dict[str, bool]:
    """Give up everything a reader does not need; returns which kernel measures are in force.

    Call once, in a child with one thread. The CPU limit is set per file by `limit_cpu`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes the pipe
    dies_with_parent = libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    filtered = _deny_calls(libc)
    sys.addaudithook(_audit)
    return {"dies_with_parent": dies_with_parent, "seccomp": filtered}


def limit_cpu(cpu_s: float) -> None:
    """Let the process use `cpu_s` more seconds of CPU, then die of SIGXCPU; whole seconds, rounded up."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_s = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used_s + cpu_s) + 1, hard))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_DENIED_EVENTS):
        raise PermissionError(f"a reader may not {event}")
    if event == "open" and _opens_for_writing(arguments):
        raise PermissionError("a reader may not write files")


def _opens_for_writing(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) != 0


def _deny_calls(libc: ctypes.CDLL) -> bool:
    """Install the seccomp filter; False where the kernel or the machine has none."""
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        return False
    column = 0 if machine == "x86_64" else 1
    numbers = sorted({call[column] for call in _DENIED_CALLS.values()})
    program = _bpf(_AUDIT_ARCH[machine], numbers, x32=machine == "x86_64")
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; } with native padding
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def _bpf(arch: int, numbers: list[int], *, x32: bool) -> bytes:
    """The filter as classic BPF: struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06

    def step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
        return struct.pack("HBBI", code, true, false, value)

    steps = [step(load, 4), step(equal, arch, 1, 0), step(give, _KILL), step(load, 0)]
    if x32:  # the same calls under other numbers
        steps += [step(at_least, _X32_BIT, 0, 1), step(give, _DENY)]
    for number in numbers:
        steps += [step(equal, number, 0, 1), step(give, _DENY)]
    return b"".join([*steps, step(give, _ALLOW)])
