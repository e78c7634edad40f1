//! What protects a call: the switches that are measured against each other.

use std::fmt;
use std::str::FromStr;

use zmesh_voice::legs::Mode;

/// One combination of switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// Links repair what they lose.
    pub fec: bool,
    /// How many circuits a side has.
    pub legs: Mode,
}

/// Every setting that `zmesh-quality` measures, the shipped one first.
pub const SETTINGS: [Setting; 4] = [
    Setting { name: "shipped", fec: true, legs: Mode::Standby },
    Setting { name: "one-path", fec: true, legs: Mode::Single },
    Setting { name: "no-fec", fec: false, legs: Mode::Single },
    Setting { name: "doubled", fec: true, legs: Mode::Doubled },
];

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
