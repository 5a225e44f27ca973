//! The status of a campaign member: the ladder `kaltura`.
//!
//! Created < Invited < Registered < autoConfirmed < Confirmed < Attended < Participated, with Blocked and Un-registered
//! beside it. A pure function of the facts and the catalogue: taking the status of the newest event instead would make
//! it depend on order, and would fall from Participated to Registered by a mail that was late.

use std::collections::BTreeMap;

use crate::fold::{Catalogue, FactKind, MemberPiece};
use crate::id::SalesforceId;
use crate::time::Millis;

/// A status as the campaign has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusDef {
    pub status: Status,
    /// Value of `CampaignMember.Status`.
    pub label: &'static str,
    /// Position in the campaign's list, from 1.
    pub sort_order: i32,
    pub has_responded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Created,
    Invited,
    Registered,
    Confirmed,
    AutoConfirmed,
    Attended,
    Participated,
    Blocked,
    Unregistered,
}

/// The nine, in the order in which Kaltura lists them.
pub const STATUSES: [StatusDef; 9] = [
    define(Status::Created, "Created", 1, false),
    define(Status::Invited, "Invited", 2, false),
    define(Status::Registered, "Registered", 3, true),
    define(Status::Confirmed, "Confirmed", 4, true),
    define(Status::AutoConfirmed, "autoConfirmed", 5, true),
    define(Status::Attended, "Attended", 6, true),
    define(Status::Participated, "Participated", 7, true),
    define(Status::Blocked, "Blocked", 8, false),
    define(Status::Unregistered, "Un-registered", 9, false),
];

/// A campaign's statuses by label, with their record ids, as far as Salesforce told them: one that was deleted and made
/// again has another.
pub type Labels = BTreeMap<String, Option<SalesforceId>>;

const fn define(status: Status, label: &'static str, sort_order: i32, has_responded: bool) -> StatusDef {
    StatusDef { status, label, sort_order, has_responded }
}

/// The ladder, highest rung first.
const RUNGS: [(FactKind, Status); 7] = [
    (FactKind::Participated, Status::Participated),
    (FactKind::Attended, Status::Attended),
    (FactKind::Confirmed, Status::Confirmed),
    (FactKind::AutoConfirmed, Status::AutoConfirmed),
    (FactKind::Registered, Status::Registered),
    (FactKind::Invited, Status::Invited),
    (FactKind::Created, Status::Created),
];

impl Status {
    pub fn label(self) -> &'static str {
        STATUSES.iter().find(|known| known.status == self).map_or("", |known| known.label)
    }
}

/// The status that the facts give. None: no fact says one, and none is written.
pub fn status(campaign: SalesforceId, piece: &MemberPiece, catalogue: &Catalogue) -> Option<Status> {
    if let Some(blocked) = piece.latest(FactKind::Blocked)
        && piece.latest(FactKind::Unblocked).is_none_or(|unblocked| blocked >= unblocked)
    {
        return Some(Status::Blocked);
    }
    let unregistered = piece.latest(FactKind::Unregistered);
    let rung = RUNGS.into_iter().find(|(kind, _)| match unregistered {
        None => latest(campaign, piece, catalogue, *kind).is_some(),
        // Being invited or known to the login does not undo an un-registration.
        Some(_) if matches!(kind, FactKind::Created | FactKind::Invited) => false,
        Some(unregistered) => latest(campaign, piece, catalogue, *kind).is_some_and(|at| at > unregistered),
    });
    rung.map(|(_, status)| status).or(unregistered.map(|_| Status::Unregistered))
}

/// Latest time of a kind of fact, the presences decided by the start of their entry.
fn latest(campaign: SalesforceId, piece: &MemberPiece, catalogue: &Catalogue, kind: FactKind) -> Option<Millis> {
    let decided = piece.presences().filter(|&(entry, at)| {
        let before = catalogue.start(campaign, entry).is_some_and(|start| at < start);
        kind == if before { FactKind::Attended } else { FactKind::Participated }
    });
    decided.map(|(_, at)| at).chain(piece.latest(kind)).max()
}
