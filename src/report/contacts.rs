//! Whom to tell: tenants and the customers' contacts, from a file that lives outside the restored data.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::TenantId;

/// What the contact of a tenant is called that the file does not name.
pub const UNKNOWN: &str = "no contact known";

/// The contacts by tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contacts(BTreeMap<TenantId, String>);

impl Contacts {
    /// Reads CSV: a tenant's id and its contact a line, more columns are nobody's business here. A first line
    /// `tenant,contact` is the head; lines that begin with # are skipped.
    pub fn parse(text: &str) -> Result<Self> {
        let unable = |line: Option<u64>| {
            let place = line.map(|line| format!(" in line {line}")).unwrap_or_default();
            Error::usage(format!("unable to read the contacts{place}"))
        };
        let hint = "each line is: tenant,contact";
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut contacts = BTreeMap::new();
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|error| unable(None).because(error).hint(hint))?;
            let line = record.position().map(csv::Position::line);
            let (Some(tenant), Some(contact)) = (record.get(0), record.get(1)) else {
                return Err(unable(line).hint(hint));
            };
            if index == 0 && tenant.eq_ignore_ascii_case("tenant") {
                continue;
            }
            let tenant = TenantId::parse(tenant).map_err(|error| error.within(unable(line).to_string()))?;
            if contacts.insert(tenant.clone(), contact.to_owned()).is_some() {
                return Err(unable(line).hint(format!("tenant '{tenant}' is in it twice")));
            }
        }
        Ok(Self(contacts))
    }

    /// Whom to tell about a tenant.
    pub fn of(&self, tenant: &TenantId) -> &str {
        self.0.get(tenant).map_or(UNKNOWN, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_read_and_doubtful_files_refused() {
        let text = "tenant,contact,phone\n# the big ones\n7,\"Ann, Acme\",1\n 8 , ben@example.net\n";
        let contacts = Contacts::parse(text).expect("contacts");
        let of = |id: &str| contacts.of(&TenantId::new(id)).to_owned();
        assert_eq!([of("7"), of("8"), of("9")], ["Ann, Acme", "ben@example.net", UNKNOWN]);
        let refused = |text: &str| Contacts::parse(text).expect_err("refused").chain();
        assert_eq!(refused("7,ann\n8\n"), "unable to read the contacts in line 2");
        assert_eq!(refused("7,ann\n7,ben\n"), "unable to read the contacts in line 2");
    }
}
