//! The source tree of `deploy/salesforce`, in the binary: `rollbook demo` has no checkout beside it.
//!
//! Listed by hand, so that no build script runs; a test compares the list with the directory.

use super::source::Source;

macro_rules! tree {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../deploy/salesforce/force-app/main/default/", $path)))),*]
    };
}

/// Path below `force-app/main/default`, text.
const TREE: &[(&str, &str)] = tree![
    "objects/CampaignMember/fields/external_id__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/Kaltura_User_Polls__c.object-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/Lead__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/campaign_member__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/email__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/entry_id__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/entry_name__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/external_id__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_10_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_10_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_10_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_1_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_1_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_1_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_2_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_2_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_2_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_3_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_3_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_3_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_4_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_4_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_4_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_5_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_5_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_5_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_6_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_6_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_6_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_7_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_7_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_7_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_8_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_8_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_8_type__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_9_answer__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_9_question__c.field-meta.xml",
    "objects/Kaltura_User_Polls__c/fields/poll_9_type__c.field-meta.xml",
    "objects/UserSessionEngagement__c/UserSessionEngagement__c.object-meta.xml",
    "objects/UserSessionEngagement__c/fields/Lead__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/add_to_calendar__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/answered_polls__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/cam_on__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/campaign_member__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/channel_id__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/channel_name__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/clap_clicked_count__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/combined_live_engaged_users_play_time_ratio__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/email__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/entry_id__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/entry_name__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/external_id__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/fair_live_engagement_rate__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/good_live_engagement_rate__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/heart_clicked_count__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/high_live_engagement_rate__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/live_minutes_viewed__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/low_live_engagement_rate__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/messages_sent_group__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/mic_on__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/no_live_engagement_rate__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/plays__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/qna_threads__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/raise_hand__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/smile_clicked_count__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/think_clicked_count__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/total_reactions_activity__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/total_vod_completion_rate__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/user__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/vod_minutes_viewed__c.field-meta.xml",
    "objects/UserSessionEngagement__c/fields/wow_clicked_count__c.field-meta.xml",
    "permissionsets/Rollbook_Integration.permissionset-meta.xml",
];

pub(super) fn sources() -> Vec<Source> {
    TREE.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::schema::source::read_dir;

    #[test]
    fn the_list_is_the_directory() {
        let root =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/salesforce/force-app/main/default");
        let on_disk: Vec<_> = read_dir(&root).expect("the tree is there").into_iter().map(|file| file.path).collect();
        let listed: Vec<_> = TREE.iter().map(|(path, _)| format!("{}/{path}", root.display())).collect();
        assert_eq!(listed, on_disk);
    }
}
