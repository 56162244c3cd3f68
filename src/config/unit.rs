//! Durations and sizes as people write them: `"10s"`, `"64KiB"`, or a plain number of milliseconds or octets.

/// A word for a multiple, and how many milliseconds or octets it is.
type Word = (&'static str, u64);

/// Units of durations, in milliseconds.
const DURATIONS: &[Word] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Units of sizes, in octets. The decimal ones (kB, MB) are left out: half of those who write them mean the others.
const SIZES: &[Word] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Milliseconds of `"10s"`, `"500ms"`, `"5m"`, `"2h"`, `"1d"` or `"10000"`.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    parse(text, DURATIONS, "a duration")
}

/// Octets of `"64KiB"`, `"4MiB"`, `"1GiB"`, `"512B"` or `"65536"`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    parse(text, SIZES, "a size")
}

/// The shortest way to write a duration.
pub(super) fn show_duration(ms: u64) -> String {
    match ms {
        0 => "0s".to_string(),
        _ => show(ms, DURATIONS),
    }
}

/// The shortest way to write a size.
pub(super) fn show_size(octets: u64) -> String {
    match octets {
        0 => "0B".to_string(),
        _ => show(octets, SIZES),
    }
}

fn parse(text: &str, words: &[Word], what: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let Ok(number) = number.parse::<u64>() else {
        return Err(match digits {
            0 => format!("not {what}"),
            _ => "too large".to_string(),
        });
    };
    if unit.is_empty() {
        return Ok(number);
    }
    match words.iter().find(|(word, _)| *word == unit) {
        Some((_, times)) => number.checked_mul(*times).ok_or_else(|| "too large".to_string()),
        None if unit.starts_with('.') => Err("fractions are not taken: use the next smaller unit".to_string()),
        None => Err(format!("`{unit}` is not a unit ({} are)", listed(words))),
    }
}

fn show(number: u64, words: &[Word]) -> String {
    let largest = words.iter().rev().find(|(_, times)| number.is_multiple_of(*times));
    match largest {
        Some((word, times)) => format!("{}{word}", number / times),
        None => number.to_string(),
    }
}

fn listed(words: &[Word]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("10s"), Ok(10_000));
        assert_eq!(duration("500ms"), Ok(500));
        assert_eq!(duration("5 m"), Ok(300_000));
        assert_eq!(duration("2h"), Ok(7_200_000));
        assert_eq!(duration("1d"), Ok(86_400_000));
        assert_eq!(duration("1234"), Ok(1_234));
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("4 MiB"), Ok(4 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("12B"), Ok(12));
        assert_eq!(size("0"), Ok(0));
    }

    #[test]
    fn what_is_neither_says_why() {
        assert_eq!(
            size("4MB").unwrap_err(),
            "`MB` is not a unit (B, KiB, MiB, GiB, TiB are)"
        );
        assert_eq!(
            duration("10sec").unwrap_err(),
            "`sec` is not a unit (ms, s, m, h, d are)"
        );
        assert_eq!(duration("soon").unwrap_err(), "not a duration");
        assert_eq!(duration("-1s").unwrap_err(), "not a duration");
        assert_eq!(size("").unwrap_err(), "not a size");
        assert_eq!(
            duration("1.5s").unwrap_err(),
            "fractions are not taken: use the next smaller unit"
        );
        assert_eq!(size("99999999999999999999").unwrap_err(), "too large");
        assert_eq!(size("99999999999TiB").unwrap_err(), "too large");
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000] {
            assert_eq!(duration(&show_duration(ms)), Ok(ms));
        }
        for octets in [0, 1, 1_000, 1_024, 1_536, 4 << 20, 1 << 30, 3 << 40] {
            assert_eq!(size(&show_size(octets)), Ok(octets));
        }
        assert_eq!(show_duration(60_000), "1m");
        assert_eq!(show_size(4 << 20), "4MiB");
    }
}
