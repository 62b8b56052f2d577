//! Texts as the wire has them.

use skep_event::Text;

pub fn bytes(text: Option<&Text>) -> Option<Vec<u8>> {
    text.map(|text| text.as_bytes().to_vec())
}

pub fn all_bytes(all: &[Text]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn texts(all: Vec<Vec<u8>>) -> Vec<Text> {
    all.into_iter().map(Text::new).collect()
}
