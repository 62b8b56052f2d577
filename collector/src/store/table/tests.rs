//! Two collectors and one table.

use super::*;

/// A table as one collector sees it, in a folder that others use too.
async fn open(folder: &std::path::Path) -> Table {
    let place = Place::folder(folder).unwrap();
    Table::open(&place, Class::Exec).await.unwrap()
}

/// A file as a flush or a merge makes it; nobody reads it here.
fn file(name: &str, rows: u64) -> NewFile {
    NewFile {
        path: Path::from(format!("{DAY}=2026-11-20/{name}.parquet")),
        bytes: 1000,
        rows,
        first_time: 1,
        last_time: 2,
        day: "2026-11-20".parse().unwrap(),
    }
}

fn rows(table: &Table) -> u64 {
    table.files().iter().map(|file| file.rows).sum()
}

#[tokio::test]
async fn a_merge_of_files_that_another_collector_has_merged_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = open(folder.path()).await;
    one.add(&[file("a", 3), file("b", 4)], "log-1", 1)
        .await
        .unwrap();
    let mut two = open(folder.path()).await;
    // Both have chosen the same files before either commits.
    let (by_one, by_two) = (one.files(), two.files());
    assert!(one.replace(&by_one, &[file("ab-one", 7)]).await.unwrap());
    assert!(!two.replace(&by_two, &[file("ab-two", 7)]).await.unwrap());
    assert_eq!(two.files(), one.files(), "it sees what the other made");
    assert_eq!((rows(&one), one.files().len()), (7, 1));
}

/// Between the look at the table and the commit, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_merges_at_the_same_moment_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = open(folder.path()).await;
    let mut two = open(folder.path()).await;
    for round in 1..=20 {
        let name = |of: &str| format!("{round}-{of}");
        let inputs = [file(&name("a"), 3), file(&name("b"), 4)];
        one.add(&inputs, "log-1", round).await.unwrap();
        two.refresh().await.unwrap();
        let chosen = |table: &Table| -> Vec<DataFile> {
            let files = table.files();
            let inputs = files.iter().filter(|file| {
                let path = file.path.as_ref();
                path.contains(&name("a.")) || path.contains(&name("b."))
            });
            inputs.cloned().collect()
        };
        let (by_one, by_two) = (chosen(&one), chosen(&two));
        assert_eq!((by_one.len(), by_two.len()), (2, 2));
        let (results_one, results_two) = ([file(&name("one"), 7)], [file(&name("two"), 7)]);
        let made = tokio::join!(
            one.replace(&by_one, &results_one),
            two.replace(&by_two, &results_two)
        );
        let made = [made.0.unwrap(), made.1.unwrap()];
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
        one.refresh().await.unwrap();
        two.refresh().await.unwrap();
        assert_eq!(rows(&one), 7 * round);
        assert_eq!(rows(&two), 7 * round);
    }
}

#[tokio::test]
async fn appends_of_two_collectors_do_not_hinder_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = open(folder.path()).await;
    let mut two = open(folder.path()).await;
    for round in 1..=10 {
        let (by_one, by_two) = (
            [file(&format!("{round}-one"), 1)],
            [file(&format!("{round}-two"), 1)],
        );
        let added = tokio::join!(
            one.add(&by_one, "log-1", round),
            two.add(&by_two, "log-2", round)
        );
        added.0.unwrap();
        added.1.unwrap();
    }
    one.refresh().await.unwrap();
    assert_eq!(rows(&one), 20);
    assert_eq!(one.position("log-1").await.unwrap(), 10);
    assert_eq!(one.position("log-2").await.unwrap(), 10);
}

/// Files and folders below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

fn date(path: &std::path::Path, days_ago: u64) {
    let day = std::time::Duration::from_secs(24 * 3600);
    let time = std::time::SystemTime::now() - day * u32::try_from(days_ago).unwrap();
    std::fs::File::open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// The files are dated by a clock that is right, and this machine's is ten days ahead.
#[tokio::test]
async fn a_clock_that_is_ahead_deletes_no_file_that_another_is_about_to_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path()).await;
    table.add(&[file("a", 3)], "log-1", 1).await.unwrap();
    let of_day = folder.path().join("exec/day=2026-11-20");
    std::fs::create_dir_all(&of_day).unwrap();
    let (new, old) = (of_day.join("new.parquet"), of_day.join("old.parquet"));
    for path in [&new, &old] {
        std::fs::write(path, "of another collector").unwrap();
    }
    for path in walk(folder.path()) {
        date(&path, 10);
    }
    date(&old, 12);
    let day = std::time::Duration::from_secs(24 * 3600);
    assert_eq!(table.vacuum(day).await.unwrap(), 1);
    assert!(new.exists(), "it may be committed any moment");
    assert!(!old.exists(), "whoever wrote it was killed");
}
