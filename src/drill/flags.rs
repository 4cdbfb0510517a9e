//! Another service of the fleet: feature flags of every site, kept in memory, with a backup of its own and an HTTP
//! interface that asks for them back. It is as real services are: now and then the first answer is a 503.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::fleet::Fleet;
use crate::error::{Error, Result};
use crate::model::TenantId;

/// Names of the flags.
const FLAGS: [&str; 6] = ["dark-mode", "beta-editor", "sso", "audit-export", "automation", "assistant"];
/// One call of so many meets a bad moment.
const UNWELL: usize = 7;
/// What a request may hold.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Each site's flags.
pub type Flags = BTreeMap<String, BTreeMap<&'static str, bool>>;

/// What the service holds, to be looked at.
#[derive(Clone)]
pub struct Held(Arc<Mutex<State>>);

/// The service; it ends with this.
pub struct FlagService {
    state: Arc<Mutex<State>>,
    port: u16,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    flags: Flags,
    backup: Flags,
    /// Keys of calls that were answered, and those that met a bad moment once.
    done: BTreeSet<String>,
    unwell: BTreeSet<String>,
    /// How often a site's flags were put back.
    restored: BTreeMap<String, u64>,
    calls: usize,
}

impl Drop for FlagService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FlagService {
    /// Starts it on localhost, with flags of every site.
    pub async fn start(fleet: &Fleet, seed: u64) -> Result<Self> {
        let mut rng = Rng::with_seed(seed ^ 0xf1a6);
        let mut own =
            || FLAGS.iter().filter(|_| rng.bool()).map(|flag| (*flag, true)).collect::<BTreeMap<_, _>>();
        let flags: Flags = fleet.sites.iter().map(|site| (site.id.to_string(), own())).collect();
        let state = Arc::new(Mutex::new(State { backup: flags.clone(), flags, ..State::default() }));
        let unable =
            |error| Error::failed("unable to start the drill's service of feature flags").because(error);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(unable)?;
        let port = listener.local_addr().map_err(unable)?.port();
        let served = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let state = served.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(state.clone(), request));
                    // A caller that goes away is the caller's affair.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(Self { state, port, task })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The accident: forgets these sites. How many flags they had.
    pub fn delete(&self, tenants: &[TenantId]) -> u64 {
        let mut state = lock(&self.state);
        tenants.iter().filter_map(|id| state.flags.remove(id.as_str())).map(|flags| flags.len() as u64).sum()
    }

    /// All flags.
    pub fn flags(&self) -> Flags {
        lock(&self.state).flags.clone()
    }

    /// What it holds, also later.
    pub fn state(&self) -> Held {
        Held(self.state.clone())
    }

    /// How often the flags of each site were put back; one that is not here, never.
    pub fn restored(&self) -> BTreeMap<String, u64> {
        lock(&self.state).restored.clone()
    }
}

impl Held {
    /// Whether it knows a site.
    pub fn knows(&self, tenant: &TenantId) -> bool {
        lock(&self.0).flags.contains_key(tenant.as_str())
    }
}

/// A service whose handler panicked is still asked for what it holds.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let (status, text) = match (parts.method, parts.uri.path().split('/').collect::<Vec<_>>().as_slice()) {
        (Method::POST, ["", "restore", site]) => {
            match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
                Ok(body) => restore(&mut lock(&state), site, &body.to_bytes()),
                Err(_) => (StatusCode::BAD_REQUEST, "no body".to_owned()),
            }
        }
        (Method::GET, ["", "health", site]) => match lock(&state).flags.get(*site) {
            Some(flags) => (StatusCode::OK, format!("{} flags", flags.len())),
            None => (StatusCode::NOT_FOUND, "no such site".to_owned()),
        },
        _ => (StatusCode::NOT_FOUND, "no such service".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

/// Puts a site's flags back, once for a key.
fn restore(state: &mut State, site: &str, body: &[u8]) -> (StatusCode, String) {
    let call: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(tenant), Some(key)) = (call["tenant"].as_str(), call["idempotency_key"].as_str()) else {
        return (StatusCode::BAD_REQUEST, "tenant and idempotency_key are missing".to_owned());
    };
    if tenant != site {
        return (StatusCode::BAD_REQUEST, "path and body name two sites".to_owned());
    }
    state.calls += 1;
    if state.calls.is_multiple_of(UNWELL) && state.unwell.insert(key.to_owned()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "one moment".to_owned());
    }
    let Some(flags) = state.backup.get(site).cloned() else {
        return (StatusCode::NOT_FOUND, "no backup of this site".to_owned());
    };
    let count = flags.len();
    if state.done.insert(key.to_owned()) {
        state.flags.insert(site.to_owned(), flags);
        *state.restored.entry(site.to_owned()).or_default() += 1;
    }
    (StatusCode::OK, format!("{count} flags"))
}
