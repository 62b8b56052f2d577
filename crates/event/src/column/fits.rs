//! Checks: whether a value fits its column.

use super::*;

pub(crate) fn text<T: AsText<W>, W>(wire: &W) -> Result<(), Unfit> {
    T::fits(wire)
}

pub(crate) fn texts<T, W>(_: &W) -> Result<(), Unfit> {
    Ok(())
}

pub(crate) fn arguments<T, W>(_: &W) -> Result<(), Unfit> {
    Ok(())
}

pub(crate) fn flag<T, W>(_: &W) -> Result<(), Unfit> {
    Ok(())
}

pub(crate) fn short<T: Narrow, W: Number>(wire: &W) -> Result<(), Unfit> {
    const { assert!(T::MOST <= 255) };
    narrow::<T>(wire.number())
}

pub(crate) fn int<T: Narrow, W: Number>(wire: &W) -> Result<(), Unfit> {
    narrow::<T>(wire.number())
}

fn narrow<T: Narrow>(number: Option<u64>) -> Result<(), Unfit> {
    match number {
        Some(number) if number > T::MOST => Err(Unfit::named(T::BEYOND)),
        _ => Ok(()),
    }
}

pub(crate) fn long<T, W: Number>(wire: &W) -> Result<(), Unfit> {
    match wire.number() {
        Some(number) if number > i64::MAX as u64 => {
            Err(Unfit::plain("a number of more than 63 bits"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn wide<T, W>(_: &W) -> Result<(), Unfit> {
    Ok(())
}

pub(crate) fn signed<T, W>(_: &W) -> Result<(), Unfit> {
    Ok(())
}

pub(crate) fn time<T, W: Number>(wire: &W) -> Result<(), Unfit> {
    unix_nanos(wire.number().unwrap_or_default())
}

pub(crate) fn part<T: Part, W: Same<Message<T>>>(wire: &W) -> Result<(), Unfit> {
    wire.same().as_ref().map_or(Ok(()), T::Facts::fits)
}

/// A time as the tables keep it.
pub fn unix_nanos(time: u64) -> Result<(), Unfit> {
    i64::try_from(time)
        .map(drop)
        .map_err(|_| Unfit::plain("a time after the year 2262"))
}

pub fn session_id(id: &str) -> Result<(), Unfit> {
    SessionId::parse(id).map(drop).ok_or(Unfit::plain(
        "a session id is not 32 lower-case hexadecimal digits",
    ))
}

// === checks of single fields (`only`) ===

pub(crate) fn at_least_one(count: &u64) -> Result<(), Unfit> {
    match count {
        0 => Err(Unfit::plain("a count of 0")),
        _ => Ok(()),
    }
}

pub(crate) fn hundred(number: &u32) -> Result<(), Unfit> {
    match number {
        0..=100 => Ok(()),
        _ => Err(Unfit::named("is more than 100")),
    }
}

pub(crate) fn not_empty(text: &str) -> Result<(), Unfit> {
    match text {
        "" => Err(Unfit::named("is empty")),
        _ => Ok(()),
    }
}
