//! What protects a call: the switches that are measured against each other.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// One combination of switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name on the command line and in tables.
    pub name: &'static str,
}

/// Every setting that `zmesh-quality` measures, the shipped one first.
pub const SETTINGS: [Setting; 1] = [Setting { name: "shipped" }];

impl Setting {
    /// As people run it.
    pub const SHIPPED: Setting = SETTINGS[0];
}

/// No setting has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no setting is called {0}: there are {names}", names = SETTINGS.map(|setting| setting.name).join(", "))]
pub struct UnknownSetting(String);

impl FromStr for Setting {
    type Err = UnknownSetting;

    fn from_str(name: &str) -> Result<Setting, UnknownSetting> {
        SETTINGS.into_iter().find(|setting| setting.name == name).ok_or_else(|| UnknownSetting(name.to_owned()))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
