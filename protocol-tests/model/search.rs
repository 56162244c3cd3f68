//! What every search through seeds needs: how far it goes, and the shortest way to what it found.

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")),
        Err(_) => default,
    }
}

/// Leaves out operations as long as the rest is `found` to show the same.
pub fn shrink(mut operations: Vec<u64>, found: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let mut chunk = operations.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < operations.len() {
            let mut fewer = operations.clone();
            fewer.drain(at..(at + chunk).min(operations.len()));
            match found(&fewer) {
                true => operations = fewer,
                false => at += chunk,
            }
        }
        chunk /= 2;
    }
    operations
}

/// What a find says up to the first of `ends`, where its particulars begin, without numbers.
pub fn kind(found: &str, ends: &[char]) -> String {
    let words = found.split(ends).next().unwrap_or_default();
    words.chars().filter(|c| !c.is_ascii_digit()).collect()
}
