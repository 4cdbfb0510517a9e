"""A PostgreSQL cluster of the benchmark's own, with settings of a real server, run by an unprivileged user."""

import glob
import os
import pwd
import shutil
import subprocess
from pathlib import Path

# Everything else is PostgreSQL's default: fsync, full-page writes and synchronous commit are on.
SETTINGS = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "256MB",
    "autovacuum": "off",  # the harness vacuums, so that no run is disturbed
    "max_connections": "60",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "log_min_messages": "warning",
}


def program(name):
    """PostgreSQL's own program; the distribution's wrapper of psql in PATH takes a while to start."""
    versions = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    found = versions[-1] if versions else shutil.which(name)
    if not found:
        raise SystemExit(f"error: unable to find PostgreSQL's program '{name}'\nhint: scripts/test --prepare")
    return found


class Server:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.environment = {"PGHOST": str(self.folder), "PGPORT": "5432", "PGUSER": "postgres"}
        self.owner = None
        if os.getuid() == 0:
            names = {user.pw_name for user in pwd.getpwall()}
            self.owner = "postgres" if "postgres" in names else "nobody"

    def start(self):
        if not self.data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.owner:
                shutil.chown(self.folder, self.owner)
            self.as_owner("initdb", f"--pgdata={self.data}", "--username=postgres", "--auth=trust",
                          "--encoding=UTF8", "--locale=C")
        options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
        self.as_owner("pg_ctl", "start", f"--pgdata={self.data}", f"--log={self.folder}/log", "--wait", "--silent",
                      f"--options={options} -c unix_socket_directories='{self.folder}'")
        return self

    def stop(self):
        self.as_owner("pg_ctl", "stop", f"--pgdata={self.data}", "--mode=fast", "--wait", "--silent")

    def as_owner(self, name, *arguments):
        command = [program(name), *arguments]
        if self.owner:
            command = ["runuser", "-u", self.owner, "--", *command]
        done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"'{name}' failed with exit code {done.returncode}; see {self.folder}/log")

    def psql(self, database, *arguments):
        """The command line of psql on a database."""
        return [program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, *map(str, arguments)]

    def run(self, database, *arguments, options=""):
        environment = {**os.environ, **self.environment, "PGOPTIONS": options}
        done = subprocess.run(self.psql(database, *arguments), text=True, capture_output=True, env=environment)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def sql(self, database, text):
        return self.run(database, "-c", text)

    def url(self, database):
        return f"postgres://postgres@localhost/{database}?host={self.folder}"

    def cpu(self):
        """CPU seconds of the server's processes, ended ones included."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        ticks = sum(self.ticks(postmaster)[:4])
        for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
            try:
                ticks += sum(self.ticks(child)[:2])
            except OSError:
                pass  # it has just ended
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def ticks(pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return [int(field) for field in fields[11:15]]
