//! Which cast leads from a column's old type to its new one, and whether every value survives it.

use crate::model::adapt::{Cast, Digits};
use crate::model::{Column, TypeKind, UserType};

/// What a type is, as far as casts care.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Family {
    Integer {
        bytes: u8,
    },
    Numeric(Digits),
    Real,
    Double,
    /// `text`, `varchar(n)`, `char(n)` (padded).
    Text {
        characters_max: Option<u32>,
        padded: bool,
    },
    /// The binary form is a text, but not every text is a value; without labels they are not known.
    Label(Option<Vec<String>>),
    /// Any text is a value: `citext`.
    OtherText,
    Date,
    Timestamp {
        digits: u32,
    },
    TimestampTz {
        digits: u32,
    },
    Time {
        digits: u32,
    },
    Other,
}

/// Digits behind the second unless a type says otherwise.
const SECOND_DIGITS: u32 = 6;

/// The cast between two PostgreSQL types, and whether it is sure that every value fits; `None` if no rule leads
/// from one to the other.
pub fn cast(taken: &Column, now: &Column) -> Option<(Cast, bool)> {
    if taken.kind == TypeKind::Printed || now.kind == TypeKind::Printed {
        // A text may be one that the server would have printed: whether it is, the rows tell.
        let same = taken.kind == TypeKind::Printed && taken.base_type() == now.base_type();
        return (same || taken.kind == TypeKind::Text).then_some((Cast::Same, true));
    }
    let (from, to) = (Family::of(taken, false), Family::of(now, true));
    if let Family::Label(Some(labels)) = &to {
        return to_label(&from, labels);
    }
    if taken.base_type() == now.base_type() {
        return Some(unchanged(now));
    }
    match (from, to) {
        (Family::Integer { bytes: old }, Family::Integer { bytes }) => {
            Some((Cast::Integer { bytes }, bytes >= old))
        }
        (Family::Integer { bytes }, Family::Numeric(digits)) => {
            Some((Cast::IntegerToNumeric(digits), places(digits) >= integer_places(bytes)))
        }
        (Family::Numeric(_), Family::Integer { bytes }) => Some((Cast::NumericToInteger { bytes }, false)),
        (Family::Numeric(_), Family::Numeric(Digits { precision: None, .. })) => Some((Cast::Same, true)),
        (Family::Numeric(old), Family::Numeric(new)) => {
            let wider = old.precision.is_some() && new.scale >= old.scale && places(new) >= places(old);
            let same = wider && new.scale == old.scale;
            Some((if same { Cast::Same } else { Cast::Numeric(new) }, wider))
        }
        (Family::Real, Family::Double) => Some((Cast::RealToDouble, true)),
        (Family::Double, Family::Real) => Some((Cast::DoubleToReal, false)),
        (Family::Date, Family::Timestamp { .. }) => Some((Cast::DateToTimestamp, false)),
        (Family::Timestamp { digits: old }, Family::Timestamp { digits })
        | (Family::TimestampTz { digits: old }, Family::TimestampTz { digits })
        | (Family::Time { digits: old }, Family::Time { digits }) => Some(seconds(old, digits)),
        (from, to) => text(&from, &to),
    }
}

/// The type that a declared value of a column is to be read as, before it is cast to the column's own type;
/// `None` if the text itself is the value.
pub fn type_of_value(column: &Column) -> Option<Column> {
    if column.kind == TypeKind::Printed {
        return None;
    }
    match Family::of(column, true) {
        Family::Text { .. } | Family::Label(_) | Family::OtherText => None,
        Family::Numeric(_) => Some(Column::new(&column.name, "numeric", column.kind)),
        _ => Some(Column::new(&column.name, column.base_type(), column.kind)),
    }
}

/// The same type; of some the server does not take back all that it sends.
fn unchanged(column: &Column) -> (Cast, bool) {
    match column.base_type() {
        "tsquery" => (Cast::NotEmpty { count_at: 0 }, false),
        "oidvector" | "int2vector" => (Cast::NotEmpty { count_at: 12 }, false),
        _ => (Cast::Same, true),
    }
}

fn to_label(from: &Family, labels: &[String]) -> Option<(Cast, bool)> {
    match from {
        Family::Label(Some(old)) if old.iter().all(|label| labels.contains(label)) => {
            Some((Cast::Same, true))
        }
        Family::Label(_) | Family::OtherText | Family::Text { padded: false, .. } => {
            Some((Cast::Label { labels: labels.to_vec() }, false))
        }
        _ => None,
    }
}

