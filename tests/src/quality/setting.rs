//! What protects a call: the switches that are measured against each other.

use std::fmt;
use std::str::FromStr;

use zmesh_voice::legs::Mode;
use zmesh_voice::media::class::Class;
use zmesh_voice::media::redundancy::Means;

/// One combination of switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// Links repair what they lose.
    pub fec: bool,
    /// What the spare bytes of messages carry.
    pub means: Means,
    /// How many circuits a side has.
    pub legs: Mode,
    /// How often messages leave.
    pub class: Class,
}

/// Every setting that `zmesh-quality` measures, the shipped one first.
pub const SETTINGS: [Setting; 10] = [
    Setting::SHIPPED,
    Setting { name: "doubled", legs: Mode::Doubled, ..Setting::SHIPPED },
    Setting { name: "one path", ..ONE_PATH },
    Setting { name: "no FEC", fec: false, ..ONE_PATH },
    Setting { name: "FEC alone", means: NO_MEANS, ..ONE_PATH },
    Setting { name: "copies alone", fec: false, means: Means { copies: true, dred: false }, ..ONE_PATH },
    Setting { name: "DRED alone", fec: false, means: Means { copies: false, dred: true }, ..ONE_PATH },
    Setting { name: "nothing", fec: false, means: NO_MEANS, ..ONE_PATH },
    Setting { name: "40 ms", class: Class::Ms40, ..Setting::SHIPPED },
    Setting { name: "60 ms", class: Class::Ms60, ..Setting::SHIPPED },
];

const ONE_PATH: Setting = Setting { name: "one path", legs: Mode::Single, ..Setting::SHIPPED };
const NO_MEANS: Means = Means { copies: false, dred: false };

impl Setting {
    /// As people run it: everything, and a second circuit that stands by.
    pub const SHIPPED: Setting = Setting {
        name: "shipped",
        fec: true,
        means: Means { copies: true, dred: true },
        legs: Mode::Standby,
        class: Class::Ms20,
    };
}

/// No setting has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no setting is called {0}: there are {names}", names = SETTINGS.map(|setting| setting.name).join(", "))]
pub struct UnknownSetting(String);

impl FromStr for Setting {
    type Err = UnknownSetting;

    fn from_str(name: &str) -> Result<Setting, UnknownSetting> {
        // As typed: without capitals, and without blanks.
        let plain = |name: &str| name.to_lowercase().replace([' ', '-', '_'], "");
        SETTINGS
            .into_iter()
            .find(|setting| plain(setting.name) == plain(name))
            .ok_or_else(|| UnknownSetting(name.to_owned()))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
