//! Hooks and checks: against a real HTTP server that answers by a script, and with real processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reinstate::Result;
use reinstate::environment::Environment;
use reinstate::error::Kind;
use reinstate::hooks::{Call, Called, Check, Hook, call, check, idempotency_key};
use reinstate::model::{PlanHash, TenantId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the server does about one request; the last one goes on for ever.
#[derive(Clone)]
enum Answer {
    Says(&'static str, &'static str),
    Hangs,
    Hangs1s,
    HangsUp,
}

/// A request as it came in.
#[derive(Clone, Default)]
struct Seen {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, notes) = (answers.to_vec(), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, answers.clone(), Arc::clone(&notes)));
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("requests").clone()
    }
}

async fn read(socket: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let line = lines.next().unwrap_or_default().to_owned();
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |text| text.parse().expect("length"));
            if body.len() >= length {
                return Seen { line, headers, body: body.to_owned() };
            }
        }
        if socket.read_buf(&mut bytes).await.expect("read") == 0 {
            return Seen::default();
        }
    }
}

async fn serve(mut socket: TcpStream, answers: Vec<Answer>, notes: Arc<Mutex<Vec<Seen>>>) {
    let seen = read(&mut socket).await;
    let echo = format!("{:?}", seen.headers);
    let number = {
        let mut notes = notes.lock().expect("requests");
        notes.push(seen);
        notes.len() - 1
    };
    match answers[number.min(answers.len() - 1)] {
        Answer::Says(status, body) => {
            let body = body.replace("ECHO", &echo);
            let (status, more) = status.split_once('|').unwrap_or((status, ""));
            let more = if more.is_empty() { String::new() } else { format!("{more}\r\n") };
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            // The client may be gone.
            let _ = socket.write_all(text.as_bytes()).await;
        }
        Answer::Hangs => tokio::time::sleep(Duration::from_secs(600)).await,
        Answer::Hangs1s => tokio::time::sleep(Duration::from_millis(1_500)).await,
        Answer::HangsUp => {}
    }
}

fn hook(toml: &str) -> Hook {
    toml::from_str(toml).expect("hook")
}

fn told() -> Call {
    Call::new(&PlanHash::new("0123"), &TenantId::new("7"), Some("Acme"), "flags")
}

fn environment() -> Environment {
    Environment::from_iter([("FLAGS_TOKEN", "Bearer top-secret")])
}

async fn call_flags(hook: &Hook) -> Result<Called> {
    let (_keep, stop) = watch::channel(false);
    call(hook, "flags", &told(), &environment(), &stop).await
}

async fn check_health(toml: &str) -> Result<Called> {
    let (_keep, stop) = watch::channel(false);
    let health: Check = toml::from_str(toml).expect("check");
    check(&health, "health", &told(), &environment(), &stop).await
}

