//! The folder of a tenant's objects. A tenant id is data: one that would lead elsewhere is refused.

use crate::error::{Error, Result};
use crate::model::TenantId;

const HOLE: &str = "{tenant}";

/// Refuses a template that does not say where a tenant's objects are.
pub fn check(template: &str) -> Result<()> {
    let wrong = |what: &str| {
        Error::usage(format!("unable to use prefix '{}': {what}", template.escape_debug()))
            .hint("name the folder of a tenant's objects, for example prefix = \"sites/{tenant}\"")
    };
    if !template.contains(HOLE) {
        return Err(wrong("without {tenant} it would take in everybody's objects"));
    }
    if template.replace(HOLE, "").contains(['{', '}']) {
        return Err(wrong("it knows no other braces than {tenant}"));
    }
    if !is_plain(&trimmed(template).replace(HOLE, "x")) {
        return Err(wrong("it is not a plain path"));
    }
    Ok(())
}

/// The folder of one tenant's objects.
pub fn of(template: &str, tenant: &TenantId) -> Result<String> {
    let id = tenant.as_str();
    let filled = trimmed(template).replace(HOLE, id);
    // The id can neither add a level nor make a part of the path one of those that are not names.
    if id.is_empty() || id.contains(['/', '\\']) || !is_plain(&filled) {
        return Err(Error::refused(format!(
            "unable to find the media of tenant '{}': its id would change the path '{template}'",
            id.escape_debug()
        ))
        .hint("copy its objects by hand, and leave the tenant out of this media step"));
    }
    Ok(filled)
}

/// A folder may be written with a slash behind it.
fn trimmed(template: &str) -> &str {
    template.strip_suffix('/').unwrap_or(template)
}

/// Whether a path goes down only, part by part.
pub fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fills_its_part_of_the_path_and_nothing_else() {
        let of = |template: &str, id: &str| of(template, &TenantId::new(id)).map_err(|error| error.chain());
        assert_eq!(of("sites/{tenant}/media", "a b%2F#é").as_deref(), Ok("sites/a b%2F#é/media"));
        assert_eq!(
            of("site-{tenant}", "..").as_deref(),
            Ok("site-.."),
            "a name with two dots, not the way up"
        );
        for id in ["", ".", "..", "a/b", "../x", "/", "a\\b", "a\nb", "a\0"] {
            let refused = of("sites/{tenant}", id).expect_err("refused");
            assert!(refused.ends_with("its id would change the path 'sites/{tenant}'"), "{id:?}: {refused}");
        }
    }

    #[test]
    fn a_template_names_one_tenants_folder() {
        for good in ["{tenant}", "sites/{tenant}/files", "s-{tenant}", "sites/{tenant}/"] {
            check(good).expect("good");
        }
        for wrong in ["", "sites", "/{tenant}", "{tenant}//", "a//{tenant}", "../{tenant}", "{site}/{tenant}"]
        {
            check(wrong).expect_err(wrong);
        }
    }
}
