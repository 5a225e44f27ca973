//! The standard objects that Rollbook and common Salesforce clients touch, with the field properties of the object
//! reference.
//!
//! A field is listed only if the emulator keeps it true: a column that is always null would answer queries wrongly,
//! a missing one is refused with `INVALID_FIELD`.

use super::field::{Derived, FieldDef, FieldKind};
use super::object::ObjectDef;

pub(super) fn objects() -> Vec<ObjectDef> {
    let mut objects =
        vec![organization(), user(), account(), contact(), lead(), campaign(), campaign_member_status(), member()];
    for object in &mut objects {
        system_fields(object);
    }
    objects
}

/// What every record has. `Id` comes first, the stamps last, as in a describe.
pub(super) fn system_fields(object: &mut ObjectDef) {
    let mut id = FieldDef::new("Id", FieldKind::Id, 18).read_only().id_lookup();
    "Record ID".clone_into(&mut id.label);
    let mut stamps = vec![
        FieldDef::new("CreatedDate", FieldKind::DateTime, 0),
        FieldDef::reference("CreatedById", &["User"]),
        FieldDef::new("LastModifiedDate", FieldKind::DateTime, 0),
        FieldDef::reference("LastModifiedById", &["User"]),
        FieldDef::new("SystemModstamp", FieldKind::DateTime, 0),
    ];
    // Organizations and users are never deleted.
    if !matches!(object.name.as_str(), "Organization" | "User") {
        stamps.insert(0, FieldDef::new("IsDeleted", FieldKind::Boolean, 0));
    }
    object.declared.insert(0, id);
    object.declared.extend(stamps.into_iter().map(FieldDef::read_only));
    for field in &mut object.declared {
        if matches!(field.name.as_str(), "Id" | "CreatedDate" | "CreatedById" | "SystemModstamp") {
            field.nillable = false;
        }
    }
}

fn object(names: [&str; 3], key_prefix: &str, fields: Vec<FieldDef>) -> ObjectDef {
    let [name, label, plural_label] = names;
    let mut object = ObjectDef::new(name, label, plural_label, key_prefix);
    object.declared = fields;
    object
}

fn text(name: &str, length: usize) -> FieldDef {
    FieldDef::text(name, length)
}

fn boolean(name: &str) -> FieldDef {
    FieldDef::new(name, FieldKind::Boolean, 0)
}

fn date(name: &str) -> FieldDef {
    FieldDef::new(name, FieldKind::Date, 0)
}

fn email(name: &str, length: usize) -> FieldDef {
    FieldDef::new(name, FieldKind::Email, length)
}

fn phone(name: &str) -> FieldDef {
    FieldDef::new(name, FieldKind::Phone, 40)
}

fn description() -> FieldDef {
    FieldDef::new("Description", FieldKind::TextArea, 32_000)
}

/// The org puts its integration user in, so a create may leave it out.
pub(super) fn owner() -> FieldDef {
    let mut owner = FieldDef::reference("OwnerId", &["User"]);
    owner.nillable = false;
    owner
}

/// Given by the org, not by its users.
fn fixed(mut object: ObjectDef) -> ObjectDef {
    object.createable = false;
    object.updateable = false;
    object.deletable = false;
    object.declared = object.declared.into_iter().map(FieldDef::read_only).collect();
    object
}

fn organization() -> ObjectDef {
    fixed(object(
        ["Organization", "Organization", "Organizations"],
        "00D",
        vec![
            text("Name", 80).required().naming(),
            FieldDef::picklist("OrganizationType", 40, &["Developer Edition", "Enterprise Edition"]),
            text("InstanceName", 5),
            boolean("IsSandbox"),
            FieldDef::new("TrialExpirationDate", FieldKind::DateTime, 0),
            text("NamespacePrefix", 15),
        ],
    ))
}

fn user() -> ObjectDef {
    fixed(object(
        ["User", "User", "Users"],
        "005",
        vec![
            text("Username", 80).required().id_lookup(),
            text("LastName", 80).required(),
            text("FirstName", 40),
            text("Name", 121).derived(Derived::FullName).naming(),
            email("Email", 128).required().id_lookup(),
            text("Alias", 8).required(),
            boolean("IsActive"),
        ],
    ))
}

fn account() -> ObjectDef {
    object(
        ["Account", "Account", "Accounts"],
        "001",
        vec![
            text("Name", 255).required().naming(),
            FieldDef::picklist("Type", 255, &["Prospect", "Customer", "Partner", "Other"]),
            FieldDef::picklist("Industry", 255, &[]),
            phone("Phone"),
            FieldDef::new("Website", FieldKind::Url, 255),
            description(),
            owner(),
        ],
    )
}

/// What Lead and Contact have in common.
fn person() -> Vec<FieldDef> {
    vec![
        text("LastName", 80).required(),
        text("FirstName", 40),
        text("Name", 121).derived(Derived::FullName).naming(),
        text("Title", 128),
        email("Email", 80).id_lookup(),
        phone("Phone"),
        phone("MobilePhone"),
        FieldDef::picklist("LeadSource", 255, &["Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"]),
        boolean("HasOptedOutOfEmail"),
        description(),
        owner(),
        FieldDef::reference("MasterRecordId", &["Contact"]).read_only(),
    ]
}

