//! The source tree that deploys to a real org: complete, consistent, and what the emulator loads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rollbook::emulator::schema::{FieldDef, FieldKind, ObjectDef, Schema, Source};

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/salesforce")
}

/// Every file of the tree that holds XML, as path below it and text.
fn files() -> Vec<(String, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![tree()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the tree is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "xml") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                let below = path.strip_prefix(tree()).expect("below the tree");
                files.push((below.to_string_lossy().into_owned(), text));
            }
        }
    }
    files
}

fn texts(file: &str, element: &str) -> Vec<String> {
    let (_, text) = files().into_iter().find(|(path, _)| path.ends_with(file)).expect("the file is there");
    let document = roxmltree::Document::parse(&text).expect("XML");
    let found = document.descendants().filter(|node| node.tag_name().name() == element);
    found.filter_map(|node| node.text().map(str::to_owned)).collect()
}

/// `Object.Field` of every field file.
fn fields_on_disk() -> BTreeSet<String> {
    let fields = files().into_iter().filter_map(|(path, _)| {
        let (object, field) = path.split_once("objects/")?.1.split_once("/fields/")?;
        Some(format!("{object}.{}", field.strip_suffix(".field-meta.xml")?))
    });
    fields.collect()
}

fn field<'a>(object: &'a ObjectDef, name: &str) -> &'a FieldDef {
    object.field(&format!("{name}__c")).unwrap_or_else(|| panic!("{}.{name}__c is missing", object.name))
}

fn check_common(object: &ObjectDef) {
    let key = field(object, "external_id");
    assert_eq!((key.kind, key.length), (FieldKind::Text, 255));
    assert!(key.unique && key.case_sensitive && key.external_id && key.createable);
    for (name, length) in [("campaign_member", 100), ("entry_id", 11), ("entry_name", 200)] {
        assert_eq!((field(object, name).kind, field(object, name).length), (FieldKind::Text, length), "{name}");
    }
    assert_eq!(field(object, "Lead").reference_to, ["Lead"]);
    assert_eq!(field(object, "email").kind, FieldKind::Email);
    assert!(object.createable && object.updateable && object.name_field().is_some());
}

#[test]
fn k2_the_members_key_is_required_unique_and_an_external_id() {
    let schema = Schema::load_dir(&tree()).expect("the tree loads");
    let key = field(schema.object("CampaignMember").expect("standard"), "external_id");
    assert!((50..=200).contains(&key.length) && key.kind == FieldKind::Text);
    assert!(key.required && key.unique && key.external_id && !key.case_sensitive);
}

#[test]
fn k3_the_engagement_has_every_field_with_its_type() {
    let schema = Schema::load_dir(&tree()).expect("the tree loads");
    let object = schema.object("UserSessionEngagement__c").expect("granted");
    check_common(object);
    for name in ["user", "channel_name"] {
        assert_eq!((field(object, name).kind, field(object, name).length), (FieldKind::Text, 200), "{name}");
    }
    let whole = "channel_id plays clap_clicked_count heart_clicked_count think_clicked_count wow_clicked_count \
                 smile_clicked_count answered_polls messages_sent_group qna_threads add_to_calendar \
                 total_reactions_activity raise_hand";
    let decimal = "vod_minutes_viewed live_minutes_viewed total_vod_completion_rate no_live_engagement_rate \
                   low_live_engagement_rate fair_live_engagement_rate good_live_engagement_rate \
                   high_live_engagement_rate combined_live_engaged_users_play_time_ratio mic_on cam_on";
    for (names, scale) in [(whole, 0), (decimal, 2)] {
        for name in names.split_whitespace() {
            assert_eq!(field(object, name).kind, FieldKind::Number { precision: 18, scale }, "{name}");
        }
    }
    assert_eq!(object.fields.iter().filter(|field| field.custom).count(), 8 + 13 + 11);
}

#[test]
fn k4_the_polls_have_thirty_data_points() {
    let schema = Schema::load_dir(&tree()).expect("the tree loads");
    let object = schema.object("Kaltura_User_Polls__c").expect("granted");
    check_common(object);
    for poll in 1..=10 {
        for part in ["type", "answer", "question"] {
            let field = field(object, &format!("poll_{poll}_{part}"));
            assert_eq!((field.kind, field.length), (FieldKind::Text, 255), "{}", field.name);
        }
    }
    assert_eq!(object.fields.iter().filter(|field| field.custom).count(), 6 + 30);
}

#[test]
fn the_manifest_lists_what_the_tree_holds() {
    let listed: BTreeSet<String> = texts("manifest/package.xml", "members").into_iter().collect();
    let mut expected = fields_on_disk();
    expected.extend(["UserSessionEngagement__c", "Kaltura_User_Polls__c", "Rollbook_Integration"].map(str::to_owned));
    assert_eq!(listed, expected);
}

#[test]
fn the_permission_set_grants_every_field_but_the_required_one() {
    let granted: BTreeSet<String> = texts("Rollbook_Integration.permissionset-meta.xml", "field").into_iter().collect();
    let mut expected = fields_on_disk();
    assert!(expected.remove("CampaignMember.external_id__c"));
    assert_eq!(granted, expected);
    let description = texts("Rollbook_Integration.permissionset-meta.xml", "description");
    assert!(description.iter().all(|text| text.chars().count() <= 255), "Salesforce refuses longer ones");
}

