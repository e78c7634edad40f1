//! Numbers that the voters agree on besides the relays.

use std::collections::BTreeMap;

use super::canonical::{FormError, rule};
use super::schema;

/// Most parameters.
pub(super) const PARAMETERS_MAX: usize = 32;
/// Longest name of a parameter, in bytes.
pub(super) const PARAMETER_NAME_MAX: usize = 32;

const LIFETIME: &str = "lifetime";
const SEEN_BY: &str = "seen-by";
const VOTERS: &str = "voters";
const UPTIME: &str = "voter-uptime";

/// Numbers by name. Names that this version does not know are kept and passed on; what is missing has a default.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Parameters(BTreeMap<String, u32>);

impl Parameters {
    /// No parameter: every one has its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more.
    ///
    /// # Errors
    /// The name is not 1 to 32 of `a–z 0–9 -`, or there are 32 already.
    pub fn with(mut self, name: &str, value: u32) -> Result<Self, FormError> {
        self.0.insert(name.to_owned(), value);
        self.check()?;
        Ok(self)
    }

    /// A parameter by its name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// How many epochs a document is valid for (`lifetime`): 3 unless agreed otherwise, 2 to 168. More than one, so that a network
    /// outlives an epoch in which its voters did not agree.
    #[must_use]
    pub fn lifetime(&self) -> u64 {
        u64::from(self.value(LIFETIME).unwrap_or(3).clamp(2, 168))
    }

    /// How many voters, each of another operator, have to have seen a relay (`seen-by`); 0, the default, stands for one more than
    /// may lie.
    #[must_use]
    pub fn seen_by(&self) -> usize {
        self.value(SEEN_BY).unwrap_or(0) as usize
    }

    /// To how many voters the set may grow (`voters`): 21 unless agreed otherwise, 64 at most.
    #[must_use]
    pub fn voters(&self) -> usize {
        (self.value(VOTERS).unwrap_or(21) as usize).clamp(1, super::VOTERS_MAX)
    }

    /// Which uptime, in thousandths, k voters must have seen of a node before it may become a voter (`voter-uptime`): 950.
    #[must_use]
    pub fn voter_uptime(&self) -> u16 {
        u16::try_from(self.value(UPTIME).unwrap_or(950).min(1_000)).unwrap_or(1_000)
    }

    pub(super) fn check(&self) -> Result<(), FormError> {
        let name_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        rule(self.0.len() <= PARAMETERS_MAX, "list of parameters", "can have at most 32 entries")?;
        rule(
            self.0.keys().all(|name| (1..=PARAMETER_NAME_MAX).contains(&name.len()) && name.bytes().all(name_byte)),
            "name of a parameter",
            "has to be 1 to 32 small letters, digits or hyphens",
        )
    }

    pub(crate) fn write(&self) -> Vec<schema::Parameter> {
        self.0.iter().map(|(name, value)| schema::Parameter { name: name.clone(), value: *value }).collect()
    }

    pub(crate) fn read(list: Vec<schema::Parameter>) -> Result<Self, FormError> {
        rule(list.len() <= PARAMETERS_MAX, "list of parameters", "can have at most 32 entries")?;
        rule(
            list.windows(2).all(|pair| pair[0].name < pair[1].name),
            "list of parameters",
            "has to be sorted by name, each once",
        )?;
        let parameters = Self(list.into_iter().map(|parameter| (parameter.name, parameter.value)).collect());
        parameters.check()?;
        Ok(parameters)
    }
}
