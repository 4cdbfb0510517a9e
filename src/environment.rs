//! The environment's variables: where secrets come from, so that they stand in no file and no plan.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};

/// Variables by name. Those that are not UTF-8 are left out: nothing here can use them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable that something, say a hook, cannot do without.
    pub fn need(&self, name: &str, for_what: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| {
            Error::usage(format!("unable to set up {for_what}: variable '{name}' is not set"))
                .hint(format!("export {name} before starting reinstate"))
        })
    }

    /// The variables whose names begin with `prefix`, without it.
    pub fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
