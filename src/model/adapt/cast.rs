//! One value from one PostgreSQL type to another, in binary form, exactly or not at all.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::numeric;

/// What the values of a column go through. The result is what the server's own cast gives wherever that is exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cast {
    /// The binary form is the same, and every value fits.
    Same,
    /// An integer of another width.
    Integer {
        /// Bytes of the new width: 2, 4 or 8.
        bytes: u8,
    },
    /// An integer to numeric.
    IntegerToNumeric(Digits),
    /// A numeric of other digits.
    Numeric(Digits),
    /// A numeric to an integer.
    NumericToInteger {
        /// Bytes of the width: 2, 4 or 8.
        bytes: u8,
    },
    /// `real` to `double precision`.
    RealToDouble,
    /// `double precision` to `real`.
    DoubleToReal,
    /// Text, `varchar` and `char`.
    Text {
        /// Most characters of the new type.
        characters_max: Option<u32>,
        /// Whether trailing blanks are no part of the old value (`char`).
        trims: bool,
        /// Whether the new value is filled up with blanks (`char`).
        pads: bool,
    },
    /// Text or a label to one of these labels of an enum.
    Label {
        /// The labels.
        labels: Vec<String>,
    },
    /// `date` to `timestamp`: its midnight.
    DateToTimestamp,
    /// The same, of a type whose empty value the server sends but does not take back.
    NotEmpty {
        /// Where the binary form says how many elements there are.
        count_at: usize,
    },
    /// `time` or `timestamp` of fewer digits.
    Seconds {
        /// Digits behind the second.
        digits: u32,
    },
}

/// Precision and scale of a numeric; both absent for one without limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digits {
    /// `numeric(precision, …)`.
    pub precision: Option<u16>,
    /// `numeric(…, scale)`.
    pub scale: u16,
}

/// Why a value does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unfit {
    /// NULL where NULL is not allowed any more.
    #[error("is NULL")]
    Null,
    /// More characters than allowed, blanks at the end included that a `char` would lose.
    #[error("is too long")]
    TooLong,
    /// Beyond the limits of the new type.
    #[error("is out of range")]
    OutOfRange,
    /// Between the values of the new type.
    #[error("would be rounded")]
    Inexact,
    /// No label of the enum.
    #[error("is no label of the type")]
    NoLabel,
    /// Empty, where the server does not take that back.
    #[error("is empty, which PostgreSQL sends but does not take back")]
    Empty,
    /// No value of the old type.
    #[error("is no value of the type that the snapshot names")]
    Malformed,
}

/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;
/// First microsecond after the last timestamp, 294277-01-01, counted from 2000-01-01.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

impl Cast {
    /// The value in the new type.
    pub fn value<'v>(&self, bytes: &'v [u8]) -> Result<Cow<'v, [u8]>, Unfit> {
        match self {
            Self::Same => Ok(bytes.into()),
            Self::Integer { bytes: width } => to_integer(i128::from(integer(bytes)?), *width),
            Self::IntegerToNumeric(digits) => {
                numeric::fit(&numeric::from_integer(integer(bytes)?), *digits).map(Cow::Owned)
            }
            Self::Numeric(digits) => numeric::fit(bytes, *digits).map(Cow::Owned),
            Self::NumericToInteger { bytes: width } => to_integer(numeric::to_integer(bytes)?, *width),
            Self::RealToDouble => {
                let value = f32::from_be_bytes(fixed(bytes)?);
                Ok(Cow::Owned(f64::from(value).to_be_bytes().into()))
            }
            Self::DoubleToReal => to_real(f64::from_be_bytes(fixed(bytes)?)),
            Self::Text { characters_max, trims, pads } => text(bytes, *characters_max, *trims, *pads),
            Self::Label { labels } => {
                let known = labels.iter().any(|label| label.as_bytes() == bytes);
                if known { Ok(bytes.into()) } else { Err(Unfit::NoLabel) }
            }
            Self::DateToTimestamp => to_timestamp(i32::from_be_bytes(fixed(bytes)?)),
            Self::NotEmpty { count_at } => {
                let count = bytes.get(*count_at..count_at + 4);
                if count.is_none_or(|count| count == [0; 4]) { Err(Unfit::Empty) } else { Ok(bytes.into()) }
            }
            Self::Seconds { digits } => {
                let micros = i64::from_be_bytes(fixed(bytes)?);
                let unit = 10_i64.pow(6_u32.saturating_sub(*digits));
                let whole = matches!(micros, i64::MIN | i64::MAX) || micros % unit == 0;
                if whole { Ok(bytes.into()) } else { Err(Unfit::Inexact) }
            }
        }
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Unfit> {
    bytes.try_into().map_err(|_| Unfit::Malformed)
}

