//! `skep-sensor watch`: what happens here and now, on standard output; needs no collector.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    time::Duration,
};

use skep_event::{Event, json};

use crate::{
    clock::BootClock,
    config::Config,
    output::human::Human,
    start::{self, StartError},
    stop::Stop,
};

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot take over signals: {0}")]
    Signals(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Prints events until SIGTERM or SIGINT, or until nobody reads any more.
pub fn run(config: &Config, as_json: bool) -> Result<(), WatchError> {
    let stop = Stop::on_signals().map_err(WatchError::Signals)?;
    let mut pipeline = start::pipeline(config, BootClock::measure())?;
    let stdout = io::stdout();
    let human = (!as_json).then(|| Human::new(stdout.is_terminal()));
    let mut out = BufWriter::new(stdout.lock());
    let mut found_running = Vec::new();
    pipeline.adopt(None, |event| found_running.push(event));
    eprintln!("ready");
    let mut stopping = false;
    loop {
        let mut written = Ok(());
        let mut print = |event: Event| {
            if written.is_ok() {
                written = match &human {
                    Some(human) => writeln!(out, "{}", human.line(&event)),
                    None => writeln!(out, "{}", json::write(&event)),
                };
            }
        };
        found_running.drain(..).for_each(&mut print);
        let more = pipeline.round(stopping, &mut print);
        match written.and_then(|()| if more { Ok(()) } else { out.flush() }) {
            Ok(()) => {}
            // `watch | head`: the reader has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(WatchError::Output(error)),
        }
        if stopping && !more {
            return Ok(());
        }
        // After a signal one more round: what happened before it is still shown.
        stopping |= stop.wait(
            [Some(pipeline.ring()), pipeline.alarm()],
            if more {
                Duration::ZERO
            } else {
                pipeline.patience()
            },
        );
    }
}
