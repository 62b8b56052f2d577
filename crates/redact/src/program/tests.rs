//! The notation of `rules/programs.txt`.

use super::*;

#[test]
fn every_item_of_the_table_is_read() {
    for [names, _, items, _] in table::rows::<4>(table::PROGRAMS) {
        for item in items.split(", ") {
            assert!(Item::read(item).is_some(), "{names}: {item}");
        }
    }
}

#[test]
fn items_are_read_as_their_notation_says() {
    let whole = Value::Whole;
    let flag = |flag, glued, value| {
        Some(Item::Flag {
            flag,
            glued,
            grouped: false,
            value,
        })
    };
    assert_eq!(Item::read("-p X"), flag(b"-p", true, whole));
    assert_eq!(Item::read("-p= X"), flag(b"-p", false, whole));
    assert_eq!(
        Item::read("-storepass X"),
        flag(b"-storepass", false, whole)
    );
    assert_eq!(
        Item::read("--user u:X"),
        flag(b"--user", false, Value::After(b':'))
    );
    assert_eq!(
        Item::read("-pass pass:X"),
        flag(b"-pass", false, Value::Prefix(b"pass:"))
    );
    let flag = b"-hp";
    assert_eq!(Item::read("-hpX"), Some(Item::Glued { flag, value: whole }));
    let word = b"password";
    assert_eq!(
        Item::read("password X"),
        Some(Item::After { word, value: whole })
    );
    assert_eq!(
        Item::read("#-1 X"),
        Some(Item::Position {
            number: -1,
            value: whole
        })
    );
    assert_eq!(Item::read("<u:X"), Some(Item::Input(Value::After(b':'))));
    assert_eq!(
        Item::read("<password X"),
        Some(Item::Input(Value::Word(b"password")))
    );
    assert_eq!(Item::read("* k=X"), Some(Item::Assigned { name: None }));
}
