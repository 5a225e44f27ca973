//! Statements of the session catalogue that were taken and are not committed yet.
//!
//! The catalogue follows a statement at once, so that it is known to what is derived next. If its commit is given up,
//! the catalogue goes back: the statement is read again by whoever owns its partition then, and a catalogue that had
//! kept it would find nothing new in it and never write it for the others.
//!
//! What was written comes back through the topic, later. It is known already, and not listened to: after a statement, a
//! tombstone and an older statement the first one's echo would take the place of the last one for a while, and hide
//! what is said in between.

use std::collections::{BTreeMap, VecDeque};

use tracing::warn;

use crate::event::{Session, SessionKey};
use crate::fold::Catalogue;
use crate::kafka::member::Member;
use crate::kafka::transaction::Outgoing;
use crate::route;
use crate::stage::catalogue::{self, CatalogueChange};
use crate::topic_table::Topic;

use super::Worker;

impl<M: Member> Worker<M> {
    /// Follows what the topic says.
    pub(super) fn catalogue_changes(&mut self) {
        let mut heard = false;
        while let Some(statement) = self.parts.catalogue_ear.heard() {
            heard = true;
            let catalogue::Statement::Change(change) = statement else {
                self.catalogue_made_anew();
                continue;
            };
            let (key, session) = (change.key.clone(), change.session.clone());
            if !self.statements.echo(&key, session.as_ref()) {
                self.catalogue_change(*change);
            }
            self.outdated.heard(&self.parts.catalogue, &key, session.as_ref());
        }
        // What of it the new topic says by now is not said again.
        let told = self.parts.catalogue_ear.caught_up();
        if !heard && told && !self.tenure.restoring() && !self.tenure.lost() {
            self.say_again();
        }
    }

    /// The topic holds nothing of what is known here, and whoever starts later would know none of it: it is written again.
    fn catalogue_made_anew(&mut self) {
        let statements = self.parts.catalogue.len();
        warn!(thread = %self.parts.name, statements, "the session catalogue was made anew; what is known is written again");
        self.outdated.lost(&self.parts.catalogue);
        self.parts.catalogue_ear.catch_up();
    }

    /// True where the statement is news; the rows that hang on it are derived again.
    pub(super) fn catalogue_change(&mut self, change: CatalogueChange) -> bool {
        let CatalogueChange { key, at, .. } = change.clone();
        let known = |it: &Self| it.parts.catalogue.get(key.campaign, key.entry_id.as_deref()).cloned();
        let before = known(self);
        let news = catalogue::apply(&mut self.parts.catalogue, change);
        if news {
            self.report_sessions();
        }
        // A statement that says the same again, only later, is kept, and no row hangs on it.
        let same = matches!((before, known(self)), (Some(before), Some(after)) if before.says_the_same(&after));
        // States that are being read back are incomplete, and are derived again as soon as they are not. Those of
        // partitions that have left are somebody else's.
        if news && !same {
            for partition in self.tenure.folded() {
                self.store.partition(partition).derive_again(&key, at);
            }
        }
        news
    }

    /// Writes the newest statement again where the last record of its key is an older one: the topic is compacted, and
    /// an instance that starts later would know no other. One instance does it for each key, and once for each such record.
    fn say_again(&mut self) {
        for key in self.outdated.unsaid() {
            let text = key.to_text();
            if !self.owns(route::partition(text.as_bytes(), self.parts.partitions)) {
                continue;
            }
            let known = self.parts.catalogue.get(key.campaign, key.entry_id.as_deref()).cloned();
            self.outdated.said(&key);
            let Some(session) = known else { continue };
            let (key_bytes, value) = (Some(text.as_bytes()), session.encode());
            let record = Outgoing { key: key_bytes, value: Some(&value), ..Outgoing::default() };
            self.records.push(Topic::Catalogue, record);
            self.statements.add(key, Some(session.clone()), Some(session));
        }
    }
}

#[derive(Default)]
pub struct Statements {
    /// Of the next commit.
    open: Vec<Statement>,
    /// Of the commit in flight.
    committing: Vec<Statement>,
    /// What will come back, by key and in order. None: a tombstone.
    echoes: BTreeMap<SessionKey, VecDeque<Option<Session>>>,
}

struct Statement {
    key: SessionKey,
    /// None: a tombstone.
    stated: Option<Session>,
    before: Option<Session>,
    /// It stands in the topic, whoever wrote it.
    heard: bool,
}

impl Statements {
    /// The catalogue has followed a statement; `before` is what it said.
    pub fn add(&mut self, key: SessionKey, stated: Option<Session>, before: Option<Session>) {
        self.echoes.entry(key.clone()).or_default().push_back(stated.clone());
        self.open.push(Statement { key, stated, before, heard: false });
    }

    /// Whether what was heard is what was said here, come back. Where somebody else speaks about the same, the topic's
    /// order decides for everybody, from there on.
    pub fn echo(&mut self, key: &SessionKey, heard: Option<&Session>) -> bool {
        // A successor may have read the same record and written it, while the commit here is still to be refused. But
        // what was written here earlier comes back first, and says nothing of the same statement made again.
        let pending = |it: &Statement| !it.heard && it.key == *key;
        let outstanding = self.committing.iter().chain(&self.open).filter(|it| pending(it)).count();
        let of_done = self.echoes.get(key).is_some_and(|awaited| {
            awaited.len() > outstanding && awaited.front().is_some_and(|first| first.as_ref() == heard)
        });
        let mut statements = self.committing.iter_mut().chain(&mut self.open);
        if !of_done && let Some(same) = statements.find(|it| pending(it) && it.stated.as_ref() == heard) {
            same.heard = true;
        }
        let Some(mut awaited) = self.echoes.remove(key) else { return false };
        let echo = awaited.pop_front().is_some_and(|first| first.as_ref() == heard);
        if echo && !awaited.is_empty() {
            self.echoes.insert(key.clone(), awaited);
        }
        echo
    }

