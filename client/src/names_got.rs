//! The names that files got after they were written: renamed, or linked.

use std::collections::HashMap;

use crate::story::{Change, File};

/// By the name before: the name after, and the time it last got it; `None` where there were several.
pub struct NamesGot<'a>(HashMap<&'a str, Option<(&'a str, &'a str)>>);

impl<'a> NamesGot<'a> {
    pub fn of(changes: impl Iterator<Item = &'a Change>) -> Self {
        let mut names = HashMap::new();
        for change in changes {
            let is_named = matches!(change.op.as_str(), "rename" | "link") && !change.many;
            let is_done = change.result.is_none_or(|result| result == 0);
            let (Some(was), Some(path)) = (&change.was, &change.path) else {
                continue;
            };
            if !is_named || !is_done {
                continue;
            }
            let got = (path.as_str(), change.last.as_str());
            names
                .entry(was.as_str())
                .and_modify(|known: &mut Option<(&str, &str)>| {
                    *known = known.filter(|(name, _)| *name == got.0).map(|_| got);
                })
                .or_insert(Some(got));
        }
        Self(names)
    }

    /// The name a file got after it was opened, if that is one only. Times are of one form, and compare as
    /// text.
    pub fn of_file(&self, file: &File) -> Option<String> {
        let (name, time) = (*self.0.get(file.path.as_deref()?)?)?;
        (time >= file.first.as_str()).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(was: &str, path: &str, time: &str) -> Change {
        Change {
            op: "rename".to_owned(),
            path: Some(path.to_owned()),
            was: Some(was.to_owned()),
            many: false,
            result: Some(0),
            count: 1,
            first: time.to_owned(),
            last: time.to_owned(),
        }
    }

    #[test]
    fn a_file_has_the_one_name_it_got_after_it_was_opened() {
        let file = |path: &str| File {
            path: Some(path.to_owned()),
            access: "create".to_owned(),
            result: Some(0),
            links: None,
            became: None,
            count: 1,
            first: "2025-11-20T08:30:01Z".to_owned(),
            last: "2025-11-20T08:30:01Z".to_owned(),
        };
        let mut failed = renamed("/f", "/F", "2025-11-20T08:30:02Z");
        failed.result = Some(-1);
        let changes = [
            renamed("/a", "/A", "2025-11-20T08:30:02Z"),
            renamed("/early", "/E", "2025-11-20T08:30:00Z"),
            renamed("/two", "/1", "2025-11-20T08:30:02Z"),
            renamed("/two", "/2", "2025-11-20T08:30:03Z"),
            failed,
        ];
        let names = NamesGot::of(changes.iter());
        let got = |path: &str| names.of_file(&file(path));
        assert_eq!(got("/a").as_deref(), Some("/A"));
        for path in ["/early", "/two", "/f", "/other"] {
            assert_eq!(got(path), None, "{path}");
        }
    }
}
