//! What goes wrong in the simulation's org, by the world's dice.

use super::*;

impl World {
    /// Somebody deletes statuses that rows on their way, or about to be read, write.
    pub(super) fn delete_status(&mut self) {
        let partition = self.random.usize(0..2);
        let near = self.read[partition].saturating_sub(6)..self.read[partition] + 3;
        for upsert in self.log[partition].iter().take(near.end).skip(near.start) {
            let status = upsert.row.fields.iter().find(|(name, _)| *name == "Status");
            let version = status.and_then(|(_, value)| value.as_text()?.rsplit(' ').next()?.parse().ok());
            if let Some(version) = version {
                self.org.delete_status(upsert.member.campaign, version);
            }
        }
    }

    /// A part meets locks or a full org, one row a code that nobody knows, or one part is refused as a whole.
    pub(super) fn save_in_part(&mut self, call: &Call, fate: u32) -> Answer {
        let mut answers = self.org.save(call);
        let part = self.random.usize(0..answers.len());
        match (&mut answers[part], fate) {
            (Ok(results), 5) => {
                let codes = ["UNABLE_TO_LOCK_ROW", "STORAGE_LIMIT_EXCEEDED", "INTERNAL_ERROR", "APEX_ERROR"];
                results.fill(refused(self.random.choice(codes).unwrap(), "Too many SOQL queries: 101", &[]));
            }
            (Ok(results), 6) => results[0] = refused("SOMETHING_NEW", "", &[]),
            (answer, _) if self.random.bool() => {
                *answer = Err(failure(Disposition::Wait(Wait::Outage), "UNKNOWN_EXCEPTION"));
            }
            (answer, _) => *answer = Err(failure(Disposition::Isolate, "no_code")),
        }
        Answer::Saved(answers)
    }

    pub(super) fn job_answer(&mut self, call: &JobCall, fate: u32) -> Answer {
        let lost = || Answer::Failed(failure(Disposition::Wait(Wait::Outage), "transport"));
        match (fate, call) {
            (0 | 2, _) => lost(),
            (1 | 3, _) => {
                // Carried out, but the answer is lost.
                let _lost = self.org.job_call(call);
                lost()
            }
            (4, JobCall::Create { .. } | JobCall::Upload { .. }) => {
                Answer::Failed(failure(Disposition::Isolate, "EXCEEDEDQUOTA"))
            }
            (5, JobCall::Look { job } | JobCall::Read { job, .. }) => {
                // Salesforce keeps the results for some days only.
                if self.org.jobs.all.get(job).is_some_and(|job| job.to_write().next().is_none()) {
                    self.org.jobs.all.remove(job);
                }
                self.org.job_call(call)
            }
            _ => self.org.job_call(call),
        }
    }
}
