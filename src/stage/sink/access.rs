//! Whether calls may be made at all: there is a token, and it leads to the org that was written to before.
//!
//! A refused login, and one that leads to another org, hold the sink alone and visibly. To end the process would mend
//! nothing and stop the fold with it; to go on would use what is remembered of one org (members, statuses, people) for
//! another, and take rows for written that the other org never had. Which org it is stands on `rollbook.notes`: noted at
//! the first login, changed by `rollbook org accept` alone.
//!
//! The first login is made before any row needs one. Else credentials that are refused would be seen with the first row,
//! which may be days after the start.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::disposition::{Disposition, Wait};
use crate::id::SalesforceId;
use crate::kafka::notes::Notes;
use crate::note::{Note, ORG, ORG_ID};
use crate::repeated::Repeated;
use crate::salesforce::{Client, Error};
use crate::time::Millis;

/// A note that was put and is not heard is put again after this.
const NOTE_AGAIN: Duration = Duration::from_secs(10);

/// A first login that takes longer is waited for, whether it has failed or not.
const FIRST_LOGIN_WITHIN: Duration = Duration::from_secs(5);

/// Where a login led.
pub type Login = Result<Option<SalesforceId>, Error>;

/// Why no call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// The first login is under way, which is no outage yet.
    FirstToken,
    /// There is none yet, and nobody refused one.
    Token,
    Refused,
    /// What is noted has not been read.
    Notes,
    /// The org is noted as soon as the broker has it.
    Noting,
    OtherOrg,
    /// Calls to the org of before are under way.
    Settling,
}

impl Shut {
    pub fn waits_for(self) -> &'static str {
        match self {
            Self::FirstToken | Self::Token => "a token from Salesforce",
            Self::Refused => "a login that Salesforce does not refuse",
            Self::Notes => "the notes to be read",
            Self::Noting => "the org to be noted",
            Self::OtherOrg => "`rollbook org accept`: the login leads to another org",
            Self::Settling => "calls to the org of before",
        }
    }

    /// None: Salesforce has nothing to do with it.
    pub fn wait(self) -> Option<Wait> {
        match self {
            Self::Token => Some(Wait::Outage),
            Self::Refused => Some(Wait::Login),
            Self::FirstToken | Self::Notes | Self::Noting => None,
            Self::OtherOrg | Self::Settling => Some(Wait::Org),
        }
    }
}

/// Calls may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// It is another org than the one of before: nothing that is remembered is true of it.
    pub forget: bool,
}

pub struct Access {
    pub client: Client,
    notes: Notes,
    backoff: (Duration, Duration),
    login: JoinSet<()>,
    began: Instant,
    told: mpsc::UnboundedSender<Login>,
    logins: mpsc::UnboundedReceiver<Login>,
    last: Option<Last>,
    /// The org that calls were made to.
    written: Option<SalesforceId>,
    noted_at: Option<Instant>,
    said: Repeated,
    untold: bool,
    shut: bool,
}

/// How the last login ended.
enum Last {
    /// None: it did not say which org it is.
    Led(Option<SalesforceId>),
    Refused,
    Unreached,
}

impl Access {
    pub fn new(client: Client, notes: Notes, backoff: (Duration, Duration)) -> Self {
        let (told, logins) = mpsc::unbounded_channel();
        let login = JoinSet::from_iter([log_in(client.clone(), backoff, Duration::ZERO, told.clone())]);
        Self {
            client,
            notes,
            backoff,
            login,
            began: Instant::now(),
            told,
            logins,
            last: None,
            written: None,
            noted_at: None,
            said: Repeated::default(),
            untold: false,
            shut: true,
        }
    }

    /// The end of a login that was made for its own sake.
    pub async fn logged_in(&mut self) -> Login {
        self.logins.recv().await.expect("a sender is kept")
    }

