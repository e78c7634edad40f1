//! Which devices there are, and how one is found by name.

use super::{DeviceError, Kind};
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, Host};
use std::thread;

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What the sound system calls it; never changes, and is unique.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether it takes sound in.
    pub microphone: bool,
    /// Whether it gives sound out.
    pub loudspeaker: bool,
}

/// Keeps the sound library from writing its own lines to stderr, for this thread and as long as it lives.
pub(super) fn hush() {
    #[cfg(target_os = "linux")]
    if let Err(error) = alsa::Output::local_error_handler() {
        tracing::debug!(%error, "the sound library keeps talking");
    }
}

/// The devices of this machine, as far as the sound system knows before they are opened.
///
/// # Errors
/// [`DeviceError`] if the sound system does not answer.
pub fn devices() -> Result<Vec<DeviceInfo>, DeviceError> {
    // A thread of its own, on which the sound library is quiet.
    let listing = thread::Builder::new()
        .name("zmesh-devices".into())
        .spawn(|| {
            hush();
            all().map(|all| all.iter().map(describe).collect::<Vec<_>>())
        })
        .map_err(|source| DeviceError::Thread { what: Kind::Microphone, source })?;
    listing.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(|source| DeviceError::System {
        what: Kind::Loudspeaker,
        name: "default".into(),
        source,
    })
}

/// The sound system. `cpal::default_host` would panic where its configuration is damaged.
fn host() -> Result<Host, cpal::Error> {
    let unavailable = || cpal::Error::from(cpal::ErrorKind::HostUnavailable);
    cpal::host_from_id(cpal::available_hosts().into_iter().next().ok_or_else(unavailable)?)
}

fn all() -> Result<Vec<Device>, cpal::Error> {
    Ok(host()?.devices()?.collect())
}

pub(super) fn describe(device: &Device) -> DeviceInfo {
    let description = device.description().ok();
    let id = device.id().map(|id| id.id().to_owned()).unwrap_or_default();
    let name = description.as_ref().map_or_else(|| id.clone(), |description| description.name().to_owned());
    DeviceInfo { id, name, microphone: device.supports_input(), loudspeaker: device.supports_output() }
}

/// The device of that name, or the default one.
pub(super) fn find(what: Kind, name: Option<&str>) -> Result<Device, DeviceError> {
    let Some(name) = name else {
        let host = host().map_err(|source| DeviceError::System { what, name: "default".to_owned(), source })?;
        let device = match what {
            Kind::Microphone => host.default_input_device(),
            Kind::Loudspeaker => host.default_output_device(),
        };
        return device.ok_or_else(|| what.none());
    };
    let mut devices = all().map_err(|source| DeviceError::System { what, name: name.to_owned(), source })?;
    let known: Vec<DeviceInfo> = devices.iter().map(describe).collect();
    match choose(what, name, &known) {
        Some(index) => Ok(devices.swap_remove(index)),
        None => Err(DeviceError::NoSuch { what, name: name.to_owned() }),
    }
}

/// The device that `wanted` means: by identifier, by name, or by a part of the name that only one name has.
fn choose(what: Kind, wanted: &str, known: &[DeviceInfo]) -> Option<usize> {
    let fit = |device: &DeviceInfo| match what {
        Kind::Microphone => device.microphone,
        Kind::Loudspeaker => device.loudspeaker,
    };
    let usable = || known.iter().enumerate().filter(|(_, device)| fit(device));
    let exact =
        usable().find(|(_, device)| device.id == wanted).or_else(|| usable().find(|(_, device)| device.name == wanted));
    if let Some((index, _)) = exact {
        return Some(index);
    }
    let part = wanted.to_lowercase();
    let mut partly = usable().filter(|(_, device)| !part.is_empty() && device.name.to_lowercase().contains(&part));
    let (index, first) = partly.next()?;
    // The sound system lists one device several times, once for each way to open it: the first way will do.
    partly.all(|(_, other)| other.name == first.name).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_identifier_by_name_and_by_an_unmistakable_part() {
        let device = |id: &str, name: &str, microphone, loudspeaker| DeviceInfo {
            id: id.to_owned(),
            name: name.to_owned(),
            microphone,
            loudspeaker,
        };
        let known = [
            device("hw:0", "USB Headset", true, true),
            device("plughw:0", "USB Headset", true, true),
            device("hw:1", "Built-in Audio", false, true),
            device("hw:2", "USB Camera", true, false),
            device("USB Camera", "odd", true, false),
        ];
        let microphone = |name| choose(Kind::Microphone, name, &known);
        assert_eq!(microphone("plughw:0"), Some(1));
        assert_eq!(microphone("USB Headset"), Some(0));
        assert_eq!(microphone("headset"), Some(0));
        assert_eq!(microphone("USB Camera"), Some(4), "the identifier comes first");
        assert_eq!(microphone("usb"), None, "two of them");
        assert_eq!(microphone("hw:1"), None, "a loudspeaker");
        assert_eq!(microphone(""), None);
        assert_eq!(choose(Kind::Loudspeaker, "built-in", &known), Some(2));
        assert_eq!(choose(Kind::Loudspeaker, "usb", &known), Some(0), "the camera cannot play");
    }
}
