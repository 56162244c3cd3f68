//! Figures as people read them.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Failure;

/// Times above count as this, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// An empty histogram of microseconds, in three digits.
pub(super) fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| Failure::Broken(error.to_string()))
}

/// How a number of times is spread, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Quantiles {
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Quantiles {
    /// Of all that was recorded; `None` if nothing was.
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Quantiles> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Quantiles {
            count: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
        })
    }

    /// On one line.
    pub(super) fn line(&self) -> String {
        let [p50, p90, p99, p999, max] = [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us].map(micros);
        format!("p50 {p50}   p90 {p90}   p99 {p99}   p99.9 {p999}   max {max}")
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the unit that keeps it short.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..=999 => format!("{micros} us"),
        1_000..=9_999 => format!("{:.2} ms", micros as f64 / 1e3),
        10_000..=999_999 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// Memory in the unit that keeps it short.
pub(super) fn kib(kib: u64) -> String {
    match kib {
        0..=9_999 => format!("{} KiB", grouped(kib)),
        _ => format!("{:.1} MiB", kib as f64 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_times_have_units() {
        let groups = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(groups, ["0", "999", "1,000", "1,234,567"]);
        let times = [0, 999, 1_500, 15_000, 2_500_000].map(micros);
        assert_eq!(times, ["0 us", "999 us", "1.50 ms", "15.0 ms", "2.50 s"]);
        assert_eq!(kib(512), "512 KiB");
        assert_eq!(kib(20_480), "20.0 MiB");
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        let mut histogram = histogram().unwrap();
        assert_eq!(Quantiles::of(&histogram), None);
        histogram.saturating_record(7);
        histogram.saturating_record(60_000_000);
        let quantiles = Quantiles::of(&histogram).unwrap();
        assert_eq!((quantiles.p50_us, quantiles.count), (7, 2));
        assert_eq!(quantiles.max_us / 100_000, 600, "a minute, to three digits");
    }
}
