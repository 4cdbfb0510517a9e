//! Which columns can be compared as they are.

use crate::model::{Column, TypeKind};

/// Whether the database compares the two columns of a link by an operator of its own. `each`: the first is an array,
/// whose elements are compared.
pub fn fit(child: &Column, parent: &Column, each: bool) -> bool {
    if each {
        // On SQLite an array is a JSON text; its elements take the other side's affinity.
        let Some(element) = child.type_name.strip_suffix("[]") else { return child.kind == TypeKind::Text };
        return named(element) == family(parent);
    }
    child.type_name == parent.type_name || family(child) == family(parent)
}

fn family(column: &Column) -> &str {
    match column.kind {
        TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64 | TypeKind::Float32 | TypeKind::Float64 => {
            "number"
        }
        TypeKind::Uuid => "uuid",
        TypeKind::Date | TypeKind::Timestamp | TypeKind::TimestampTz => "time",
        // A name with a schema is an enum's, a domain's or an extension's.
        TypeKind::Text if !column.type_name.contains('.') => "text",
        _ => named(&column.type_name),
    }
}

/// The family of a type that is known by its name alone.
fn named(type_name: &str) -> &str {
    let plain = type_name.split('(').next().unwrap_or(type_name).trim_end();
    match plain {
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" => "number",
        "text" | "character varying" | "character" | "name" => "text",
        "date" | "timestamp without time zone" | "timestamp with time zone" => "time",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_name: &str, kind: TypeKind) -> Column {
        Column {
            name: "c".into(),
            type_name: type_name.into(),
            kind,
            not_null: false,
            generated: false,
            has_default: false,
            user_type: None,
        }
    }

    #[test]
    fn types_fit_where_the_database_has_an_operator() {
        use TypeKind::{Int32, Int64, Opaque, Text, Uuid};
        for (child, parent, each, expected) in [
            (("integer", Int32), ("bigint", Int64), false, true),
            (("numeric(20,0)", Opaque), ("bigint", Int64), false, true),
            (("character varying(36)", Text), ("text", Text), false, true),
            (("text", Text), ("uuid", Uuid), false, false),
            (("text", Text), ("bigint", Int64), false, false),
            (("public.mood", Text), ("public.mood", Text), false, true),
            (("public.mood", Text), ("text", Text), false, false),
            (("public.ref", Uuid), ("uuid", Uuid), false, true),
            (("bigint[]", Opaque), ("integer", Int32), true, true),
            (("text[]", Opaque), ("uuid", Uuid), true, false),
            (("TEXT", Text), ("INTEGER", Int64), true, true),
        ] {
            let (child, parent) = (column(child.0, child.1), column(parent.0, parent.1));
            assert_eq!(fit(&child, &parent, each), expected, "{child:?} {parent:?}");
        }
    }
}