#[test]
fn every_field_file_is_named_after_its_field() {
    for (path, text) in files().into_iter().filter(|(path, _)| path.ends_with(".field-meta.xml")) {
        let document = roxmltree::Document::parse(&text).expect("XML");
        let name =
            document.descendants().find(|node| node.tag_name().name() == "fullName").and_then(|node| node.text());
        assert!(name.is_some_and(|name| path.ends_with(&format!("/{name}.field-meta.xml"))), "{path}");
    }
}

#[test]
fn the_embedded_schema_is_the_tree() {
    let (embedded, loaded) = (Schema::load_embedded(), Schema::load_dir(&tree()).expect("the tree loads"));
    let described = |schema: &Schema| {
        let objects = schema.objects();
        objects.map(|object| (object.name.clone(), format!("{:?}", object.fields))).collect::<Vec<_>>()
    };
    assert_eq!(described(&embedded), described(&loaded));
}

#[test]
fn without_its_permission_set_a_deployed_field_is_absent() {
    let object = "<CustomObject><label>X</label><pluralLabel>Xs</pluralLabel>\
                  <nameField><type>Text</type><label>Name</label></nameField></CustomObject>";
    let field = "<CustomField><fullName>a__c</fullName><label>a</label><type>Checkbox</type></CustomField>";
    let sources = [
        Source::new("objects/X__c/X__c.object-meta.xml", object),
        Source::new("objects/X__c/fields/a__c.field-meta.xml", field),
    ];
    let mut schema = Schema::standard();
    schema.apply(&sources).expect("deploys");
    assert!(schema.object("X__c").is_none());
    let grant = |editable: bool| {
        let text = format!(
            "<PermissionSet><objectPermissions><object>X__c</object><allowRead>true</allowRead></objectPermissions>\
             <fieldPermissions><field>X__c.a__c</field><readable>true</readable><editable>{editable}</editable>\
             </fieldPermissions></PermissionSet>"
        );
        Source::new("permissionsets/P.permissionset-meta.xml", &text)
    };
    schema.apply(&[grant(false)]).expect("deploys");
    let object = schema.object("x__c").expect("readable now");
    assert!(!object.createable && object.field("a__c").is_some_and(|field| !field.updateable));
    schema.apply(&[grant(true)]).expect("deploys");
    assert!(schema.object("x__c").and_then(|object| object.field("a__c")).is_some_and(|field| field.updateable));
}

#[test]
fn a_deployment_package_is_read_like_the_tree() {
    let lookup = "<fields><fullName>b__c</fullName><label>b</label><type>Lookup</type><referenceTo>B__c</referenceTo>\
                  <relationshipName>As</relationshipName></fields>";
    let object = |fields: &str| {
        format!(
            "<CustomObject>{fields}<label>X</label><pluralLabel>Xs</pluralLabel><nameField><type>AutoNumber</type>\
             <displayFormat>X-{{000}}</displayFormat><label>Name</label></nameField></CustomObject>"
        )
    };
    let grant = "<PermissionSet>\
        <fieldPermissions><field>A__c.b__c</field><readable>true</readable><editable>true</editable></fieldPermissions>\
        <objectPermissions><object>A__c</object><allowRead>true</allowRead></objectPermissions>\
        <objectPermissions><object>B__c</object><allowRead>true</allowRead></objectPermissions></PermissionSet>";
    let mut schema = Schema::standard();
    let package = [
        Source::new("objects/A__c.object", &object(lookup)),
        Source::new("objects/B__c.object", &object("")),
        Source::new("permissionsets/P.permissionset", grant),
    ];
    schema.apply(&package).expect("a field may look up an object that comes later");
    let a = schema.object("A__c").expect("granted");
    assert_eq!(a.relationship("b__r").map(|field| field.name.as_str()), Some("b__c"));
    assert_eq!(a.field("Name").and_then(|field| field.auto_number.as_deref()), Some("X-{000}"));
    assert_ne!(a.key_prefix, schema.object("B__c").expect("granted").key_prefix);
}

#[test]
fn what_salesforce_would_refuse_to_deploy_names_file_and_element() {
    let path = "objects/Lead/fields/a__c.field-meta.xml";
    let field = |body: &str| format!("<CustomField><fullName>a__c</fullName><label>a</label>{body}</CustomField>");
    for (body, element) in [
        ("<type>Text</type>", "length"),
        ("<type>Text</type><length>256</length>", "length"),
        ("<type>Text</type><length>9</length><unique>yes</unique>", "unique"),
        ("<type>Number</type><precision>19</precision><scale>2</scale>", "precision"),
        ("<type>Number</type><precision>18</precision><scale>2</scale><formula>1</formula>", "formula"),
        ("<type>Lookup</type><referenceTo>Nope__c</referenceTo>", "referenceTo"),
        ("<type>Summary</type>", "type"),
        ("<type>Picklist</type><valueSet><valueSetName>G</valueSetName></valueSet>", "valueSetName"),
    ] {
        let error = Schema::standard().apply(&[Source::new(path, &field(body))]).expect_err(body).to_string();
        assert!(error.contains(path) && error.contains(&format!("`{element}`")) && error.contains("hint: "), "{error}");
    }
    let required = field("<type>Text</type><length>9</length><required>true</required>");
    let grant = "<PermissionSet><fieldPermissions><field>Lead.a__c</field><readable>true</readable></fieldPermissions>\
                 </PermissionSet>";
    let sources = [Source::new(path, &required), Source::new("permissionsets/P.permissionset-meta.xml", grant)];
    let error = Schema::standard().apply(&sources).expect_err("required fields take no permissions").to_string();
    assert!(error.contains("P.permissionset-meta.xml") && error.contains("`Lead.a__c`"), "{error}");
}
