//! How a deployment is to be carried out.

/// What the caller wants, under Salesforce's names for it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "Salesforce's own independent options")]
pub struct Options {
    pub check_only: bool,
    pub ignore_warnings: bool,
    pub rollback_on_error: bool,
    pub single_package: bool,
}

impl Options {
    pub fn read(flag: impl Fn(&str) -> bool) -> Self {
        Self {
            check_only: flag("checkOnly"),
            ignore_warnings: flag("ignoreWarnings"),
            rollback_on_error: flag("rollbackOnError"),
            single_package: flag("singlePackage"),
        }
    }
}
