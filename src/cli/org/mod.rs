//! Subcommands about the org that is written to: which one it is, what it lacks, and making that.

pub mod doctor;
pub mod setup;
pub mod target;

use super::Exit;
use crate::disposition::{Disposition, Wait};
use crate::id::SalesforceId;
use crate::salesforce;

/// A campaign's id starts with 701.
fn parse_campaign(text: &str) -> Result<SalesforceId, String> {
    SalesforceId::parse(text)
        .filter(|id| id.has_prefix("701"))
        .ok_or_else(|| "not a campaign id: 15 or 18 letters and digits that start with 701".to_owned())
}

/// An org that cannot be reached now is no verdict about it.
fn give_up(error: salesforce::Error) -> anyhow::Result<Exit> {
    // A refused login is for a person who is there to mend it now.
    if matches!(error.disposition(), Disposition::Wait(wait) if wait != Wait::Login) {
        eprintln!("error: {:#}", anyhow::Error::from(error));
        return Ok(Exit::Temporary);
    }
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_id_of_15_characters_is_completed_and_a_lead_is_no_campaign() {
        assert_eq!(parse_campaign("70103000000cnFX").unwrap().as_str(), "70103000000cnFXAAY");
        assert!(parse_campaign("00Q0300000Aczgf").is_err());
    }
}
