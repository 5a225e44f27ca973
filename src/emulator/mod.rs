//! The Salesforce emulator.
