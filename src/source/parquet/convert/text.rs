//! Values as PostgreSQL prints them (`datestyle ISO`), for exports that carry what Parquet has no type for as text.

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A date as days since 1970; the infinities are the two ends.
pub fn date(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, is_bc) = era(text);
    i32::try_from(days(text, is_bc)?).ok()
}

/// A time of day in microseconds; 24:00:00 is one.
pub fn time(text: &str) -> Option<i64> {
    clock(text).filter(|micros| *micros <= DAY)
}

/// A timestamp in microseconds since 1970, with or without its distance from UTC; the infinities are the two ends.
pub fn timestamp(text: &str, has_zone: bool) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, is_bc) = era(text);
    let (day, rest) = text.split_once([' ', 'T'])?;
    let (clock_text, offset) = match (has_zone, rest.find(['+', '-', 'Z'])) {
        (true, Some(at)) => (&rest[..at], zone(&rest[at..])?),
        (false, None) => (rest, 0),
        _ => return None,
    };
    let clock = clock(clock_text).filter(|micros| *micros <= DAY)?;
    days(day, is_bc)?.checked_mul(DAY)?.checked_add(clock)?.checked_sub(offset)
}

/// A UUID, hyphens where they belong.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = text.iter().enumerate().filter(|(at, _)| ![8, 13, 18, 23].contains(at));
    for byte in &mut bytes {
        for _ in 0..2 {
            let digit = char::from(*digits.next()?.1).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(digit).ok()?;
        }
    }
    Some(bytes)
}

/// A UUID as the server prints it.
pub fn uuid_text(bytes: &[u8]) -> String {
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let starts = [0, 4, 6, 8, 10, bytes.len()];
    let parts = starts.windows(2).map(|ends| hex(bytes.get(ends[0]..ends[1]).unwrap_or_default()));
    parts.collect::<Vec<_>>().join("-")
}

/// `t`, as the server prints it, or `true`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    }
}

/// The elements of `{1,NULL,"a b"}`; `None` for more dimensions than one, and for other bounds than 1.
pub fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if rest.is_empty() {
        return Some(elements);
    }
    loop {
        let after;
        if let Some(quoted) = rest.strip_prefix('"') {
            let (element, length) = unquote(quoted)?;
            elements.push(Some(element));
            after = &quoted[length..];
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let element = &rest[..end];
            if element.is_empty() || element.contains(['{', '}', '"', '\\']) {
                return None;
            }
            elements.push((element != "NULL").then(|| element.to_owned()));
            after = &rest[end..];
        }
        if after.is_empty() {
            return Some(elements);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// What stands before the closing quote, and the length of both.
fn unquote(text: &str) -> Option<(String, usize)> {
    let mut element = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((element, at + 1)),
            '\\' => element.push(characters.next()?.1),
            other => element.push(other),
        }
    }
    None
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Days since 1970 of `YYYY-MM-DD` in the proleptic Gregorian calendar.
fn days(text: &str, is_bc: bool) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4..=7)?, number(parts.next()?, 2..=2)?, number(parts.next()?, 2..=2)?);
    if parts.next().is_some() || year == 0 || !(1..=12).contains(&month) {
        return None;
    }
    // The year before 1 is 1 BC.
    let year = if is_bc { 1 - year } else { year };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(cycle * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH_DAYS)
}

/// `HH:MM:SS[.ffffff]` in microseconds.
fn clock(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.split(':');
    let (hours, minutes, seconds) =
        (number(parts.next()?, 2..=2)?, number(parts.next()?, 2..=2)?, number(parts.next()?, 2..=2)?);
    if parts.next().is_some() || hours > 24 || minutes > 59 || seconds > 59 {
        return None;
    }
    let digits = u32::try_from(fraction.len()).ok()?;
    let fraction = number(fraction, 1..=6)? * 10_i64.pow(6 - digits);
    Some(((hours * 60 + minutes) * 60 + seconds) * SECOND + fraction)
}

/// `+HH[:MM[:SS]]` or `Z` in microseconds.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let mut offset = 0;
    let mut unit = 3_600;
    for part in rest.split(':') {
        offset += number(part, 2..=2)? * unit;
        unit /= 60;
    }
    (rest.len() <= 8).then_some(sign * offset * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_server() {
        // `select date '…' - date '1970-01-01'`
        for (text, days) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("1969-12-31", -1),
            ("4714-11-24 BC", -2_440_588),
            ("0001-12-31 BC", -719_163),
            ("5874897-12-31", 2_145_042_905),
            ("infinity", i32::MAX),
        ] {
            assert_eq!(date(text), Some(days), "{text}");
        }
        for wrong in ["", "2001-02-29", "1970-13-01", "70-01-01", "1970-1-1", "0000-01-01", "1970-01-01 "] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn timestamps_have_a_zone_or_none() {
        assert_eq!(timestamp("1970-01-01 00:00:01.5", false), Some(1_500_000));
        assert_eq!(timestamp("1970-01-01 00:00:00+00", true), Some(0));
        assert_eq!(timestamp("1970-01-01 00:00:00-01:30:30", true), Some(5_430 * SECOND));
        assert_eq!(timestamp("1969-12-31T23:59:59.999999Z", true), Some(-1));
        assert_eq!(timestamp("-infinity", true), Some(i64::MIN));
        for (wrong, has_zone) in
            [("1970-01-01", false), ("1970-01-01 00:00:00+00", false), ("1970-01-01 00:00:00", true)]
        {
            assert_eq!(timestamp(wrong, has_zone), None, "{wrong}");
        }
        assert_eq!(time("24:00:00"), Some(DAY));
        assert_eq!(time("24:00:01"), None);
        assert_eq!(time("00:00:00.0000001"), None, "more digits than there are");
    }

    #[test]
    fn arrays_have_one_dimension() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(elements("{}"), Some(vec![]));
        assert_eq!(elements("{1,NULL,\"NULL\"}"), Some(vec![some("1"), None, some("NULL")]));
        assert_eq!(elements(r#"{"a \"b\", \\",c}"#), Some(vec![some("a \"b\", \\"), some("c")]));
        for wrong in ["", "1", "{1", "{{1},{2}}", "[2:3]={1,2}", "{1,}", "{\"a}", "{a\"b}"] {
            assert_eq!(elements(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn uuids_are_hexadecimal_with_hyphens() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let bytes = uuid(text).expect("a uuid");
        assert_eq!(bytes[..3], [0, 0x11, 0x22]);
        assert_eq!(bytes[15], 0xff);
        assert_eq!(uuid_text(&bytes), text);
        assert_eq!(uuid(&text.replace('f', "g")), None);
        assert_eq!(uuid(&text.replace('-', "")), None);
    }
}
