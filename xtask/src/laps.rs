//! A stopwatch: how long each part of a task took.

use std::time::{Duration, Instant};

/// Parts that have ended, and when the one that goes on began.
#[derive(Debug)]
pub struct Laps {
    done: Vec<(String, Duration)>,
    begun: Instant,
}

impl Laps {
    pub fn start() -> Self {
        Self {
            done: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// A part has ended; the next begins.
    pub fn end(&mut self, part: &str) {
        self.done.push((part.to_owned(), self.begun.elapsed()));
        self.begun = Instant::now();
    }

    /// One line a part, and one for all.
    pub fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let all = self.done.iter().map(|(_, time)| *time).sum();
        let parts = self.done.iter().map(|(part, time)| (part.as_str(), *time));
        parts
            .chain([("in all", all)])
            .map(|(part, time)| format!("{:8.1} s  {part}", time.as_secs_f64()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_time_and_the_last_line_is_the_sum() {
        let laps = Laps {
            done: vec![
                ("set-up".into(), Duration::from_millis(1_500)),
                ("build".into(), Duration::from_secs(60)),
            ],
            begun: Instant::now(),
        };
        let lines = [
            "     1.5 s  set-up",
            "    60.0 s  build",
            "    61.5 s  in all",
        ];
        assert_eq!(laps.lines(), lines);
    }

    #[test]
    fn a_part_begins_where_the_one_before_ended() {
        let mut laps = Laps::start();
        std::thread::sleep(Duration::from_millis(30));
        laps.end("slow");
        laps.end("none");
        assert!(laps.done[0].1 >= Duration::from_millis(30));
        assert!(laps.done[1].1 < laps.done[0].1);
    }
}
