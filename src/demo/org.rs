//! The emulated org: who is in it before the conference, and what it holds afterwards.

use super::Error;
use super::conference::{CAMPAIGNS, People, people_wanted};
use super::reference::Rows;
use crate::emulator::{Org, Person, Refusal};
use crate::id::SalesforceId;
use crate::upsert::Object;

/// Makes the campaigns, leads and contacts of a conference of so many members.
pub fn invite(org: &mut Org, members: usize) -> Result<People, Error> {
    let refused = |refusal: Refusal| Error::Org(refusal.code.to_string());
    let (leads, contacts) = people_wanted(members);
    let campaigns = (1..=CAMPAIGNS).map(|day| org.put_campaign(&format!("Rollbook conference, day {day}")));
    let campaigns = campaigns.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let mut people = |count: usize, what: &str, company: Option<&str>| -> Result<Vec<SalesforceId>, Refusal> {
        let person = |number: usize| {
            let (last_name, email) = (format!("{what} {number}"), format!("{what}-{number}@people.example"));
            org.put_person(&Person { first_name: "Robin", last_name: &last_name, email: &email, company })
        };
        (1..=count).map(person).collect()
    };
    let leads = people(leads, "Lead", Some("Example Ltd")).map_err(refused)?;
    let contacts = people(contacts, "Contact", None).map_err(refused)?;
    Ok(People { campaigns, leads, contacts })
}

/// Every row of the objects that are written, with all of its fields.
pub fn rows(org: &Org) -> Rows {
    let mut rows = Rows::new();
    for object in Object::ALL {
        let name = object.api_name();
        for record in org.dump(name).unwrap_or_default() {
            let external_id = record.get("external_id__c").and_then(|id| id.as_str()).unwrap_or_default().to_owned();
            rows.insert((name.to_owned(), external_id), record.into_iter().collect());
        }
    }
    rows
}
