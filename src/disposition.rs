//! A Salesforce outcome to what the sink does about it.