fn text(from: &Family, to: &Family) -> Option<(Cast, bool)> {
    let (old_max, trims) = match from {
        Family::Text { characters_max, padded } => (*characters_max, *padded),
        Family::Label(_) | Family::OtherText => (None, false),
        _ => return None,
    };
    let (characters_max, pads) = match to {
        Family::Text { characters_max, padded } => (*characters_max, *padded),
        Family::OtherText => (None, false),
        _ => return None,
    };
    let fits = characters_max.is_none_or(|max| old_max.is_some_and(|old| old <= max));
    let same = fits && !trims && !pads;
    let cast = if same { Cast::Same } else { Cast::Text { characters_max, trims, pads } };
    // A `char` takes no blanks at the end that are part of the value.
    Some((cast, fits && (trims || !pads)))
}

fn seconds(old: u32, digits: u32) -> (Cast, bool) {
    if digits >= old { (Cast::Same, true) } else { (Cast::Seconds { digits }, false) }
}

/// Places before the decimal point.
fn places(digits: Digits) -> i32 {
    digits.precision.map_or(i32::MAX, |precision| i32::from(precision) - i32::from(digits.scale))
}

fn integer_places(bytes: u8) -> i32 {
    match bytes {
        2 => 5,
        4 => 10,
        _ => 19,
    }
}

impl Family {
    /// `live`: the column is the live one, whose type is known in full. Of one in a snapshot it may not be: an
    /// older snapshot does not say what a user's type is made of.
    fn of(column: &Column, live: bool) -> Self {
        if let Some(UserType::Enum { labels }) = &column.user_type {
            return Self::Label(Some(labels.clone()));
        }
        let (name, modifiers) = parameters(column.base_type());
        let digits = modifiers.first().copied().unwrap_or(SECOND_DIGITS);
        match (name.as_str(), modifiers.as_slice()) {
            ("smallint", []) => Self::Integer { bytes: 2 },
            ("integer", []) => Self::Integer { bytes: 4 },
            ("bigint", []) => Self::Integer { bytes: 8 },
            ("real", []) => Self::Real,
            ("double precision", []) => Self::Double,
            ("numeric", []) => Self::Numeric(Digits::default()),
            ("numeric", [precision, scale]) => match (u16::try_from(*precision), u16::try_from(*scale)) {
                (Ok(precision), Ok(scale)) => Self::Numeric(Digits { precision: Some(precision), scale }),
                _ => Self::Other,
            },
            ("text" | "character varying", []) => Self::Text { characters_max: None, padded: false },
            ("character varying", [max]) => Self::Text { characters_max: Some(*max), padded: false },
            ("character", [max]) => Self::Text { characters_max: Some(*max), padded: true },
            ("date", []) => Self::Date,
            ("timestamp without time zone", _) => Self::Timestamp { digits },
            ("timestamp with time zone", _) => Self::TimestampTz { digits },
            ("time without time zone", _) => Self::Time { digits },
            // A type of the user's own that travels as text.
            (name, _) if name.contains('.') && column.kind == TypeKind::Text => {
                if live {
                    Self::OtherText
                } else {
                    Self::Label(None)
                }
            }
            _ => Self::Other,
        }
    }
}

