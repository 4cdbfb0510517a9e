"""Runs commands and measures them: wall clock, CPU of the clients and of the server, peak memory, bytes read."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass


@dataclass
class Measured:
    """One or several processes that ran at the same time."""
    wall: float  # seconds until the last one ended
    client_cpu: float  # seconds
    server_cpu: float  # seconds
    rss: int  # bytes, the largest process
    read: int  # bytes that read calls returned: files and pipes, not sockets
    started: float  # seconds since 1970
    output: str  # standard output of the first one

    @property
    def cpu(self):
        return self.client_cpu + self.server_cpu


def measure(server, *commands, env=None, cwd=None, discard=False):
    """Runs `commands` side by side; raises if one fails. With `discard` their output goes nowhere."""
    environment = {**os.environ, **server.environment, **(env or {})}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        server_before, started, begun = server.cpu(), time.time(), time.monotonic()
        running = []
        for at, command in enumerate(commands):
            out = output if at == 0 and not discard else subprocess.DEVNULL
            running.append(subprocess.Popen(command, stdout=out, stderr=errors, env=environment, cwd=cwd))
        cpu, rss, read, failed = 0.0, 0, 0, []
        for process in running:
            # A process that has ended but was not waited for still has its counters.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            read += bytes_read(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
            rss = max(rss, usage.ru_maxrss * 1024)
            if process.returncode:
                failed.append(f"{process.returncode} from {' '.join(map(str, process.args))[:400]}")
        wall = time.monotonic() - begun
        if failed:
            errors.seek(0)
            raise RuntimeError("exit code " + "; ".join(failed) + "\n" + errors.read()[-4000:])
        time.sleep(0.3)  # until the server's processes are reaped and counted
        output.seek(0)
        return Measured(wall, cpu, server.cpu() - server_before, rss, read, started, output.read())


def bytes_read(pid):
    with open(f"/proc/{pid}/io") as counters:
        return next(int(line.split()[1]) for line in counters if line.startswith("rchar"))
