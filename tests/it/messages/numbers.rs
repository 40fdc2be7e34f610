//! Sizes, times and lists.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use shipit::report::human;

#[test]
fn sizes() {
    let table = [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_200_000, "4.2 MB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (421_000_000, "421 MB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (u64::MAX, "18.4 EB"),
    ];
    for (bytes, expect) in table {
        assert_eq!(human::size(bytes), expect, "{bytes}");
    }
}

#[test]
fn durations() {
    let table = [
        (40, "40ms"),
        (100, "0.1s"),
        (1_300, "1.3s"),
        (59_949, "59.9s"),
        (59_950, "1m 00s"),
        (125_000, "2m 05s"),
        (3_599_499, "59m 59s"),
        (3_599_500, "1h 00m"),
        (3_720_000, "1h 02m"),
    ];
    for (ms, expect) in table {
        assert_eq!(human::duration(Duration::from_millis(ms)), expect, "{ms}");
    }
}

#[test]
fn ages() {
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let table = [
        (-7_200, "2 hours ahead"),
        (-30, "just now"),
        (0, "just now"),
        (12, "12 s ago"),
        (180, "3 min ago"),
        (3_600, "1 hour ago"),
        (172_800, "2 days ago"),
        (86_400 * 90, "3 months ago"),
        (86_400 * 800, "2 years ago"),
    ];
    for (seconds, expect) in table {
        assert_eq!(human::age(now - TimeDelta::seconds(seconds), now), expect, "{seconds}");
    }
}

#[test]
fn lists() {
    let names: Vec<_> = (1..=5).map(|number| format!("web{number}")).collect();
    assert_eq!(human::short_list(&names, 5), "web1, web2, web3, web4, web5");
    assert_eq!(human::short_list(&names, 4), "web1, web2, web3 and 2 more hosts");
    assert_eq!(human::count(1, "file"), "1 file");
    assert_eq!(human::count(0, "file"), "0 files");
}

fn read_size(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap();
    let power = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].iter().position(|u| *u == unit).unwrap();
    number.parse::<f64>().unwrap() * 1000_f64.powi(i32::try_from(power).unwrap())
}

proptest! {
    #[test]
    fn size_is_true_to_its_digits(bytes in prop_oneof![0..2_000_000_u64, any::<u64>()]) {
        #[expect(clippy::cast_precision_loss, reason = "the texts have three digits")]
        let exact = bytes as f64;
        let shown = read_size(&human::size(bytes));
        prop_assert!((shown - exact).abs() <= exact * 0.051 + 0.5, "{bytes}: {}", human::size(bytes));
        prop_assert!(human::size(bytes).len() <= 8);
    }
}