    pub fn take(&mut self, login: Login) {
        match login {
            Ok(org) => self.last = Some(Last::Led(org)),
            Err(error) if refused(&error) => self.refused(&error),
            Err(error) => {
                self.last = Some(Last::Unreached);
                if self.said.again(error.code(), Instant::now().into_std()).is_some() {
                    let cause: &(dyn std::error::Error + 'static) = &error;
                    warn!(error = cause, "no token from Salesforce yet, waiting");
                }
            }
        }
    }

    /// What a call met: the login that it needed may have been refused, or have led elsewhere. From then on logins are
    /// tried for their own sake, and no call is made for one. True: it is said.
    pub fn met<T>(&mut self, result: &Result<T, Error>) -> bool {
        match result {
            Err(Error::OtherOrg { found, .. }) => self.last = Some(Last::Led(Some(*found))),
            Err(error) if refused(error) => {
                self.refused(error);
                self.log_in_again(self.backoff.0);
            }
            Ok(_) | Err(_) => return false,
        }
        true
    }

    fn refused(&mut self, error: &Error) {
        self.last = Some(Last::Refused);
        if self.said.again(error.code(), Instant::now().into_std()).is_some() {
            let cause: &(dyn std::error::Error + 'static) = error;
            error!(error = cause, "Salesforce refuses the login; rows wait, the fold goes on");
        }
    }

    /// Whether calls may be made. `idle`: none is under way.
    pub fn look(&mut self, idle: bool, now: Millis) -> Result<Open, Shut> {
        let look = self.judge(idle, now);
        if std::mem::replace(&mut self.shut, look.is_err()) && look.is_ok() {
            self.said.all_over();
        }
        look
    }

    fn judge(&mut self, idle: bool, now: Millis) -> Result<Open, Shut> {
        let found = match &self.last {
            None if self.began.elapsed() < FIRST_LOGIN_WITHIN => return Err(Shut::FirstToken),
            None | Some(Last::Unreached) => return Err(Shut::Token),
            Some(Last::Refused) => return Err(Shut::Refused),
            Some(Last::Led(None)) => {
                if !std::mem::replace(&mut self.untold, true) {
                    warn!("the login does not say to which org it leads; another one would not be noticed");
                }
                return Ok(Open { forget: false });
            }
            Some(Last::Led(Some(found))) => *found,
        };
        let Some(noted) = self.notes.known() else { return Err(Shut::Notes) };
        let Some(recorded) = noted.get(ORG).and_then(|note| SalesforceId::parse(note.get(ORG_ID)?)) else {
            self.note(found, now);
            return Err(Shut::Noting);
        };
        self.client.keep_to(recorded);
        if recorded != found {
            self.hold(recorded, found);
            return Err(Shut::OtherOrg);
        }
        let forget = self.written.is_some_and(|written| written != found);
        if forget && !idle {
            return Err(Shut::Settling);
        }
        if self.written != Some(found) {
            info!(org = %found, "rows are written to this org");
        }
        self.written = Some(found);
        Ok(Open { forget })
    }

    fn note(&mut self, org: SalesforceId, now: Millis) {
        if self.noted_at.is_some_and(|at| at.elapsed() < NOTE_AGAIN) {
            return;
        }
        self.noted_at = Some(Instant::now());
        if let Err(error) = self.notes.put(ORG, Some(&Note::new(ORG, now).with(ORG_ID, org.as_str()))) {
            warn!(%error, "the org cannot be noted yet");
        }
    }

    /// Says so, and looks now and then where the login leads.
    fn hold(&mut self, recorded: SalesforceId, found: SalesforceId) {
        if self.said.again("org_changed", Instant::now().into_std()).is_some() {
            error!(
                %recorded,
                %found,
                "the login leads to another org than before: nothing is written; hint: mend the login, or `rollbook org \
                 accept` if the org is the right one"
            );
        }
        self.log_in_again(self.backoff.1);
    }

    /// After a pause, and until there is a token, unless that is under way.
    fn log_in_again(&mut self, pause: Duration) {
        while self.login.try_join_next().is_some() {}
        if self.login.is_empty() {
            self.login.spawn(log_in(self.client.clone(), self.backoff, pause, self.told.clone()));
        }
    }
}

fn refused(error: &Error) -> bool {
    // A call may be refused for the app or its user, with a token that was given: its pauses grow where calls are made.
    matches!(error, Error::Login(_)) && error.disposition() == Disposition::Wait(Wait::Login)
}

/// Tells of every try; ends with a token. After a pause, for a token that takes the place of the one that there is.
async fn log_in(
    client: Client,
    (backoff_min, backoff_max): (Duration, Duration),
    pause: Duration,
    told: mpsc::UnboundedSender<Login>,
) {
    tokio::time::sleep(pause).await;
    let mut backoff = backoff_min;
    loop {
        let login = if pause.is_zero() { client.log_in().await } else { client.log_in_anew().await };
        let ended = login.is_ok();
        if told.send(login).is_err() || ended {
            return;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(backoff_max);
    }
}
