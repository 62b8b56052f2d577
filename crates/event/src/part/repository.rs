//! The git repository of a session.

use crate::{Class, Column, Text, field::why};

facts! {
    /// A git repository, read without running git.
    Repository = Repository at "session_info.repository", "session_info.repository" of &[Class::Session];

    root: Text {
        wire: root,
        column: text(Column::at(44, "repo_root", "root of the git repository")),
        secrets: text,
        meaning: "top of the git repository",
        example: "/home/dev/app",
        why: why::WHERE_WORKED,
        sample: "/home/dev/app".into(),
    }
    /// URL of `origin`, else of the first remote.
    remote: Option<Text> {
        wire: remote,
        column: text(Column::at(45, "repo_remote", "URL of its remote")),
        secrets: text,
        meaning: "its remote, without user and password",
        example: "https://example.com/app.git",
        why: why::WHERE_WORKED,
        sample: Some("https://example.com/app.git".into()),
    }
    /// Branch, or the commit of a detached head.
    branch: Option<Text> {
        wire: branch,
        column: text(Column::at(46, "repo_branch", "branch, or commit of a detached head")),
        secrets: text,
        meaning: "its branch",
        example: "main",
        why: why::WHERE_WORKED,
        sample: Some("main".into()),
    }
}
