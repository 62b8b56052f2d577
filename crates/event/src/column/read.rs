//! Reads of fields: a message's field out of its cells.

use super::*;

pub fn text<T: AsText<W>, W>(cells: &impl Cells, column: &'static Column) -> W {
    T::from_text(cells.text(column))
}

pub fn texts<T, W: Same<Vec<String>>>(cells: &impl Cells, column: &'static Column) -> W {
    W::from_same(cells.texts(column).unwrap_or_default())
}

pub fn arguments<T, W: Same<Vec<String>>>(cells: &impl Cells, column: &'static Column) -> W {
    texts::<T, W>(cells, column)
}

pub fn flag<T, W: Same<bool>>(cells: &impl Cells, column: &'static Column) -> W {
    W::from_same(cells.flag(column).unwrap_or_default())
}

macro_rules! numbers {
    ($($kind:ident)*) => {$(
        pub fn $kind<T, W: Number>(cells: &impl Cells, column: &'static Column) -> W {
            W::from_number(cells.$kind(column))
        }
    )*};
}

numbers! { short int long wide time }

pub fn signed<T, W: Same<Option<i64>>>(cells: &impl Cells, column: &'static Column) -> W {
    W::from_same(cells.signed(column))
}

pub fn part<T: Part, W: Same<Message<T>>>(cells: &impl Cells, _: &'static Column) -> W {
    let is_there = cells.has(T::Facts::FIRST);
    W::from_same(is_there.then(|| T::Facts::read(cells)))
}