    /// They go into the commit that is handed over now.
    pub fn commit(&mut self) {
        self.committing = std::mem::take(&mut self.open);
    }

    /// The commit in flight is done.
    pub fn done(&mut self) {
        self.committing.clear();
    }

    /// Nothing of them was written: the catalogue is as if they had not been read. Echoes of what was written earlier are
    /// listened to now, which does no harm: nothing is compared with the catalogue before it has caught up.
    pub fn take_back(&mut self, catalogue: &mut Catalogue) {
        self.echoes.clear();
        let committing = std::mem::take(&mut self.committing);
        for Statement { key, stated, before, heard } in committing.into_iter().chain(self.open.drain(..)).rev() {
            // It was heard, or something else was since then, from the topic: that stands.
            if heard || catalogue.get(key.campaign, key.entry_id.as_deref()) != stated.as_ref() {
                continue;
            }
            catalogue.remove(&key);
            if let Some(before) = before {
                catalogue.apply(before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SalesforceId;

    fn session(updated_at: i64) -> Session {
        let campaign = SalesforceId::parse("70103000000cnFX").unwrap();
        Session::blank(SessionKey { campaign, entry_id: None }, updated_at, "s", "e")
    }

    fn state(statements: &mut Statements, catalogue: &mut Catalogue, session: Session) -> bool {
        let before = catalogue.get(session.key.campaign, None).cloned();
        let news = catalogue.apply(session.clone());
        if news {
            statements.add(session.key.clone(), Some(session), before);
        }
        news
    }

    #[test]
    fn a_statement_whose_commit_was_given_up_is_news_when_it_is_read_again() {
        let (mut catalogue, mut statements) = (Catalogue::default(), Statements::default());
        assert!(state(&mut statements, &mut catalogue, session(1)));
        statements.commit();
        statements.done();
        let written = catalogue.clone();
        assert!(state(&mut statements, &mut catalogue, session(2)));
        statements.commit();
        assert!(state(&mut statements, &mut catalogue, session(3)));
        statements.take_back(&mut catalogue);
        assert_eq!(catalogue, written);
        assert!(state(&mut statements, &mut catalogue, session(2)));
    }

    #[test]
    fn what_comes_back_does_not_take_the_place_of_what_was_said_since_then() {
        let (mut catalogue, mut statements) = (Catalogue::default(), Statements::default());
        let key = session(5).key;
        assert!(state(&mut statements, &mut catalogue, session(5)));
        catalogue.remove(&key);
        statements.add(key.clone(), None, Some(session(5)));
        assert!(state(&mut statements, &mut catalogue, session(3)));
        let mut hear = |heard: Option<Session>| statements.echo(&key, heard.as_ref());
        assert!(hear(Some(session(5))) && hear(None) && hear(Some(session(3))));
        assert!(!hear(Some(session(3))), "said once, heard twice");
        assert!(state(&mut statements, &mut catalogue, session(4)), "newer than what stands");
    }

    #[test]
    fn where_somebody_else_speaks_everything_is_listened_to() {
        let (mut catalogue, mut statements) = (Catalogue::default(), Statements::default());
        let key = session(5).key;
        state(&mut statements, &mut catalogue, session(5));
        assert!(!statements.echo(&key, None));
        assert!(!statements.echo(&key, Some(&session(5))));
    }

    #[test]
    fn what_a_successor_has_written_stands() {
        let (mut catalogue, mut statements) = (Catalogue::default(), Statements::default());
        let key = session(1).key;
        state(&mut statements, &mut catalogue, session(1));
        statements.commit();
        state(&mut statements, &mut catalogue, session(2));
        assert!(statements.echo(&key, Some(&session(1))));
        statements.take_back(&mut catalogue);
        assert_eq!(catalogue.get(key.campaign, None), Some(&session(1)));
    }

    #[test]
    fn what_comes_back_late_says_nothing_of_the_same_statement_made_again() {
        let (mut catalogue, mut statements) = (Catalogue::default(), Statements::default());
        let key = session(5).key;
        state(&mut statements, &mut catalogue, session(5));
        statements.commit();
        statements.done();
        catalogue.remove(&key);
        statements.add(key.clone(), None, Some(session(5)));
        statements.commit();
        statements.done();
        assert!(state(&mut statements, &mut catalogue, session(5)));
        assert!(statements.echo(&key, Some(&session(5))) && statements.echo(&key, None));
        statements.take_back(&mut catalogue);
        assert_eq!(catalogue.get(key.campaign, None), None);
        assert!(state(&mut statements, &mut catalogue, session(5)), "it is still to be written");
    }

    #[test]
    fn what_was_heard_since_then_stands() {
        let (mut catalogue, mut statements) = (Catalogue::default(), Statements::default());
        state(&mut statements, &mut catalogue, session(1));
        catalogue.apply(session(2));
        statements.take_back(&mut catalogue);
        assert_eq!(catalogue.get(session(2).key.campaign, None), Some(&session(2)));
    }
}