fn contact() -> ObjectDef {
    let mut fields = person();
    fields.extend([
        FieldDef::reference("AccountId", &["Account"]),
        text("Department", 80),
        FieldDef::new("MailingStreet", FieldKind::TextArea, 255),
        text("MailingCity", 40),
        text("MailingState", 80),
        text("MailingPostalCode", 20),
        text("MailingCountry", 80),
    ]);
    object(["Contact", "Contact", "Contacts"], "003", fields)
}

fn lead() -> ObjectDef {
    let statuses = ["Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted"];
    let mut fields = person();
    for field in &mut fields {
        if field.name == "MasterRecordId" {
            field.reference_to = vec!["Lead".to_owned()];
        }
    }
    fields.extend([
        text("Company", 255).required(),
        FieldDef::picklist("Status", 255, &statuses).required().default_to("Open - Not Contacted"),
        FieldDef::picklist("Industry", 255, &[]),
        FieldDef::new("Website", FieldKind::Url, 255),
        FieldDef::new("Street", FieldKind::TextArea, 255),
        text("City", 40),
        text("State", 80),
        text("PostalCode", 20),
        text("Country", 80),
        boolean("IsConverted").read_only(),
        date("ConvertedDate").read_only(),
        FieldDef::reference("ConvertedContactId", &["Contact"]).read_only(),
        FieldDef::reference("ConvertedAccountId", &["Account"]).read_only(),
    ]);
    object(["Lead", "Lead", "Leads"], "00Q", fields)
}

fn campaign() -> ObjectDef {
    object(
        ["Campaign", "Campaign", "Campaigns"],
        "701",
        vec![
            text("Name", 80).required().naming().id_lookup(),
            FieldDef::reference("ParentId", &["Campaign"]),
            FieldDef::picklist("Type", 40, &["Conference", "Webinar", "Trade Show", "Email", "Other"]),
            FieldDef::picklist("Status", 40, &["Planned", "In Progress", "Completed", "Aborted"]).default_to("Planned"),
            date("StartDate"),
            date("EndDate"),
            boolean("IsActive"),
            description(),
            owner(),
        ],
    )
}

fn campaign_member_status() -> ObjectDef {
    object(
        ["CampaignMemberStatus", "Campaign Member Status", "Campaign Member Statuses"],
        "01Y",
        vec![
            FieldDef::reference("CampaignId", &["Campaign"]).required().create_only(),
            text("Label", 765).required().create_only().naming(),
            FieldDef::new("SortOrder", FieldKind::Int, 0),
            boolean("IsDefault"),
            boolean("HasResponded"),
        ],
    )
}

fn member() -> ObjectDef {
    object(
        ["CampaignMember", "Campaign Member", "Campaign Members"],
        "00v",
        vec![
            FieldDef::reference("CampaignId", &["Campaign"]).required().create_only(),
            FieldDef::reference("LeadId", &["Lead"]).create_only(),
            FieldDef::reference("ContactId", &["Contact"]).create_only(),
            FieldDef::picklist("Status", 40, &["Sent", "Responded"]),
            boolean("HasResponded").read_only(),
            date("FirstRespondedDate").read_only(),
            of_person("Name", 255, &["Contact.Name", "Lead.Name"]).naming(),
            of_person("FirstName", 40, &["Contact.FirstName", "Lead.FirstName"]),
            of_person("LastName", 80, &["Contact.LastName", "Lead.LastName"]),
            of_person("Title", 128, &["Contact.Title", "Lead.Title"]),
            of_person("Street", 255, &["Contact.MailingStreet", "Lead.Street"]),
            of_person("City", 40, &["Contact.MailingCity", "Lead.City"]),
            of_person("State", 80, &["Contact.MailingState", "Lead.State"]),
            of_person("PostalCode", 20, &["Contact.MailingPostalCode", "Lead.PostalCode"]),
            of_person("Country", 80, &["Contact.MailingCountry", "Lead.Country"]),
            email("Email", 80).derived(Derived::FirstOf(&["Contact.Email", "Lead.Email"])),
            phone("Phone").derived(Derived::FirstOf(&["Contact.Phone", "Lead.Phone"])),
            phone("MobilePhone").derived(Derived::FirstOf(&["Contact.MobilePhone", "Lead.MobilePhone"])),
            FieldDef::picklist("LeadSource", 255, &[])
                .derived(Derived::FirstOf(&["Contact.LeadSource", "Lead.LeadSource"])),
            of_person("CompanyOrAccount", 255, &["Contact.Account.Name", "Lead.Company"]),
            FieldDef::picklist("Type", 40, &["Lead", "Contact"]).derived(Derived::PersonType),
            lead_or_contact(),
            FieldDef::reference("LeadOrContactOwnerId", &["User"])
                .derived(Derived::FirstOf(&["Contact.OwnerId", "Lead.OwnerId"])),
        ],
    )
}

/// Polymorphic, without a name for paths: those go through `Lead` or `Contact`.
fn lead_or_contact() -> FieldDef {
    let mut field = FieldDef::reference("LeadOrContactId", &["Contact", "Lead"]);
    field.relationship_name = None;
    field.derived(Derived::FirstOf(&["Contact.Id", "Lead.Id"]))
}

/// A text that the member shows of its lead or contact.
fn of_person(name: &str, length: usize, paths: &'static [&'static str]) -> FieldDef {
    text(name, length).derived(Derived::FirstOf(paths))
}
