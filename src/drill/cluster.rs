//! A throwaway PostgreSQL cluster of the drill's own: fsync on, reached through a socket that only its owner (and root)
//! can open.
//!
//! It never outlives the drill, however that ends: a shell holds the other end of a pipe, and when the drill's end is
//! closed, stops the server and removes the folder.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::error::{Error, Result};
use crate::model::DatabaseUrl;

/// Where Debian and Ubuntu keep the server's programs, which are not in `PATH`: a folder a version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// A socket's path is short, and a private `TMPDIR` may be closed to the server's user.
const FOLDERS: &str = "/tmp";
/// How long the watchdog may take to stop the server.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for the end of its input; stops the server and cleans up unless it was told to keep it.
const WATCHDOG: &str = r#"
read -r word
[ "$word" = keep ] && exit
# Where initdb is still at work, it ends when its folder is gone.
tries=60
while [ -e "$2" ] && [ $tries -gt 0 ]; do
    "$1" stop -D "$2/data" -m immediate -w >"$2/stop.log" 2>&1
    rm -rf "$2" 2>/dev/null || sleep 1
    tries=$((tries - 1))
done
"#;

/// A running cluster.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    watchdog: Child,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub async fn start() -> Result<Self> {
        let programs = programs(Path::new(VERSIONS)).await?;
        let unable = |error| Error::failed("unable to make a folder for PostgreSQL").because(error);
        let prefix = format!("reinstate-drill-pg-{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(FOLDERS);
        let folder = folder.map_err(unable)?.keep();
        let owner = rustix::process::getuid().is_root().then(server_user).flatten();
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).map_err(unable)?;
        }
        let mut watchdog = unprivileged(Path::new("/bin/sh"), owner);
        watchdog.args(["-c", WATCHDOG, "watchdog"]).arg(programs.join("pg_ctl")).arg(&folder);
        // A group of its own: Ctrl-C on the terminal reaches the drill, and through the pipe the server.
        let watchdog = watchdog.stdin(Stdio::piped()).process_group(0).spawn();
        let watchdog = watchdog.map_err(|error| Error::failed("unable to run /bin/sh").because(error))?;
        let cluster = Self { folder, programs, owner, watchdog };
        cluster.initialize().await?;
        cluster.control(&["start"]).await?;
        Ok(cluster)
    }

    async fn initialize(&self) -> Result<()> {
        let mut initdb = unprivileged(&self.programs.join("initdb"), self.owner);
        initdb.arg("-D").arg(self.folder.join("data"));
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres"]);
        self.run(initdb, "initdb").await?;
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nunix_socket_permissions = 0700\n\
             max_connections = 200\nshared_buffers = 256MB\nmax_wal_size = 2GB\n",
            self.folder.display()
        );
        let file = self.folder.join("data/postgresql.auto.conf");
        std::fs::write(&file, settings)
            .map_err(|error| Error::failed(format!("unable to write '{}'", file.display())).because(error))
    }

    /// Ends the server as a crash would, and starts it again.
    pub async fn crash(&self) -> Result<()> {
        self.control(&["restart", "-m", "immediate"]).await
    }

    async fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut control = unprivileged(&self.programs.join("pg_ctl"), self.owner);
        control.args(arguments).arg("-w").arg("-D").arg(self.folder.join("data"));
        control.arg("-l").arg(self.folder.join("server.log"));
        self.run(control, "pg_ctl").await
    }

    /// Runs a program; what it says goes to a file, since the server it starts would keep a pipe open.
    async fn run(&self, mut command: Command, name: &str) -> Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let failed = || Error::failed(format!("unable to run PostgreSQL's program '{name}'"));
        let file = std::fs::File::create(&log).map_err(|error| failed().because(error))?;
        let second = file.try_clone().map_err(|error| failed().because(error))?;
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let status = command.status().await.map_err(|error| failed().because(error))?;
        if status.success() {
            return Ok(());
        }
        let said: String =
            [log, self.folder.join("server.log")].iter().filter_map(|file| last_line(file)).collect();
        Err(failed().hint(format!("it said: {said}")))
    }

    /// As the superuser.
    pub fn url(&self) -> Result<DatabaseUrl> {
        DatabaseUrl::parse(&format!("postgres://postgres@localhost/postgres?host={}", self.folder.display()))
    }

    /// How to stop one that was kept.
    pub fn farewell(&self) -> String {
        let program = self.programs.join("pg_ctl");
        let data = self.folder.join("data");
        format!(
            "{} stop -D {} as its owner; then remove {}",
            program.display(),
            data.display(),
            self.folder.display()
        )
    }

    /// Stops it and removes everything, or leaves it running.
    pub async fn end(mut self, keep: bool) -> Result<()> {
        if let Some(mut pipe) = self.watchdog.stdin.take()
            && keep
        {
            // A watchdog that is gone cleans up nothing.
            let _ = pipe.write_all(b"keep\n").await;
        }
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.watchdog.wait()).await;
        ended.map(drop).map_err(|_| {
            Error::failed(format!(
                "unable to stop the cluster in '{}' in {STOP_TIMEOUT:?}",
                self.folder.display()
            ))
        })
    }
}

fn last_line(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().rfind(|line| !line.trim().is_empty()).map(|line| format!("{line} "))
}

/// The folder of the server's programs; an empty path where `PATH` knows them.
async fn programs(versions: &Path) -> Result<PathBuf> {
    let mut initdb = Command::new("initdb");
    initdb.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if initdb.status().await.is_ok_and(|status| status.success()) {
        return Ok(PathBuf::new());
    }
    newest(versions).ok_or_else(|| {
        Error::usage("unable to find PostgreSQL's program 'initdb'").hint(
            "install the server (Debian, Ubuntu: apt-get install postgresql), or name one with --shard URL",
        )
    })
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let number = |path: &Path| path.file_name().and_then(OsStr::to_str)?.parse::<u32>().ok();
    let folders = std::fs::read_dir(versions).ok()?.flatten().map(|entry| entry.path());
    let able = folders.filter(|path| path.join("bin/initdb").is_file());
    able.max_by_key(|path| number(path)).map(|path| path.join("bin"))
}

/// A command that runs as the server's user: PostgreSQL refuses to run as root.
fn unprivileged(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

/// Whom root becomes: `postgres`, or `nobody` where PostgreSQL has made no user of its own.
fn server_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next()? == name;
            let (user, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_it.then_some((user, group))
        })
    };
    find("postgres").or_else(|| find("nobody"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_taken_and_none_is_no_error_of_its_own() {
        let folder = tempfile::tempdir().expect("temp dir");
        assert_eq!(newest(folder.path()), None);
        for version in ["9", "14", "15", "16"] {
            let programs = folder.path().join(version).join("bin");
            std::fs::create_dir_all(&programs).expect("a folder");
            if version != "16" {
                std::fs::write(programs.join("initdb"), "").expect("a file");
            }
        }
        assert_eq!(newest(folder.path()), Some(folder.path().join("15/bin")));
    }
}