fn integer(bytes: &[u8]) -> Result<i64, Unfit> {
    match bytes.len() {
        2 => Ok(i16::from_be_bytes(fixed(bytes)?).into()),
        4 => Ok(i32::from_be_bytes(fixed(bytes)?).into()),
        8 => Ok(i64::from_be_bytes(fixed(bytes)?)),
        _ => Err(Unfit::Malformed),
    }
}

fn to_integer(value: i128, width: u8) -> Result<Cow<'static, [u8]>, Unfit> {
    let out = |_| Unfit::OutOfRange;
    Ok(Cow::Owned(match width {
        2 => i16::try_from(value).map_err(out)?.to_be_bytes().into(),
        4 => i32::try_from(value).map_err(out)?.to_be_bytes().into(),
        _ => i64::try_from(value).map_err(out)?.to_be_bytes().into(),
    }))
}

fn to_real(value: f64) -> Result<Cow<'static, [u8]>, Unfit> {
    #[expect(clippy::cast_possible_truncation, reason = "what is lost is found by the way back")]
    let real = value as f32;
    if real.is_infinite() && value.is_finite() {
        return Err(Unfit::OutOfRange);
    }
    let exact = value.is_nan() || f64::from(real).to_bits() == value.to_bits();
    if exact { Ok(Cow::Owned(real.to_be_bytes().into())) } else { Err(Unfit::Inexact) }
}

fn to_timestamp(days: i32) -> Result<Cow<'static, [u8]>, Unfit> {
    let micros = match days {
        i32::MAX => i64::MAX,
        i32::MIN => i64::MIN,
        finite => {
            let micros = i64::from(finite).checked_mul(DAY_MICROS);
            micros.filter(|micros| *micros < TIMESTAMP_END).ok_or(Unfit::OutOfRange)?
        }
    };
    Ok(Cow::Owned(micros.to_be_bytes().into()))
}

