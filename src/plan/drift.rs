//! Whether the live schema still is the snapshot's. What differs is named, before anything is written.

use crate::model::{Table, TableName};

/// Every difference between a table of the snapshot and the live tables that a restore would meet.
pub fn differences(taken: &Table, live: Option<&Table>) -> Vec<String> {
    let Some(live) = live else {
        return vec![format!("table '{}' does not exist any more", taken.name)];
    };
    let name = &taken.name;
    let mut found = Vec::new();
    for column in &taken.columns {
        match live.column(&column.name) {
            None => found.push(format!("column '{}' of table '{name}' does not exist any more", column.name)),
            // Kinds are left out: SQLite's follow the values at hand, and PostgreSQL's follow the type's name.
            Some(now) if now.type_name != column.type_name => found.push(format!(
                "column '{}' of table '{name}' was {}, now it is {}",
                column.name, column.type_name, now.type_name
            )),
            Some(now) if now.generated != column.generated => found.push(format!(
                "column '{}' of table '{name}' {} generated",
                column.name,
                if now.generated { "is now" } else { "is no longer" }
            )),
            Some(_) => {}
        }
    }
    for column in live.columns.iter().filter(|column| taken.column(&column.name).is_none()) {
        found.push(format!("column '{}' of table '{name}' is new", column.name));
    }
    found
}

/// Hash of the live shape of these tables (columns, keys, triggers, sequences); `apply` compares it with the
/// plan's.
pub fn schema_hash<'a>(live: &'a [Table], names: impl IntoIterator<Item = &'a TableName>) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        let table = live.iter().find(|table| table.name == *name);
        let mut shape = table.cloned();
        if let Some(table) = &mut shape {
            // Not part of the shape: SQLite's kinds follow the values at hand.
            table.columns.iter_mut().for_each(|column| column.kind = crate::model::TypeKind::Opaque);
        }
        // A table is plain data: serialisation cannot fail, and an empty text would only make the hash differ.
        hasher.update(serde_json::to_string(&shape).unwrap_or_default().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
