//! A throwaway PostgreSQL server for tests.
//!
//! `initdb` in a folder of its own, a free port, trust authentication, no fsync. The server never outlives
//! the test process, however that ends: it is the child of a shell that waits for the end of a pipe which the
//! test process holds, then stops the server and removes the folder. A machine without PostgreSQL fails the
//! tests; it does not skip them.

#![allow(dead_code)] // Each test binary uses its own part.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const SUPERUSER: &str = "postgres";

/// Stops the server when standard input ends, and cleans up.
const WATCHDOG: &str = r#"
"$1" -D "$2/data" -k "$2" >"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server
wait $server
rm -rf "$2"
"#;

/// A running server. Dropping it stops it; the shared one ends with the process.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    watchdog: Child,
}

impl Cluster {
    /// The server that all tests of this binary share.
    pub fn start() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_with(&[]))
    }

    /// A server of its own, with settings.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = new_folder();
        let mut initdb = unprivileged(&binary("initdb"));
        initdb.arg("-D").arg(folder.join("data")).args([
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--username",
            SUPERUSER,
        ]);
        run(&mut initdb, "");
        Self::start_in(folder, settings)
    }

    /// A hot standby of this server, as of now and following.
    pub fn start_standby(&self) -> Self {
        let folder = new_folder();
        let mut backup = unprivileged(&binary("pg_basebackup"));
        backup.args(["-h", "127.0.0.1", "-U", SUPERUSER, "-R", "-c", "fast", "-X", "stream", "--no-sync"]);
        backup.arg("-p").arg(self.port.to_string()).arg("-D").arg(folder.join("data"));
        run(&mut backup, "");
        Self::start_in(folder, &[])
    }

    fn start_in(folder: PathBuf, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nfsync = off\nfull_page_writes = off\n\
             synchronous_commit = off\nmax_connections = 200\nshared_buffers = 64MB\n"
        );
        for (name, value) in settings {
            lines.push_str(&format!("{name} = '{value}'\n"));
        }
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(folder.join("data/postgresql.conf"))
            .expect("postgresql.conf of the new cluster");
        file.write_all(lines.as_bytes()).expect("write postgresql.conf");

        let mut watchdog = unprivileged(Path::new("/bin/sh"));
        watchdog.args(["-c", WATCHDOG, "watchdog"]).arg(binary("postgres")).arg(&folder);
        // A group of its own: Ctrl-C on the terminal reaches the tests, and through the pipe the server.
        let watchdog = watchdog.stdin(Stdio::piped()).process_group(0).spawn().expect("start /bin/sh");
        let cluster = Self { folder, port, watchdog };
        cluster.wait_until_ready();
        cluster
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let state = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            // The eighth line is the server's state: "ready" on a primary and on a hot standby.
            if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return;
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("PostgreSQL did not start in {START_TIMEOUT:?}; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("the server's log")
    }

    /// The URL of a database, as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The URL of a database, as a role.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database; returns its URL.
    pub fn create_database(&self, name: &str) -> String {
        let url = self.url("postgres");
        psql(&url, &format!("create database \"{}\"", name.replace('"', "\"\"")));
        self.url(name)
    }

    /// Creates an empty database with a name that no other test uses; returns its URL.
    pub fn new_database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        self.create_database(&format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Runs SQL through `psql`, outside the engine; returns what it prints, unaligned and without headers.
pub fn psql(url: &str, sql: &str) -> String {
    let mut command = Command::new(binary("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]).arg(url);
    run(&mut command, sql).trim_end().to_owned()
}

/// Runs a command to its end, which must be good; returns its output.
fn run(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("unable to run {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin");
    let input = input.to_owned();
    // Beside the reading of its output: a full pipe on either side must not stop both.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("wait");
    let written = writer.join().expect("writer");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    written.unwrap_or_else(|error| panic!("{command:?} did not read its input: {error}"));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A program of PostgreSQL: in PATH, or where Debian keeps the newest version.
pub fn binary(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    let number =
        |path: &PathBuf| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    versions.sort_by_key(number);
    let installed = versions.into_iter().rev().map(|version| version.join("bin").join(name));
    in_path.chain(installed).find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("PostgreSQL's '{name}' is not installed; scripts/test installs it and runs the tests")
    })
}

/// A folder that the server's user owns and can reach.
fn new_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // A socket's path is short, and a private TMPDIR may be closed to the server's user: hence /tmp.
    let folder = PathBuf::from(format!("/tmp/reinstate-pg-{}-{count}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("create the cluster's folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    if let Some((user, group)) = server_user() {
        chown(&folder, Some(user), Some(group)).expect("chown");
    }
    folder
}

/// A command that runs as the server's user: PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

/// Whom to become when this is root: `postgres`, or `nobody` where PostgreSQL has made no user of its own.
fn server_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}