#[tokio::test]
async fn a_hook_is_posted_with_its_key_until_it_is_taken() {
    let answers = [
        Answer::Says("503 Service Unavailable", ""),
        Answer::HangsUp,
        Answer::Says("429 Too Many Requests", "slow down"),
        Answer::Says("201 Created", r#"{"flags": 3}"#),
    ];
    let server = Server::start(&answers).await;
    let hook = hook(&format!(
        "url = \"{}/restore/{{tenant}}?x=1\"\nheaders_env = {{ Authorization = \"FLAGS_TOKEN\" }}",
        server.url
    ));
    let called = call_flags(&hook).await.expect("called");
    assert_eq!((called.attempts, called.output.as_str()), (4, r#"{"flags": 3}"#));
    assert!(called.elapsed >= Duration::from_millis(500 + 1_000 + 2_000), "{:?}", called.elapsed);
    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    let key = told().idempotency_key;
    for one in seen {
        assert_eq!(one.line, "POST /restore/7?x=1 HTTP/1.1");
        assert_eq!(one.headers["authorization"], "Bearer top-secret");
        assert_eq!(one.headers["idempotency-key"], key);
        assert_eq!(one.headers["content-type"], "application/json");
        let body: Value = serde_json::from_str(&one.body).expect("JSON");
        let expected = json!({
            "hook": "flags", "plan": "0123", "tenant": "7", "tenant_name": "Acme", "idempotency_key": key
        });
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn some_answers_are_final_and_some_may_pass() {
    for (status, attempts) in [
        ("400 Bad Request", 1),
        ("401 Unauthorized", 1),
        ("404 Not Found", 1),
        ("409 Conflict", 1),
        ("302 Found|Location: /elsewhere", 1),
        ("408 Request Timeout", 2),
        ("425 Too Early", 2),
        ("429 Too Many Requests", 2),
        ("500 Internal Server Error", 2),
        ("502 Bad Gateway", 2),
        ("503 Service Unavailable|Retry-After: 86400", 1),
    ] {
        let server = Server::start(&[Answer::Says(status, "no\nsuch\tsite")]).await;
        let hook = hook(&format!("url = \"{}/x\"\nretries = 1", server.url));
        let error = call_flags(&hook).await.expect_err(status);
        let times = if attempts == 1 { "" } else { " (2 attempts)" };
        let line = status.split('|').next().expect("status");
        let expected = format!(
            "unable to finish hook 'flags' for tenant '7': {}/x answered {line}: no such site{times}",
            server.url
        );
        assert_eq!((error.chain(), error.kind()), (expected, Kind::Failed));
        assert_eq!(server.seen().len(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_server_says_when_to_come_back() {
    let answers = [Answer::Says("503 Service Unavailable|Retry-After: 3", ""), Answer::Says("200 OK", "")];
    let server = Server::start(&answers).await;
    let called = call_flags(&hook(&format!("url = \"{}\"", server.url))).await.expect("called");
    assert_eq!(called.attempts, 2);
    assert!(called.elapsed >= Duration::from_secs(3), "{:?}", called.elapsed);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_tried_again() {
    let server = Server::start(&[Answer::Hangs1s, Answer::Says("200 OK", "there")]).await;
    let hook_of = |url: &str| hook(&format!("url = \"{url}\"\ntimeout_s = 1\nretries = 1"));
    let called = call_flags(&hook_of(&server.url)).await.expect("called");
    assert_eq!((called.attempts, called.output.as_str()), (2, "there"));
    let server = Server::start(&[Answer::Hangs]).await;
    let error = call_flags(&hook_of(&server.url)).await.expect_err("silent");
    let place = format!("{}/", server.url);
    let expected = format!("{place} did not answer within 1 s (2 attempts)");
    assert_eq!(error.chain(), format!("unable to finish hook 'flags' for tenant '7': {expected}"));
}

#[tokio::test]
async fn no_secret_is_told() {
    let server = Server::start(&[Answer::Says("403 Forbidden", "you sent ECHO")]).await;
    let address = server.url.trim_start_matches("http://");
    let headers = "headers_env = { Authorization = \"FLAGS_TOKEN\" }\nretries = 0";
    let url = format!("url = \"http://user:top-secret@{address}/x?token=top-secret\"\n{headers}");
    let error = call_flags(&hook(&url)).await.expect_err("refused");
    let shown = format!("{} {:?} {error:?}", error.chain(), error.hints());
    assert!(shown.contains("you sent") && !shown.contains("top-secret"), "{shown}");
    // Nobody listens there.
    let closed = "url = \"http://user:top-secret@127.0.0.1:9/x?token=top-secret\"\nretries = 0";
    let error = call_flags(&hook(closed)).await.expect_err("closed");
    let shown = format!("{} {error:?}", error.chain());
    assert!(shown.contains("http://127.0.0.1:9/x: ") && !shown.contains("top-secret"), "{shown}");
    let unset = format!("url = \"{}\"\nheaders_env = {{ A = \"NOT_SET\" }}", server.url);
    let error = call_flags(&hook(&unset)).await.expect_err("unset");
    assert_eq!(error.chain(), "unable to set up hook 'flags': variable 'NOT_SET' is not set");
    assert_eq!(server.seen().len(), 1, "nothing was sent without its header");
}

#[tokio::test]
async fn a_check_gets_and_wants_2xx() {
    let server =
        Server::start(&[Answer::Says("502 Bad Gateway", ""), Answer::Says("204 No Content", "")]).await;
    let health = format!("url = \"{}/{{tenant}}/health\"", server.url);
    assert_eq!(check_health(&health).await.expect("well").attempts, 2);
    assert_eq!(server.seen()[1].line, "GET /7/health HTTP/1.1");
    assert_eq!(server.seen()[1].body, "");
    let server = Server::start(&[Answer::Says("404 Not Found", "")]).await;
    let error = check_health(&format!("url = \"{}\"", server.url)).await.expect_err("ill");
    let expected =
        format!("unable to finish check 'health' for tenant '7': {}/ answered 404 Not Found", server.url);
    assert_eq!(error.chain(), expected);
}

/// A shell script as a command; the shell is the test's, not the engine's.
fn script(text: &str, more: &str) -> Hook {
    let command = serde_json::to_string(&["sh", "-c", text, "sh", "{tenant}"]).expect("JSON");
    hook(&format!("command = {command}\n{more}"))
}

#[tokio::test]
async fn a_command_reads_json_and_its_output_is_kept() {
    let called = call_flags(&hook("command = [\"cat\"]")).await.expect("called");
    let body: Value = serde_json::from_str(&called.output).expect("JSON");
    assert_eq!(body["tenant_name"], "Acme");
    assert_eq!(body["idempotency_key"], told().idempotency_key);
    let literal = hook("command = [\"echo\", \"$(id)\", \"`id`\", \"site={tenant};id\"]");
    assert_eq!(call_flags(&literal).await.expect("called").output, "$(id) `id` site=7;id\n");
    let variables = script("echo $1 $REINSTATE_TENANT $REINSTATE_PLAN $REINSTATE_IDEMPOTENCY_KEY", "");
    let expected = format!("7 7 0123 {}\n", told().idempotency_key);
    assert_eq!(call_flags(&variables).await.expect("called").output, expected);
    let much =
        call_flags(&script("head -c 1000000 /dev/zero | tr '\\0' x", "")).await.expect("called").output;
    assert!(much.ends_with(&format!("x… ({} more bytes)", 1_000_000 - (64 << 10))) && much.len() < 70_000);
}

#[tokio::test]
async fn a_command_that_fails_is_tried_again_and_named() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("times");
    let text = format!("echo >> {file}; test $(wc -l < {file}) -ge 3", file = file.display());
    assert_eq!(call_flags(&script(&text, "")).await.expect("at last").attempts, 3);
    let fails = script("echo ignored; echo the queue is full >&2; exit 9", "retries = 1");
    let expected = "'sh' ended with exit status: 9: the queue is full (2 attempts)";
    let error = call_flags(&fails).await.expect_err("fails");
    assert_eq!(error.chain(), format!("unable to finish hook 'flags' for tenant '7': {expected}"));
    let error = check_health("command = [\"no-such-program\"]").await.expect_err("unknown");
    let begins = "unable to finish check 'health' for tenant '7': 'no-such-program' cannot be started: ";
    assert!(error.chain().starts_with(begins), "{}", error.chain());
}

/// Whether a process is there and has not ended.
fn runs(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn appears(file: &Path) -> String {
    for _ in 0..200 {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("'{}' does not appear", file.display());
}

#[tokio::test]
async fn a_command_that_takes_too_long_goes_with_its_children() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pid");
    // The grandchild does not mind SIGTERM.
    let text = format!("(trap '' TERM; sleep 600 & echo $! > {}; wait) & wait", file.display());
    let begun = Instant::now();
    let error = call_flags(&script(&text, "timeout_s = 1\nretries = 0")).await.expect_err("too long");
    let expected = "'sh' did not end within 1 s";
    assert_eq!(error.chain(), format!("unable to finish hook 'flags' for tenant '7': {expected}"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let pid = appears(&file).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!runs(&pid), "the grandchild still runs");
}

#[tokio::test]
async fn what_a_command_leaves_running_does_not_hold_it_up() {
    let begun = Instant::now();
    let called = call_flags(&script("sleep 30 & echo started", "")).await.expect("called");
    assert_eq!(called.output, "started\n");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn it_stops_when_it_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pid");
    let sleeps = script(&format!("sleep 600 & echo $! > {}; wait", file.display()), "");
    let server = Server::start(&[Answer::Says("503 Service Unavailable|Retry-After: 60", "")]).await;
    let pauses = hook(&format!("url = \"{}\"", server.url));
    for hook in [sleeps, pauses] {
        let (send, stop) = watch::channel(false);
        let (told, environment) = (told(), environment());
        let called = call(&hook, "flags", &told, &environment, &stop);
        let (result, ()) = tokio::join!(called, async {
            match &hook.command {
                Some(_) => drop(appears(&file).await),
                None => tokio::time::sleep(Duration::from_millis(500)).await,
            }
            send.send_replace(true);
        });
        let error = result.expect_err("stopped");
        assert_eq!(error.kind(), Kind::Interrupted);
        assert_eq!(error.chain(), "unable to finish hook 'flags' for tenant '7': it was stopped");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!runs(&appears(&file).await), "its child still runs");
}

#[test]
fn wrong_hooks_are_refused_when_they_are_read() {
    for (toml, expected) in [
        ("", "unable to use hook 'flags': give either url = \"…\" or command = [\"…\"]"),
        (
            "url = \"http://h\"\ncommand = [\"x\"]",
            "unable to use hook 'flags': give either url = \"…\" or command = [\"…\"]",
        ),
        ("command = []", "unable to use hook 'flags': its command names no program"),
        ("command = [\"{tenant}\"]", "unable to use hook 'flags': its command names no program"),
        (
            "url = \"ftp://h\"",
            "unable to use hook 'flags': unable to read its URL: it is neither http nor https",
        ),
        ("url = \"http://h\"\ntimeout_s = 0", "unable to use hook 'flags': timeout_s = 0 is not 1 to 86400"),
        ("url = \"http://h\"\nretries = 101", "unable to use hook 'flags': retries = 101 is more than 100"),
        (
            "command = [\"x\"]\nheaders_env = { A = \"B\" }",
            "unable to use hook 'flags': a command has no headers",
        ),
    ] {
        assert_eq!(hook(toml).check_settings("flags").expect_err(toml).chain(), expected);
    }
    for (toml, expected) in [
        ("", "give url = \"…\", command = [\"…\"], or shard = \"…\" and sql = \"…\""),
        ("sql = \"SELECT 1\"", "a query takes both shard = \"…\" and sql = \"…\", others neither"),
        (
            "url = \"http://h\"\nshard = \"x\"",
            "a query takes both shard = \"…\" and sql = \"…\", others neither",
        ),
        (
            "url = \"http://h\"\nshard = \"x\"\nsql = \"SELECT 1\"",
            "it is a query, and a request or a command too",
        ),
        ("url = \"http://h\"\nretries = 101", "retries = 101 is more than 100"),
    ] {
        let wrong: Check = toml::from_str(toml).expect("check");
        let expected = format!("unable to use check 'flags': {expected}");
        assert_eq!(wrong.check_settings("flags").expect_err(toml).chain(), expected);
    }
    toml::from_str::<Check>("shard = \"x\"\nsql = \"SELECT 1\"")
        .expect("check")
        .check_settings("x")
        .expect("good");
    toml::from_str::<Hook>("url = \"http://h\"\nheaders = {}").expect_err("an unknown field");
    let whole = hook("url = \"https://h/{tenant}\"\nheaders_env = { A = \"B\" }\ntimeout_s = 5\nretries = 0");
    let json = serde_json::to_string(&whole).expect("JSON");
    assert_eq!(serde_json::from_str::<Hook>(&json).expect("read again"), whole);
}

#[test]
fn the_key_is_that_of_plan_tenant_and_hook() {
    let key = |plan: &str, tenant: &str, hook: &str| {
        idempotency_key(&PlanHash::new(plan), &TenantId::new(tenant), hook)
    };
    assert_eq!(key("a", "b", "c"), key("a", "b", "c"));
    let others =
        [key("a", "b", "d"), key("a", "x", "c"), key("x", "b", "c"), key("ab", "", "c"), key("a", "bc", "")];
    assert!(others.iter().all(|other| *other != key("a", "b", "c") && other.len() == 64));
}
