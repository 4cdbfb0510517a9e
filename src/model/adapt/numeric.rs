//! PostgreSQL's `numeric` in binary form: base-10000 digits, most significant first.
//!
//! ```text
//! i16 count, i16 weight of the first digit, u16 sign, u16 shown scale, count × u16 digit
//! ```
//!
//! The server sends no zero digits at either end, so another scale never changes the digits of a value it can
//! hold: only the shown scale.

use super::cast::{Digits, Unfit};

const BASE: u64 = 10_000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
/// Signs from here on are NaN and the infinities.
const SPECIAL: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;
/// What the server sends as the shown scale of an infinity.
const INFINITY_SCALE: u16 = 0x20;
/// Digits behind the point that the server takes.
const SCALE_MAX: u16 = 16_383;

struct Numeric {
    weight: i16,
    sign: u16,
    scale: u16,
    digits: Vec<u16>,
}

impl Numeric {
    fn read(bytes: &[u8]) -> Result<Self, Unfit> {
        let (words, rest) = bytes.as_chunks::<2>();
        let mut words = words.iter().map(|word| u16::from_be_bytes(*word));
        let mut next = || words.next().ok_or(Unfit::Malformed);
        let (count, weight, sign, scale) = (next()?, next()?, next()?, next()?);
        let digits: Vec<u16> = words.collect();
        if !rest.is_empty()
            || digits.len() != usize::from(count)
            || digits.iter().any(|d| u64::from(*d) >= BASE)
        {
            return Err(Unfit::Malformed);
        }
        Ok(Self { weight: weight.cast_signed(), sign, scale, digits })
    }

    fn write(&self) -> Vec<u8> {
        let head = [self.digits.len() as u16, self.weight.cast_unsigned(), self.sign, self.scale];
        head.iter().chain(&self.digits).flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Power of ten of the place that a base-10000 digit begins at.
    fn place(&self, digit: usize) -> i64 {
        (i64::from(self.weight) - digit as i64) * 4
    }

    /// Places before the decimal point; none or fewer for a fraction.
    fn integer_places(&self) -> i64 {
        let first = self.digits.iter().position(|digit| *digit != 0);
        first.map_or(i64::MIN, |at| self.place(at) + i64::from(self.digits[at].ilog10()) + 1)
    }

    /// Power of ten of the last place that is not zero.
    fn last_place(&self) -> i64 {
        let last = self.digits.iter().rposition(|digit| *digit != 0);
        let zeros =
            |digit: u16| (1..4).take_while(|power| digit.is_multiple_of(10_u16.pow(*power))).count() as i64;
        last.map_or(i64::MAX, |at| self.place(at) + zeros(self.digits[at]))
    }
}

/// The value as a numeric of these digits.
pub fn fit(bytes: &[u8], digits: Digits) -> Result<Vec<u8>, Unfit> {
    let Some(precision) = digits.precision else { return Ok(bytes.into()) };
    let mut numeric = Numeric::read(bytes)?;
    if numeric.sign >= SPECIAL {
        return if numeric.sign == NAN { Ok(bytes.into()) } else { Err(Unfit::OutOfRange) };
    }
    if numeric.last_place() < -i64::from(digits.scale) {
        return Err(Unfit::Inexact);
    }
    if numeric.integer_places() > i64::from(precision) - i64::from(digits.scale) {
        return Err(Unfit::OutOfRange);
    }
    numeric.scale = digits.scale;
    Ok(numeric.write())
}

/// The value that a decimal text stands for, with as many digits shown as it has behind the point.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let special = |sign, scale| Some(Numeric { weight: 0, sign, scale, digits: vec![] }.write());
    match text {
        "NaN" => return special(NAN, 0),
        "Infinity" => return special(INFINITY, INFINITY_SCALE),
        "-Infinity" => return special(MINUS_INFINITY, INFINITY_SCALE),
        _ => {}
    }
    let (sign, unsigned) = text.strip_prefix('-').map_or((0, text), |unsigned| (NEGATIVE, unsigned));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    decimal(sign, whole.trim_start_matches('0'), fraction)
}

/// `unscaled` divided by ten to the power of `scale`, with so many digits shown behind the point.
pub fn from_unscaled(unscaled: i128, scale: u16) -> Option<Vec<u8>> {
    let places = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    decimal(if unscaled < 0 { NEGATIVE } else { 0 }, whole.trim_start_matches('0'), fraction)
}

/// Digits before and behind the point, in groups of four.
fn decimal(sign: u16, whole: &str, fraction: &str) -> Option<Vec<u8>> {
    let scale = u16::try_from(fraction.len()).ok().filter(|scale| *scale <= SCALE_MAX)?;
    let (before, behind) = (whole.len().div_ceil(4), fraction.len().div_ceil(4));
    let padded = format!("{whole:0>before$}{fraction:0<behind$}", before = before * 4, behind = behind * 4);
    let group = |four: &[u8]| four.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    let digits: Vec<u16> = padded.as_bytes().chunks(4).map(group).collect();
    let Some(first) = digits.iter().position(|digit| *digit != 0) else {
        return Some(Numeric { weight: 0, sign: 0, scale, digits: vec![] }.write());
    };
    let last = digits.iter().rposition(|digit| *digit != 0)?;
    let weight = i16::try_from(before as i64 - 1 - first as i64).ok()?;
    Some(Numeric { weight, sign, scale, digits: digits[first..=last].to_vec() }.write())
}

/// The value alone, whatever digits are shown: equal numbers have equal bytes.
pub fn comparable(bytes: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut numeric = Numeric::read(bytes)?;
    numeric.scale = 0;
    Ok(numeric.write())
}

