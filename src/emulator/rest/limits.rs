//! The org's limits, by the names and in the order of the real list.
//!
//! Most of them limit what is not here: those are full, as in an org that does not use it. A list with only the live
//! ones would be shorter, and a client that reads another one would meet a missing key only in production.

use serde_json::{Map, Value, json};

use crate::emulator::service::Service;

/// Name and allocation of a Developer Edition org. What has another one is put in its place.
const LIMITS: [(&str, u64); 51] = [
    ("ActiveScratchOrgs", 3),
    ("AnalyticsExternalDataSizeMB", 40_960),
    ("ConcurrentAsyncGetReportInstances", 200),
    ("ConcurrentEinsteinDataInsightsStoryCreation", 5),
    ("ConcurrentEinsteinDiscoveryStoryCreation", 2),
    ("ConcurrentSyncReportRuns", 20),
    ("DailyAnalyticsDataflowJobExecutions", 60),
    ("DailyAnalyticsUploadedFilesSizeMB", 51_200),
    ("DailyApiRequests", 15_000),
    ("DailyAsyncApexExecutions", 250_000),
    ("DailyAsyncApexTests", 500),
    ("DailyBulkApiBatches", 15_000),
    ("DailyBulkV2QueryFileStorageMB", 976_562),
    ("DailyBulkV2QueryJobs", 10_000),
    ("DailyDeliveredPlatformEvents", 10_000),
    ("DailyDurableGenericStreamingApiEvents", 10_000),
    ("DailyDurableStreamingApiEvents", 10_000),
    ("DailyEinsteinDataInsightsStoryCreation", 1_000),
    ("DailyEinsteinDiscoveryPredictAPICalls", 50_000),
    ("DailyEinsteinDiscoveryPredictionsByCDC", 5_000_000),
    ("DailyEinsteinDiscoveryStoryCreation", 100),
    ("DailyFunctionsApiCallLimit", 235_000),
    ("DailyGenericStreamingApiEvents", 10_000),
    ("DailyScratchOrgs", 6),
    ("DailyStandardVolumePlatformEvents", 10_000),
    ("DailyStreamingApiEvents", 10_000),
    ("DailyWorkflowEmails", 100_000),
    ("DataStorageMB", 1_024),
    ("DurableStreamingApiConcurrentClients", 20),
    ("FileStorageMB", 1_024),
    ("HourlyAsyncReportRuns", 1_200),
    ("HourlyDashboardRefreshes", 200),
    ("HourlyDashboardResults", 5_000),
    ("HourlyDashboardStatuses", 999_999_999),
    ("HourlyLongTermIdMapping", 100_000),
    ("HourlyManagedContentPublicRequests", 50_000),
    ("HourlyODataCallout", 20_000),
    ("HourlyPublishedPlatformEvents", 50_000),
    ("HourlyPublishedStandardVolumePlatformEvents", 1_000),
    ("HourlyShortTermIdMapping", 100_000),
    ("HourlySyncReportRuns", 500),
    ("HourlyTimeBasedWorkflow", 1_000),
    ("MassEmail", 5_000),
    ("MonthlyEinsteinDiscoveryStoryCreation", 500),
    ("Package2VersionCreates", 6),
    ("Package2VersionCreatesWithoutValidation", 500),
    ("PermissionSets", 1_500),
    ("PlatformEventTriggersWithParallelProcessing", 5),
    ("PrivateConnectOutboundCalloutHourlyLimitMB", 0),
    ("SingleEmail", 5_000),
    ("StreamingApiConcurrentClients", 20),
];

/// Before this version bulk batches were called requests.
const BATCHES_SINCE: u32 = 49;
const BULK_QUERIES_SINCE: u32 = 47;

/// `GET /limits`
pub fn report(service: &Service, version: u32) -> Value {
    let entry = |max: u64, remaining: u64| json!({ "Max": max, "Remaining": remaining });
    let mut limits = Map::new();
    for (name, max) in LIMITS {
        let shown = match name {
            "DailyApiRequests" => {
                let max = service.counters.daily_limit();
                entry(max, max.saturating_sub(service.counters.api_calls()))
            }
            "DailyBulkApiBatches" => entry(service.jobs.batches.max, service.jobs.batches.remaining()),
            "DailyBulkV2QueryJobs" => entry(service.jobs.queries.max, service.jobs.queries.remaining()),
            "PermissionSets" => json!({ "Max": max, "Remaining": max, "CreateCustom": entry(1_000, 1_000) }),
            _ => entry(max, max),
        };
        match name {
            "DailyBulkApiBatches" if version < BATCHES_SINCE => limits.insert("DailyBulkApiRequests".into(), shown),
            _ if name.starts_with("DailyBulkV2") && version < BULK_QUERIES_SINCE => None,
            _ => limits.insert(name.into(), shown),
        };
    }
    Value::Object(limits)
}
