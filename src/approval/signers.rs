//! The allowed-signers file of OpenSSH (`ssh-keygen(1)`, ALLOWED SIGNERS): who signs with which key, for what, and
//! from when till when. A line that is not understood refuses the file: a restriction must not get lost.
//!
//! ```text
//! anna@example.net namespaces="git,reinstate-plan",valid-before="20270101Z" ssh-ed25519 AAAA… comment
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, PublicKey};

use super::NAMESPACE;
use crate::error::{Error, Result};

/// The lines of the file.
#[derive(Clone, Debug)]
pub struct Signers(Vec<Signer>);

/// A line: a key, and what OpenSSH says of it.
#[derive(Clone, Debug)]
struct Signer {
    principals: Vec<String>,
    key: KeyData,
    namespaces: Option<Vec<String>>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

impl Signers {
    /// Reads the text of a file; `name` is for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let mut signers = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let signer = Signer::parse(line).map_err(|what| {
                Error::usage(format!("unable to use allowed signers '{name}' line {}: {what}", index + 1))
                    .hint("PRINCIPAL[,PRINCIPAL] [namespaces=\"…\",valid-after=\"…\",valid-before=\"…\"] KEY")
            })?;
            signers.push(signer);
        }
        Ok(Self(signers))
    }

    /// Whether the file names this principal.
    pub fn knows(&self, principal: &str) -> bool {
        self.0.iter().any(|signer| signer.is_of(principal))
    }

    /// How many people can approve, now or at another time, at the most: each with a name and a key of their own, and
    /// none of them the author's.
    pub fn people(&self, author: Option<&str>) -> usize {
        let is_authors = |signer: &&Signer| author.is_some_and(|author| signer.is_of(author));
        let authors: Vec<&KeyData> = self.0.iter().filter(is_authors).map(|signer| &signer.key).collect();
        let able = self.0.iter().filter(|signer| signer.is_for_plans() && is_verifiable(&signer.key));
        let others: Vec<&Signer> = able.filter(|signer| !authors.contains(&&signer.key)).collect();
        let keys: BTreeSet<&KeyData> = others.iter().map(|signer| &signer.key).collect();
        let names: BTreeSet<&String> = others.iter().flat_map(|signer| &signer.principals).collect();
        keys.len().min(names.len())
    }

    /// Whose key this is.
    pub(super) fn owners(&self, key: &KeyData) -> BTreeSet<&str> {
        let lines = self.0.iter().filter(|signer| signer.key == *key);
        lines.flat_map(|signer| &signer.principals).map(String::as_str).collect()
    }

    /// Whether some line lets this key of a principal approve at this time, or why not.
    pub(super) fn check(&self, principal: &str, key: &KeyData, now: Timestamp) -> Result<(), String> {
        let mut objection = "signed with a key of somebody else".to_owned();
        for signer in self.0.iter().filter(|signer| signer.is_of(principal) && signer.key == *key) {
            match signer.objection(now) {
                None => return Ok(()),
                Some(why) => objection = why,
            }
        }
        Err(objection)
    }
}

impl Signer {
    fn parse(line: &str) -> Result<Self, String> {
        let (principals, rest) = word(line);
        let principals = principals.split(',').map(principal).collect::<Result<_, _>>()?;
        // What stands before the key are options; without any, the rest is the key.
        let (options, key) = match PublicKey::from_openssh(rest) {
            Ok(key) => ("", key),
            Err(_) => {
                let (options, rest) = word(rest);
                (options, PublicKey::from_openssh(rest).map_err(|_| "it has no key that can be read")?)
            }
        };
        let (namespaces, valid_after, valid_before) = (None, None, None);
        let mut signer =
            Self { principals, key: key.key_data().clone(), namespaces, valid_after, valid_before };
        for option in unquoted(options, |c| c == ',').filter(|option| !option.is_empty()) {
            signer.option(option)?;
        }
        Ok(signer)
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = || value.ok_or_else(|| format!("option '{name}' has no value in quotes"));
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => self.namespaces = Some(value()?.split(',').map(plain).collect::<Result<_, _>>()?),
            "valid-after" => self.valid_after = Some(instant(value()?)?),
            "valid-before" => self.valid_before = Some(instant(value()?)?),
            "cert-authority" => return Err("certificates (cert-authority) are not supported".into()),
            _ => return Err(format!("option '{name}' is not known")),
        }
        Ok(())
    }

    fn is_of(&self, principal: &str) -> bool {
        self.principals.iter().any(|own| own == principal)
    }

    fn is_for_plans(&self) -> bool {
        self.namespaces.as_ref().is_none_or(|names| names.iter().any(|name| name == NAMESPACE))
    }

    fn objection(&self, now: Timestamp) -> Option<String> {
        if !self.is_for_plans() {
            return Some(format!("signed with a key that is not for namespace '{NAMESPACE}'"));
        }
        match (self.valid_after, self.valid_before) {
            (Some(after), _) if now < after => {
                Some(format!("signed with a key that is not valid before {after}"))
            }
            (_, Some(before)) if now > before => {
                Some(format!("signed with a key that is not valid after {before}"))
            }
            _ => None,
        }
    }
}

/// Whether signatures of such a key can be checked.
pub(super) fn is_verifiable(key: &KeyData) -> bool {
    matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::SkEd25519)
}

