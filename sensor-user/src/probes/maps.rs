//! Maps of the kernel object, by name.

use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;

use super::host::HostError;

pub fn take_map<T>(object: &mut Ebpf, name: &'static str) -> Result<T, HostError>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = object
        .take_map(name)
        .ok_or_else(|| HostError::Load(format!("map {name} is not in the kernel object")))?;
    T::try_from(map).map_err(|error| HostError::Load(format!("map {name}: {error}")))
}

/// A descriptor of a map, for what aya has no call for.
pub fn map_fd(object: &Ebpf, name: &'static str) -> Result<OwnedFd, HostError> {
    let data = match object.map(name) {
        Some(aya::maps::Map::HashMap(data) | aya::maps::Map::Array(data)) => data,
        _ => {
            return Err(HostError::Load(format!(
                "map {name} is not in the kernel object"
            )));
        }
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    fd.map_err(|error| HostError::Load(format!("map {name}: {error}")))
}