/// `timestamp(3) without time zone` as `("timestamp without time zone", [3])`.
fn parameters(type_name: &str) -> (String, Vec<u32>) {
    let plain = || (type_name.to_owned(), Vec::new());
    let Some((head, (list, tail))) =
        type_name.split_once('(').and_then(|(head, rest)| Some((head, rest.split_once(')')?)))
    else {
        return plain();
    };
    match list.split(',').map(|number| number.trim().parse()).collect() {
        Ok(numbers) => (format!("{head}{tail}"), numbers),
        Err(_) => plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_name: &str) -> Column {
        let kind = if type_name.contains('.') { TypeKind::Text } else { TypeKind::Opaque };
        let mut column = Column::new("c", type_name, kind);
        match type_name {
            "s.mood" => column.user_type = labels(&["sad", "ok"]),
            "s.more" => column.user_type = labels(&["sad", "so", "ok"]),
            "s.code" => {
                column.user_type =
                    Some(UserType::Domain { base: "character varying(8)".into(), checks: vec![] });
            }
            _ => {}
        }
        column
    }

    #[test]
    fn what_was_printed_stays_so_and_nothing_else_becomes_it_but_text() {
        let of = |type_name: &str, kind| Column::new("c", type_name, kind);
        let printed = of("aclitem", TypeKind::Printed);
        let same = Some((Cast::Same, true));
        assert_eq!(cast(&printed, &printed), same);
        assert_eq!(cast(&printed, &of("aclitem", TypeKind::Opaque)), same);
        assert_eq!(cast(&of("text", TypeKind::Text), &printed), same);
        assert_eq!(cast(&of("aclitem", TypeKind::Opaque), &printed), None);
        assert_eq!(cast(&printed, &of("aclitem[]", TypeKind::Printed)), None);
        assert_eq!(cast(&printed, &of("text", TypeKind::Text)), None);
    }

    fn labels(labels: &[&str]) -> Option<UserType> {
        Some(UserType::Enum { labels: labels.iter().map(|label| (*label).to_owned()).collect() })
    }

    /// (from, to, outcome): `=` the same form, `>` every value fits its cast, `?` to be checked, `!` no rule.
    #[test]
    fn every_pair_of_types_has_its_rule_or_none() {
        let cases = [
            ("character varying(10)", "character varying(20)", '='),
            ("character varying(20)", "character varying(10)", '?'),
            ("character varying(20)", "character varying", '='),
            ("character varying", "character varying(20)", '?'),
            ("character varying(20)", "text", '='),
            ("text", "character varying", '='),
            ("text", "character varying(9)", '?'),
            ("character(10)", "character(20)", '>'),
            ("character(20)", "character(10)", '?'),
            ("character(10)", "text", '>'),
            ("character(10)", "character varying(9)", '?'),
            ("text", "character(9)", '?'),
            ("character varying(3)", "character(9)", '?'),
            ("numeric(12,2)", "numeric(14,2)", '='),
            ("numeric(12,2)", "numeric(14,4)", '>'),
            ("numeric(12,2)", "numeric(14,5)", '?'),
            ("numeric(12,2)", "numeric(10,2)", '?'),
            ("numeric(12,2)", "numeric", '='),
            ("numeric", "numeric(12,2)", '?'),
            ("numeric(2,-3)", "numeric(5,0)", '!'),
            ("smallint", "integer", '>'),
            ("integer", "bigint", '>'),
            ("bigint", "integer", '?'),
            ("integer", "numeric", '>'),
            ("integer", "numeric(10,0)", '>'),
            ("integer", "numeric(10,2)", '?'),
            ("numeric(12,2)", "bigint", '?'),
            ("real", "double precision", '>'),
            ("double precision", "real", '?'),
            ("date", "timestamp without time zone", '?'),
            ("date", "timestamp with time zone", '!'),
            ("timestamp without time zone", "timestamp with time zone", '!'),
            ("timestamp without time zone", "timestamp(3) without time zone", '?'),
            ("timestamp(3) with time zone", "timestamp with time zone", '='),
            ("time(0) without time zone", "time without time zone", '='),
            ("date", "integer", '!'),
            ("money", "bigint", '!'),
            ("json", "jsonb", '!'),
            ("integer", "text", '!'),
            ("text", "integer", '!'),
            ("integer[]", "bigint[]", '!'),
            ("bpchar", "text", '!'),
            ("s.mood", "text", '='),
            ("s.mood", "character varying(3)", '?'),
            ("s.mood", "s.more", '='),
            ("s.more", "s.mood", '?'),
            ("s.unknown", "s.mood", '?'),
            ("text", "s.mood", '?'),
            ("character(5)", "s.mood", '!'),
            ("integer", "s.mood", '!'),
            ("text", "public.citext", '='),
            ("public.citext", "text", '='),
            ("s.code", "text", '='),
            ("character varying(8)", "s.code", '='),
            ("text", "s.code", '?'),
            ("s.mood", "s.mood", '='),
        ];
        for (from, to, outcome) in cases {
            let found = match cast(&column(from), &column(to)) {
                None => '!',
                Some((Cast::Same, true)) => '=',
                Some((_, true)) => '>',
                Some((_, false)) => '?',
            };
            assert_eq!(found, outcome, "{from} to {to}");
        }
    }
}
