//! Strategies: any value that fits a column.

use std::fmt::Debug;

use proptest::{arbitrary::any, collection::vec, option, prelude::*};

use super::{AsText, Facts, Message, Narrow, Number, Part, Same};

pub fn text<T: AsText<W>, W>() -> BoxedStrategy<W> {
    T::any()
}

pub fn texts<T, W: Same<Vec<String>> + Debug>() -> BoxedStrategy<W> {
    vec(any::<String>(), 0..4).prop_map(W::from_same).boxed()
}

pub fn arguments<T, W: Same<Vec<String>> + Debug>() -> BoxedStrategy<W> {
    texts::<T, W>()
}

pub fn flag<T, W: Same<bool> + Debug>() -> BoxedStrategy<W> {
    any::<bool>().prop_map(W::from_same).boxed()
}

fn number<W: Number + Debug + 'static>(
    number: impl Strategy<Value = u64> + 'static,
) -> BoxedStrategy<W> {
    if W::OPTIONAL {
        option::of(number).prop_map(W::from_number).boxed()
    } else {
        number
            .prop_map(|number| W::from_number(Some(number)))
            .boxed()
    }
}

pub fn short<T: Narrow, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
    number(0..=T::MOST)
}

pub fn int<T: Narrow, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
    number(0..=T::MOST)
}

pub fn long<T, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
    number(0..=W::MOST.min(i64::MAX as u64))
}

pub fn wide<T, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
    number(any::<u64>())
}

pub fn signed<T, W: Same<Option<i64>> + Debug>() -> BoxedStrategy<W> {
    option::of(any::<i64>()).prop_map(W::from_same).boxed()
}

/// Whole microseconds: what is finer is the sensor's own log's.
pub fn time<T, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
    number((0..=i64::MAX as u64 / 1000).prop_map(|micros| micros * 1000))
}

pub fn part<T: Part, W: Same<Message<T>> + Debug>() -> BoxedStrategy<W>
where
    <T::Facts as Facts>::Message: Debug,
{
    option::of(T::Facts::any_message())
        .prop_map(W::from_same)
        .boxed()
}