/// The pieces of a text between characters that stand outside of quotes.
fn unquoted(text: &str, mut is_between: impl FnMut(char) -> bool) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && is_between(c)
    })
}

/// The first word, which may hold blanks in quotes, and what follows.
fn word(text: &str) -> (&str, &str) {
    let first = unquoted(text, char::is_whitespace).next().unwrap_or_default();
    (first, text[first.len()..].trim_start())
}

/// A principal: one person's name, and the name of a file.
fn principal(text: &str) -> Result<String, String> {
    let text = plain(text)?;
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(is_usual) {
        return Err(format!("principal '{}' is not made of letters, digits and @._+-", text.escape_debug()));
    }
    Ok(text)
}

/// A name that is no pattern: two names must not turn out to be one person's.
fn plain(text: &str) -> Result<String, String> {
    match text.contains(['*', '?', '!']) {
        true => Err(format!("'{text}' is a pattern; only plain names are supported")),
        false => Ok(text.to_owned()),
    }
}

/// `YYYYMMDD`, with `HHMM` or `HHMMSS`; local time without a `Z`.
fn instant(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("time '{text}' is not YYYYMMDD[HHMM[SS]][Z]");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S", format!("{digits:0<14}")).map_err(|_| wrong())?;
    time.to_zoned(zone).map(|zoned| zoned.timestamp()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn refused(line: &str) -> String {
        let error = Signers::parse(&format!("# people\n\n{line}\n"), "signers").expect_err("refused").chain();
        let start = "unable to use allowed signers 'signers' line 3: ";
        error.strip_prefix(start).unwrap_or_else(|| panic!("{error}")).to_owned()
    }

    #[test]
    fn lines_are_read_as_openssh_does() {
        let text = format!(
            "anna@example.net,anna {KEY} of her notebook\n\
             ben NAMESPACES=\"git,{NAMESPACE}\",valid-after=\"20260102Z\",valid-before=\"202701020304Z\"\t{KEY}\n\
             carl namespaces=\"git\" {KEY}\n"
        );
        let signers = Signers::parse(&text, "signers").expect("signers");
        assert_eq!((signers.people(None), signers.people(Some("dora"))), (1, 1), "all have one key");
        assert_eq!(signers.people(Some("carl")), 0, "it is the author's");
        assert!(signers.knows("carl") && !signers.knows("dora"));
        let key = PublicKey::from_openssh(KEY).expect("key").key_data().clone();
        assert_eq!(signers.owners(&key).len(), 4);
        let at = |who: &str, time: &str| signers.check(who, &key, time.parse().expect("time")).err();
        assert_eq!(at("anna", "1970-01-01T00:00:00Z"), None);
        assert_eq!(at("ben", "2026-01-02T00:00:00Z"), None);
        assert_eq!(at("ben", "2027-01-02T03:04:00Z"), None);
        assert_eq!(at("dora", "2027-01-02T03:04:00Z").as_deref(), Some("signed with a key of somebody else"));
        let early = "signed with a key that is not valid before 2026-01-02T00:00:00Z";
        assert_eq!(at("ben", "2026-01-01T23:59:59Z").as_deref(), Some(early));
        let late = "signed with a key that is not valid after 2027-01-02T03:04:00Z";
        assert_eq!(at("ben", "2027-01-02T03:04:01Z").as_deref(), Some(late));
        let other = "signed with a key that is not for namespace 'reinstate-plan'";
        assert_eq!(at("carl", "2026-01-02T00:00:00Z").as_deref(), Some(other));
    }

    #[test]
    fn one_valid_line_of_several_is_enough() {
        let text = format!("ben valid-before=\"20200101Z\" {KEY}\nben {KEY}\n");
        let signers = Signers::parse(&text, "signers").expect("signers");
        let key = PublicKey::from_openssh(KEY).expect("key").key_data().clone();
        assert_eq!(signers.check("ben", &key, Timestamp::now()), Ok(()));
    }

    #[test]
    fn what_is_not_understood_refuses_the_file() {
        assert_eq!(refused("anna"), "it has no key that can be read");
        assert_eq!(refused("anna ssh-ed25519 AAAA"), "it has no key that can be read");
        assert_eq!(
            refused(&format!("*@example.net {KEY}")),
            "'*@example.net' is a pattern; only plain names are supported"
        );
        assert_eq!(
            refused(&format!("../anna {KEY}")),
            "principal '../anna' is not made of letters, digits and @._+-"
        );
        assert_eq!(refused(&format!("anna, {KEY}")), "principal '' is not made of letters, digits and @._+-");
        assert_eq!(refused(&format!("anna touch-required {KEY}")), "option 'touch-required' is not known");
        assert_eq!(
            refused(&format!("anna namespaces=git {KEY}")),
            "option 'namespaces' has no value in quotes"
        );
        assert_eq!(
            refused(&format!("anna namespaces=\"rein*\" {KEY}")),
            "'rein*' is a pattern; only plain names are supported"
        );
        assert_eq!(
            refused(&format!("anna valid-after=\"2026\" {KEY}")),
            "time '2026' is not YYYYMMDD[HHMM[SS]][Z]"
        );
        assert_eq!(
            refused(&format!("anna valid-after=\"20261301\" {KEY}")),
            "time '20261301' is not YYYYMMDD[HHMM[SS]][Z]"
        );
        assert_eq!(
            refused(&format!("anna cert-authority {KEY}")),
            "certificates (cert-authority) are not supported"
        );
    }
}
