//! Salesforce client.
