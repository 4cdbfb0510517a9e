//! `{tenant}` in a URL or an argument. A tenant id is data: one that would change more than its place is refused.

use url::Url;

use crate::error::{Error, Result};
use crate::model::TenantId;

const HOLE: &str = "{tenant}";
/// Stands for an id that changes nothing.
const MARK: &str = "reinstate-tenant-0";

/// A URL without what may hold secrets.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Refuses a URL that is none of HTTP; it is not repeated, since it may hold a secret.
pub fn check_url(template: &str) -> Result<()> {
    let wrong = |what: &str| Error::usage(format!("unable to read its URL: {what}"));
    let url = Url::parse(&template.replace(HOLE, MARK)).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it is neither http nor https"));
    }
    Ok(())
}

/// The URL for a tenant.
pub fn url(template: &str, tenant: &TenantId) -> Result<Url> {
    let id = tenant.as_str();
    let with = |id: &str| Url::parse(&template.replace(HOLE, id));
    let plain = with(MARK).map_err(|error| Error::usage("unable to read its URL").because(error))?;
    let refused = || {
        Error::refused(format!(
            "unable to build the URL for tenant '{}': its id would change more than its place in '{}'",
            id.escape_debug(),
            shown(&plain).replace(MARK, HOLE)
        ))
    };
    let filled = with(&encoded(id)).map_err(|_| refused())?;
    // Dots would walk up the path. In a host the id is one label or a part of one.
    let same = filled.scheme() == plain.scheme()
        && filled.port() == plain.port()
        && filled.username() == plain.username()
        && filled.password() == plain.password()
        && filled.path() == plain.path().replace(MARK, &encoded(id));
    let host = filled.host_str() == plain.host_str() || is_label(id);
    if id.is_empty() || !same || !host {
        return Err(refused());
    }
    Ok(filled)
}

/// An argument for a tenant.
pub fn argument(template: &str, tenant: &TenantId) -> Result<String> {
    let filled = template.replace(HOLE, tenant.as_str());
    if filled.starts_with('-') && !template.starts_with('-') {
        return Err(Error::refused(format!(
            "unable to build the command for tenant '{}': the program would take its id for an option",
            tenant.as_str().escape_debug()
        ))
        .hint("let the program read the id from its input or from REINSTATE_TENANT"));
    }
    Ok(filled)
}

/// Whether an id is one label of a host name.
fn is_label(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Everything but letters, digits and `-._~` percent-encoded.
fn encoded(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_in_its_place_of_a_url() {
        let url = |template: &str, id: &str| {
            url(template, &TenantId::new(id)).map(|url| url.to_string()).map_err(|error| error.chain())
        };
        let path = "http://h:81/sites/{tenant}/health?of={tenant}";
        assert_eq!(url(path, "7").as_deref(), Ok("http://h:81/sites/7/health?of=7"));
        assert_eq!(
            url(path, "a/../b?c#d e").as_deref(),
            Ok("http://h:81/sites/a%2F..%2Fb%3Fc%23d%20e/health?of=a%2F..%2Fb%3Fc%23d%20e")
        );
        assert_eq!(url("https://{tenant}.example.net/", "acme").as_deref(), Ok("https://acme.example.net/"));
        for id in ["", ".", ".."] {
            url(path, id).expect_err(id);
            url("http://h/{tenant}", id).expect_err(id);
        }
        url("http://h/.{tenant}/x", ".").expect_err("two dots");
        assert_eq!(url("http://h/{tenant}", "%2e%2e").as_deref(), Ok("http://h/%252e%252e"));
        for id in ["evil.example#", "a.b", "a@b", "a:1", "a/b"] {
            url("https://{tenant}.example.net/", id).expect_err(id);
        }
        let refused = url("https://user:secret@h/{tenant}?token=secret", "..").expect_err("refused");
        assert!(refused.ends_with("more than its place in 'https://h/{tenant}'"), "{refused}");
    }

    #[test]
    fn an_id_is_no_option() {
        let argument = |template: &str, id: &str| argument(template, &TenantId::new(id)).ok();
        assert_eq!(argument("--site={tenant}", "-rf").as_deref(), Some("--site=-rf"));
        assert_eq!(argument("{tenant}", "$(x)").as_deref(), Some("$(x)"));
        assert_eq!(argument("{tenant}", "-rf"), None);
    }
}
