//! What an org holds without anybody's writing: its organization, its integration user, and, for demos and tests,
//! campaigns and people put in directly.

use serde_json::{Value, json};

use super::Org;
use super::draft::Access;
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

/// A Lead or Contact to put in.
#[derive(Clone, Debug)]
pub struct Person<'a> {
    pub first_name: &'a str,
    pub last_name: &'a str,
    pub email: &'a str,
    /// A lead's company; contacts have none here.
    pub company: Option<&'a str>,
}

impl Org {
    pub(super) fn seed(&mut self, username: &str) {
        if self.rows("Organization").is_empty() {
            let organization = json!({
                "Name": "Rollbook Emulator", "OrganizationType": "Developer Edition", "InstanceName": "EMU1",
            });
            self.put("Organization", organization).expect("the seed keeps the schema's rules");
        }
        if self.rows("User").is_empty() {
            let user = json!({
                "Username": username, "Email": username, "FirstName": "Integration", "LastName": "User",
                "Alias": "rollbook", "IsActive": true,
            });
            self.put("User", user).expect("the seed keeps the schema's rules");
        }
    }

    /// Puts a record in as the org itself: permissions and read-only fields do not stand in the way.
    pub fn put(&mut self, object: &str, record: Value) -> Result<SalesforceId, Refusal> {
        let Value::Object(body) = record else {
            return Err(Refusal::bad("JSON_PARSER_ERROR", "a record is an object"));
        };
        let savepoint = self.savepoint();
        self.insert(object, &body, Access::System).inspect_err(|_| self.rollback_to(savepoint))
    }

    pub fn put_campaign(&mut self, name: &str) -> Result<SalesforceId, Refusal> {
        self.put("Campaign", json!({ "Name": name }))
    }

    /// A Lead if the person has a company, else a Contact.
    pub fn put_person(&mut self, person: &Person<'_>) -> Result<SalesforceId, Refusal> {
        let Person { first_name, last_name, email, company } = person;
        let mut record = json!({ "FirstName": first_name, "LastName": last_name, "Email": email });
        if let (Some(company), Some(record)) = (company, record.as_object_mut()) {
            record.insert("Company".into(), (*company).into());
        }
        self.put(if company.is_some() { "Lead" } else { "Contact" }, record)
    }
}