fn text(bytes: &[u8], characters_max: Option<u32>, trims: bool, pads: bool) -> Result<Cow<'_, [u8]>, Unfit> {
    let value = std::str::from_utf8(bytes).map_err(|_| Unfit::Malformed)?;
    let value = if trims { value.trim_end_matches(' ') } else { value };
    let max = characters_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let characters = value.chars().count();
    // Blanks at the end of a `char` are no part of the value: it would come back without those that are.
    if characters > max || (pads && value.ends_with(' ')) {
        return Err(Unfit::TooLong);
    }
    if pads && characters_max.is_some() {
        return Ok(Cow::Owned([value.as_bytes(), " ".repeat(max - characters).as_bytes()].concat()));
    }
    Ok(value.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cast: &Cast, bytes: &[u8]) -> Result<Vec<u8>, Unfit> {
        cast.value(bytes).map(Cow::into_owned)
    }

    #[test]
    fn integers_change_their_width_or_are_out_of_range() {
        let to = |bytes| Cast::Integer { bytes };
        assert_eq!(of(&to(4), &(-7_i16).to_be_bytes()), Ok((-7_i32).to_be_bytes().into()));
        assert_eq!(of(&to(8), &i32::MIN.to_be_bytes()), Ok(i64::from(i32::MIN).to_be_bytes().into()));
        assert_eq!(of(&to(4), &i64::from(i32::MAX).to_be_bytes()), Ok(i32::MAX.to_be_bytes().into()));
        assert_eq!(of(&to(4), &(i64::from(i32::MAX) + 1).to_be_bytes()), Err(Unfit::OutOfRange));
        assert_eq!(of(&to(2), &(-32_769_i32).to_be_bytes()), Err(Unfit::OutOfRange));
        assert_eq!(of(&to(2), &[0; 3]), Err(Unfit::Malformed));
    }

    #[test]
    fn floating_point_numbers_keep_their_value() {
        for value in [0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, 0.1] {
            let wide = of(&Cast::RealToDouble, &value.to_be_bytes()).expect("wider");
            assert_eq!(wide, f64::from(value).to_be_bytes());
            assert_eq!(of(&Cast::DoubleToReal, &wide), Ok(value.to_be_bytes().into()));
        }
        assert_eq!(of(&Cast::DoubleToReal, &0.1_f64.to_be_bytes()), Err(Unfit::Inexact));
        assert_eq!(of(&Cast::DoubleToReal, &1e-300_f64.to_be_bytes()), Err(Unfit::Inexact));
        assert_eq!(of(&Cast::DoubleToReal, &1e300_f64.to_be_bytes()), Err(Unfit::OutOfRange));
        assert!(of(&Cast::DoubleToReal, &f64::NAN.to_be_bytes()).is_ok());
    }

    #[test]
    fn text_is_trimmed_padded_and_measured_in_characters() {
        let cast = |characters_max, trims, pads| Cast::Text { characters_max, trims, pads };
        assert_eq!(of(&cast(None, true, false), b"ab   "), Ok(b"ab".into()), "char to text");
        assert_eq!(of(&cast(Some(4), false, true), "é".as_bytes()), Ok("é   ".as_bytes().into()));
        assert_eq!(of(&cast(Some(4), false, true), b"ab "), Err(Unfit::TooLong), "text to char");
        assert_eq!(of(&cast(Some(2), true, true), b"ab   "), Ok(b"ab".into()), "char to a shorter char");
        assert_eq!(of(&cast(Some(1), true, true), b"ab   "), Err(Unfit::TooLong));
        assert_eq!(of(&cast(Some(2), false, false), "éé".as_bytes()), Ok("éé".as_bytes().into()));
        assert_eq!(of(&cast(Some(2), false, false), b"ab "), Err(Unfit::TooLong));
    }

    #[test]
    fn dates_become_midnights_as_far_as_there_are_any() {
        let of = |days: i32| of(&Cast::DateToTimestamp, &days.to_be_bytes());
        assert_eq!(of(1), Ok(DAY_MICROS.to_be_bytes().into()));
        assert_eq!(of(-2_451_545), Ok((-211_813_488_000_000_000_i64).to_be_bytes().into()), "4714-11-24 BC");
        assert_eq!(of(i32::MAX), Ok(i64::MAX.to_be_bytes().into()), "infinity");
        assert_eq!(of(i32::MIN), Ok(i64::MIN.to_be_bytes().into()));
        assert_eq!(of(106_751_982), Ok((TIMESTAMP_END - DAY_MICROS).to_be_bytes().into()), "294276-12-31");
        assert_eq!(of(106_751_983), Err(Unfit::OutOfRange));
    }

    #[test]
    fn fewer_digits_behind_the_second_must_be_enough() {
        let of = |digits, micros: i64| of(&Cast::Seconds { digits }, &micros.to_be_bytes()).map(|_| ());
        assert_eq!(of(3, 1_234_000), Ok(()));
        assert_eq!(of(3, -1_234_000), Ok(()));
        assert_eq!(of(3, 1_234_500), Err(Unfit::Inexact));
        assert_eq!(of(0, i64::MAX), Ok(()), "infinity");
    }

    #[test]
    fn an_empty_value_that_nobody_takes_back_does_not_fit() {
        let query = Cast::NotEmpty { count_at: 0 };
        assert_eq!(of(&query, &[0; 4]), Err(Unfit::Empty));
        assert_eq!(of(&query, &[0, 0, 0, 1, 1]), Ok(vec![0, 0, 0, 1, 1]));
        let vector = Cast::NotEmpty { count_at: 12 };
        assert_eq!(of(&vector, &[0; 12]), Err(Unfit::Empty), "no dimension");
    }

    #[test]
    fn labels_are_known_or_not() {
        let cast = Cast::Label { labels: vec!["sad".into(), "ok".into()] };
        assert_eq!(of(&cast, b"ok"), Ok(b"ok".into()));
        assert_eq!(of(&cast, b"OK"), Err(Unfit::NoLabel));
    }
}
