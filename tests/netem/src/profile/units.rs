//! Figures with units, exactly: what is printed is what was read.

use std::time::Duration;

/// Units of a quantity, each with its size in the smallest of them, largest first.
pub(super) type Units = &'static [(&'static str, u64)];

pub(super) const TIME: Units = &[("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
pub(super) const RATE: Units = &[("Gbit/s", 125_000_000), ("Mbit/s", 125_000), ("kbit/s", 125), ("B/s", 1)];
pub(super) const SIZE: Units = &[("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

/// Decimal digits that a figure may have, before and after the point each.
const MOST_DIGITS: usize = 15;

/// A figure like `1.5ms` in the smallest unit; `None` if it is none, is too large, or is no whole number of them.
pub(super) fn quantity(word: &str, units: Units) -> Option<u64> {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (figure, unit) = word.split_at(end);
    let scale = units.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, part) = figure.split_once('.').unwrap_or((figure, "0"));
    let digits = |text: &str| {
        let fine = !text.is_empty() && text.len() <= MOST_DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        if fine { text.parse::<u128>().ok() } else { None }
    };
    let (whole, fraction) = (digits(whole)?, digits(part)?);
    let ten = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let fraction = fraction * u128::from(scale);
    if !fraction.is_multiple_of(ten) {
        return None;
    }
    u64::try_from(whole * u128::from(scale) + fraction / ten).ok()
}

/// The same backwards: in the largest unit of which it is a whole number.
pub(super) fn print(value: u64, units: Units) -> String {
    let unit = units.iter().find(|(_, scale)| value.is_multiple_of(*scale) && value >= *scale).or(units.last());
    unit.map_or_else(String::new, |(name, scale)| format!("{}{name}", value / scale))
}

pub(super) fn time(word: &str) -> Option<Duration> {
    quantity(word, TIME).map(Duration::from_nanos)
}

pub(super) fn print_time(time: Duration) -> String {
    print(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), TIME)
}

/// A share like `2.5%`.
pub(super) fn share(word: &str) -> Option<f64> {
    let figure = word.strip_suffix('%')?;
    // Shifted as text, so that the nearest number is found: dividing by 100 would round twice.
    number(figure).and_then(|_| format!("{figure}e-2").parse().ok())
}

pub(super) fn print_share(share: f64) -> String {
    let text = format!("{share:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let digits: String = digits.chars().filter(|c| *c != '.').collect();
    // The point stands after this many of the digits.
    let point = exponent + 3;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let length = i64::try_from(digits.len()).unwrap_or(0);
    if point <= 0 {
        format!("0.{}{digits}%", zeros(-point))
    } else if point >= length {
        format!("{digits}{}%", zeros(point - length))
    } else {
        let (before, after) = digits.split_at(usize::try_from(point).unwrap_or(0));
        format!("{before}.{after}%")
    }
}

/// A plain decimal number that is not negative.
pub(super) fn number(word: &str) -> Option<f64> {
    let plain = word.bytes().all(|b| b.is_ascii_digit() || b == b'.') && word.bytes().any(|b| b.is_ascii_digit());
    if plain { word.parse().ok() } else { None }
}
