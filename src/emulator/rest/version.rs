//! The versions of the API that are served.

use serde_json::{Value, json};

use crate::emulator::wire::Refusal;

/// 31.0 to 67.0. Older ones are retired.
const VERSIONS: std::ops::RangeInclusive<u32> = 31..=67;

/// The number of a version that is served.
pub fn number(text: &str) -> Result<u32, Refusal> {
    let number = text.strip_prefix('v').and_then(|text| text.strip_suffix(".0"));
    let number: u32 = number.and_then(|number| number.parse().ok()).ok_or_else(Refusal::not_found)?;
    match number {
        number if number < *VERSIONS.start() => {
            Err(Refusal::new(410, "GONE", "The requested resource is no longer available"))
        }
        number if VERSIONS.contains(&number) => Ok(number),
        _ => Err(Refusal::not_found()),
    }
}

/// What `/services/data` lists.
pub fn list() -> Value {
    /// Labels follow the seasons: v31 is Summer '14, three releases a year.
    const SEASONS: [&str; 3] = ["Summer", "Winter", "Spring"];
    let version = |number: u32| {
        let since = number - VERSIONS.start();
        let season = usize::try_from(since % 3).ok().and_then(|at| SEASONS.get(at)).unwrap_or(&"");
        let year = 14 + since.div_ceil(3);
        json!({
            "label": format!("{season} '{year}"),
            "url": format!("/services/data/v{number}.0"),
            "version": format!("{number}.0"),
        })
    };
    VERSIONS.map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_carry_the_label_of_their_season() {
        let versions = list();
        let label = |version: &str| {
            let all = versions.as_array().expect("a list");
            all.iter().find(|entry| entry["version"] == version).map(|entry| entry["label"].clone())
        };
        assert_eq!(label("31.0"), Some(json!("Summer '14")));
        assert_eq!(label("62.0"), Some(json!("Winter '25")));
        assert_eq!(label("67.0"), Some(json!("Summer '26")));
        assert_eq!(label("30.0"), None);
    }
}
