//! Spans, and what the parser before jiff's read.

use proptest::prelude::*;

use super::*;

#[test]
fn spans_are_numbers_with_units() {
    for (text, seconds) in [
        ("0s", 0),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("3d", 259_200),
        ("1w", 604_800),
        ("1h30m", 5400),
        (" 1d12h ", 129_600),
    ] {
        assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
    for wrong in [
        "",
        "10",
        "m",
        "-5m",
        "10y",
        "5µ",
        "1h30",
        "1 h",
        "1.5h",
        "99999999999999999999d",
        "999999d",
        "h1",
    ] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

#[test]
fn units_may_be_written_out_and_months_have_no_length() {
    for (text, seconds) in [("15min", 900), ("2hours", 7200), ("3days12hrs", 302_400)] {
        assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    for wrong in [
        "1mo",
        "2months",
        "1yr",
        "1h ago",
        "1hago",
        "+1h",
        "PT1H",
        "1h,30m",
        "01:30:00",
        "1h01:30:00",
    ] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

#[test]
fn the_longest_span_is_forty_thousand_days() {
    for longest in ["40000d", "3456000000s", "40000d999ms", "5714w2d"] {
        assert!(parse(longest).is_some(), "{longest}");
    }
    for longer in ["40001d", "3456000001s", "40000d1s", "5714w3d"] {
        assert_eq!(parse(longer), None, "{longer}");
    }
}

/// The parser by hand that jiff's took over from.
fn by_hand(text: &str) -> Option<Duration> {
    const LONGEST_SECONDS: u64 = 40_000 * 86_400;
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..unit_at].parse().ok()?;
        let after = &rest[unit_at..];
        let unit_ends = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let milliseconds: u64 = match &after[..unit_ends] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        let part = Duration::from_millis(amount.checked_mul(milliseconds)?);
        total = total.checked_add(part)?;
        rest = &after[unit_ends..];
    }
    (total.as_secs() <= LONGEST_SECONDS).then_some(total)
}

proptest! {
    #[test]
    fn every_form_of_before_means_the_same(
        parts in prop::collection::vec(
            ("0{0,25}", prop_oneof![0..100_u64, any::<u32>().prop_map(u64::from), any::<u64>()],
             prop::sample::select(vec!["ms", "s", "m", "h", "d", "w"])),
            1..5,
        ),
        around in "[ \t]{0,2}",
    ) {
        let parts = parts.iter().map(|(zeros, amount, unit)| format!("{zeros}{amount}{unit}"));
        let text = format!("{around}{}{around}", parts.collect::<String>());
        prop_assert_eq!(parse(&text), by_hand(&text), "{}", text);
    }

    #[test]
    fn any_text_of_before_means_the_same(text in "([0-9]{1,12}[a-z]{0,2}|[ .+:,µ-]|PT|ago){0,4}") {
        if let Some(before) = by_hand(&text) {
            prop_assert_eq!(parse(&text), Some(before));
        }
        // No panic, and nothing past the bound.
        prop_assert!(parse(&text).is_none_or(|span| span.as_secs() <= LONGEST.as_secs() as u64));
    }
}
