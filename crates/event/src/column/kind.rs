//! Visits of fields: how a field of type `T`, `W` on the wire, is visited.

use super::*;

pub fn text<M, T: AsText<W>, W: 'static>(
    visitor: &mut impl Columns<M>,
    column: &'static Column,
    field: impl Fn(&M) -> &W + Reads,
) {
    visitor.text(column, move |message| T::text(field(message)));
}

pub fn texts<M, T, W: Same<Vec<String>>>(
    visitor: &mut impl Columns<M>,
    column: &'static Column,
    field: impl Fn(&M) -> &W + Reads,
) {
    visitor.texts(column, move |message| Some(field(message).same()));
}

/// Null when there are none: that there were none is not known.
pub fn arguments<M, T, W: Same<Vec<String>>>(
    visitor: &mut impl Columns<M>,
    column: &'static Column,
    field: impl Fn(&M) -> &W + Reads,
) {
    visitor.texts(column, move |message| {
        let arguments = field(message).same().as_slice();
        (!arguments.is_empty()).then_some(arguments)
    });
}

pub fn flag<M, T, W: Same<bool>>(
    visitor: &mut impl Columns<M>,
    column: &'static Column,
    field: impl Fn(&M) -> &W + Reads,
) {
    visitor.flag(column, move |message| Some(*field(message).same()));
}

macro_rules! numbers {
    ($($kind:ident)*) => {$(
        pub fn $kind<M, T, W: Number + 'static>(
            visitor: &mut impl Columns<M>,
            column: &'static Column,
            field: impl Fn(&M) -> &W + Reads,
        ) {
            visitor.$kind(column, move |message| field(message).number());
        }
    )*};
}

numbers! { short int long wide time }

pub fn signed<M, T, W: Same<Option<i64>>>(
    visitor: &mut impl Columns<M>,
    column: &'static Column,
    field: impl Fn(&M) -> &W + Reads,
) {
    visitor.signed(column, move |message| *field(message).same());
}

/// A part: its own columns.
pub fn part<M, T: Part, W: Same<Message<T>>>(
    visitor: &mut impl Columns<M>,
    _: &'static Column,
    field: impl Fn(&M) -> &W + Reads,
) {
    T::Facts::columns(&mut within(visitor, move |message: &M| {
        field(message).same().as_ref()
    }));
}
