//! An attempt by HTTP: POST for a hook, GET for a check.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, redirect};
use serde_json::json;
use url::Url;

use super::{Call, Failure, Hook, Kept, Retry, Subject, fill};
use crate::environment::Environment;
use crate::error::{Error, Result};

/// A request that can be sent again and again.
pub struct Request {
    client: Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    /// Values that no output may repeat.
    secrets: Vec<String>,
}

/// What a hook is told, as JSON.
pub fn body(subject: &Subject<'_>, call: &Call) -> Vec<u8> {
    let told = json!({
        subject.kind: subject.name,
        "plan": call.plan,
        "tenant": call.tenant,
        "tenant_name": call.tenant_name,
        "idempotency_key": call.idempotency_key,
    });
    told.to_string().into_bytes()
}

impl Request {
    pub fn new(
        hook: &Hook,
        url: &str,
        subject: &Subject<'_>,
        call: &Call,
        environment: &Environment,
    ) -> Result<Self> {
        let what = format!("{} '{}'", subject.kind, subject.name);
        let unable = || Error::usage(format!("unable to set up {what}"));
        let url =
            fill::url(url, &call.tenant).map_err(|error| error.within(format!("unable to set up {what}")))?;
        let key = HeaderValue::from_str(&call.idempotency_key).map_err(|error| unable().because(error))?;
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static("idempotency-key"), key)]);
        let mut secrets = Vec::new();
        for (header, variable) in &hook.headers_env {
            let value = environment.need(variable, &what)?;
            let name = HeaderName::try_from(header).map_err(|error| unable().because(error))?;
            let mut sent = HeaderValue::from_str(value).map_err(|_| {
                unable().hint(format!("variable '{variable}' holds what cannot stand in a header"))
            })?;
            sent.set_sensitive(true);
            headers.insert(name, sent);
            secrets.push(value.to_owned());
        }
        let is_hook = subject.kind == "hook";
        if is_hook {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Self {
            client: client().map_err(|error| unable().because(error))?,
            method: if is_hook { Method::POST } else { Method::GET },
            url,
            headers,
            body: is_hook.then(|| body(subject, call)),
            secrets,
        })
    }

    pub async fn send(&self, timeout: Duration) -> Result<String, Failure> {
        let place = fill::shown(&self.url);
        let exchanged = tokio::time::timeout(timeout, self.exchange()).await;
        let (status, after, kept) = match exchanged {
            Err(_) => {
                return Err(Failure::passing(format!(
                    "{place} did not answer within {} s",
                    timeout.as_secs()
                )));
            }
            Ok(Err(error)) => return Err(Failure::passing(format!("{place}: {}", chain(error)))),
            Ok(Ok(answer)) => answer,
        };
        if status.is_success() {
            return Ok(self.without_secrets(kept.text()));
        }
        let tail = self.without_secrets(kept.tail());
        let said = if tail.is_empty() { tail } else { format!(": {tail}") };
        let why = format!("{place} answered {status}{said}");
        match status.as_u16() {
            408 | 425 | 429 | 500..=599 => Err(Failure { why, retry: Retry::After(after) }),
            _ => Err(Failure::last(why)),
        }
    }

    async fn exchange(&self) -> reqwest::Result<(StatusCode, Option<Duration>, Kept)> {
        let mut request =
            self.client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await?;
        let after = response.headers().get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?));
        let mut kept = Kept::default();
        while let Some(chunk) = response.chunk().await? {
            kept.add(&chunk);
        }
        Ok((response.status(), after, kept))
    }

    /// A server may repeat what it was sent.
    fn without_secrets(&self, text: String) -> String {
        let shown = self.secrets.iter().filter(|secret| !secret.is_empty());
        shown.fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// One for all calls: it reads the system's certificates, and keeps connections.
fn client() -> reqwest::Result<Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    // A redirect could carry headers elsewhere, and turns a POST into a GET.
    let built = Client::builder().redirect(redirect::Policy::none()).build()?;
    Ok(CLIENT.get_or_init(|| built).clone())
}

/// `Retry-After`: seconds, or a date.
fn pause(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    let left: SignedDuration = at.duration_since(Timestamp::now());
    Some(left.try_into().unwrap_or_default())
}

/// An error with its causes, without the URL: that may hold a secret.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_in_two_ways_when_to_come_back() {
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let far = pause("Sat, 06 Nov 2990 08:49:37 GMT").expect("a date");
        assert!(far > Duration::from_secs(1 << 30), "{far:?}");
        assert_eq!(pause("soon"), None);
    }
}