/// An integer as a numeric without limits.
pub fn from_integer(value: i64) -> Vec<u8> {
    let mut digits = Vec::new();
    let mut rest = value.unsigned_abs();
    while rest > 0 {
        digits.push((rest % BASE) as u16);
        rest /= BASE;
    }
    digits.reverse();
    let weight = digits.len().saturating_sub(1) as i16;
    digits.truncate(digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1));
    let sign = if value < 0 { NEGATIVE } else { 0 };
    Numeric { weight, sign, scale: 0, digits }.write()
}

/// The value as an integer.
pub fn to_integer(bytes: &[u8]) -> Result<i128, Unfit> {
    let numeric = Numeric::read(bytes)?;
    // 10^20 is beyond every integer type.
    if numeric.sign >= SPECIAL || numeric.integer_places() > 20 {
        return Err(Unfit::OutOfRange);
    }
    if numeric.last_place() < 0 {
        return Err(Unfit::Inexact);
    }
    let places = (0..numeric.digits.len()).map(|at| (at, numeric.place(at)));
    let value: i128 = places
        .filter(|(at, _)| numeric.digits[*at] != 0)
        .map(|(at, place)| {
            i128::from(numeric.digits[at]) * 10_i128.pow(u32::try_from(place).unwrap_or_default())
        })
        .sum();
    Ok(if numeric.sign == NEGATIVE { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        Numeric { weight, sign, scale, digits: digits.into() }.write()
    }

    fn limit(precision: u16, scale: u16) -> Digits {
        Digits { precision: Some(precision), scale }
    }

    #[test]
    fn integers_have_the_form_that_the_server_gives_them() {
        assert_eq!(from_integer(0), numeric(0, 0, 0, &[]));
        assert_eq!(from_integer(-7), numeric(0, NEGATIVE, 0, &[7]));
        assert_eq!(from_integer(100_000_000), numeric(2, 0, 0, &[1]), "no zeros at the end");
        assert_eq!(from_integer(12_345), numeric(1, 0, 0, &[1, 2345]));
        for value in [0, 1, -1, 9_999, 10_000, i64::MAX, i64::MIN] {
            assert_eq!(to_integer(&from_integer(value)), Ok(i128::from(value)));
        }
    }

    #[test]
    fn a_value_fits_exactly_or_not_at_all() {
        // 12345.678
        let value = numeric(1, 0, 3, &[1, 2345, 6780]);
        assert_eq!(fit(&value, limit(8, 3)), Ok(value.clone()));
        assert_eq!(
            fit(&value, limit(9, 4)),
            Ok(numeric(1, 0, 4, &[1, 2345, 6780])),
            "only the scale changes"
        );
        assert_eq!(fit(&value, limit(8, 2)), Err(Unfit::Inexact));
        assert_eq!(fit(&value, limit(7, 3)), Err(Unfit::OutOfRange));
        assert_eq!(fit(&value, Digits::default()), Ok(value.clone()));
        // 0.0001: no place before the point.
        assert_eq!(fit(&numeric(-1, 0, 4, &[1]), limit(4, 4)), Ok(numeric(-1, 0, 4, &[1])));
        assert_eq!(fit(&numeric(0, 0, 2, &[]), limit(1, 0)), Ok(numeric(0, 0, 0, &[])), "zero always fits");
        assert_eq!(fit(&numeric(0, NAN, 0, &[]), limit(1, 0)), Ok(numeric(0, NAN, 0, &[])));
        assert_eq!(fit(&numeric(0, 0xd000, 0x20, &[]), limit(1, 0)), Err(Unfit::OutOfRange), "infinity");
    }

    #[test]
    fn texts_have_the_form_that_the_server_gives_them() {
        assert_eq!(parse("0"), Some(numeric(0, 0, 0, &[])));
        assert_eq!(parse("-0.00"), Some(numeric(0, 0, 2, &[])), "there is no negative zero");
        assert_eq!(parse("12345.678"), Some(numeric(1, 0, 3, &[1, 2345, 6780])));
        assert_eq!(parse("-0.00012"), Some(numeric(-1, NEGATIVE, 5, &[1, 2000])));
        assert_eq!(parse("100000000"), Some(numeric(2, 0, 0, &[1])));
        assert_eq!(parse("NaN"), Some(numeric(0, NAN, 0, &[])));
        assert_eq!(parse("-Infinity"), Some(numeric(0, 0xf000, 0x20, &[])));
        for wrong in ["", ".", "-", "1e5", "1,5", " 1", "+1", "--1", "0x1", "nan"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for (unscaled, scale, text) in
            [(0, 2, "0.00"), (5, 3, "0.005"), (-1_234_500, 2, "-12345.00"), (7, 0, "7")]
        {
            assert_eq!(from_unscaled(unscaled, scale), parse(text), "{text}");
        }
        assert_eq!(comparable(&parse("7.00").expect("a number")), Ok(from_integer(7)));
    }

    #[test]
    fn only_whole_numbers_become_integers() {
        assert_eq!(to_integer(&numeric(0, 0, 2, &[5])), Ok(5), "5.00");
        assert_eq!(to_integer(&numeric(0, 0, 1, &[5, 5000])), Err(Unfit::Inexact));
        assert_eq!(to_integer(&numeric(0, NAN, 0, &[])), Err(Unfit::OutOfRange));
        assert_eq!(to_integer(&numeric(30, 0, 0, &[1])), Err(Unfit::OutOfRange));
        assert_eq!(to_integer(&[0, 1]), Err(Unfit::Malformed));
        assert_eq!(to_integer(&numeric(0, 0, 0, &[10_000])), Err(Unfit::Malformed));
    }
}
