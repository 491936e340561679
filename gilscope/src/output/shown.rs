//! Figures and names as people read them.

const UNITS: [(&str, f64); 5] = [
    ("ns", 1.0),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("d", 86_400e9),
];

/// A time with three significant digits and its unit; whole seconds from 1,000 s on, days from one.
pub(super) fn time(ns: u64) -> String {
    let mut shown = String::new();
    for (unit, length) in UNITS {
        let value = ns as f64 / length;
        shown = match value {
            _ if unit == "ns" => format!("{ns} ns"),
            value if value < 9.995 => format!("{value:.2} {unit}"),
            value if value < 99.95 => format!("{value:.1} {unit}"),
            value => format!("{value:.0} {unit}"),
        };
        // What would be rounded to 1000 belongs to the next unit.
        if value < if unit == "s" { 86_400.0 } else { 999.5 } {
            break;
        }
    }
    shown
}

/// A number: all its digits up to a million, then three significant ones.
pub(super) fn count(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{},{:03}", count / 1_000, count % 1_000),
        _ => {
            let mut value = count as f64 / 1e6;
            let mut suffixes = ["M", "G", "T", "P", "E"].into_iter();
            let mut suffix = suffixes.next();
            while value >= 999.5 {
                value /= 1e3;
                suffix = suffixes.next();
            }
            let digits = if value < 9.995 {
                2
            } else {
                usize::from(value < 99.95)
            };
            format!("{value:.digits$}{}", suffix.unwrap_or_default())
        }
    }
}

/// A count and the word for what is counted, in its plural unless there is one.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!(
        "{} {thing}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// A part of a whole, in percent; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let percent = part as f64 / whole as f64 * 100.0;
    Some(match percent {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.1 => "<0.1 %".to_owned(),
        percent if percent < 1_000.0 => format!("{percent:.1} %"),
        _ => ">999 %".to_owned(),
    })
}

/// A name from a target, safe to show: what is neither a letter, a digit nor printable ASCII
/// (control characters, escapes, marks of direction, characters without width) becomes `�`, and
/// what is beyond `width` characters is cut off, which `…` says.
pub(super) fn name(name: &str, width: usize) -> String {
    // One more than is shown tells that there is more.
    cut(
        &name
            .chars()
            .take(width.saturating_add(1))
            .map(safe)
            .collect::<String>(),
        width,
    )
}

fn safe(c: char) -> char {
    if c.is_alphanumeric() || c == ' ' || c.is_ascii_graphic() {
        c
    } else {
        '�'
    }
}

/// The longest sentence that is shown, in characters.
const MAX_SENTENCE: usize = 4_096;
/// Signs that gilscope's own sentences use.
const SIGNS: [char; 3] = ['\n', '–', '…'];

/// A sentence of gilscope's that may have a target's path or name in it, as safe to show as [`name`]. Of one that is too long both ends, as
/// the kernel's verifier says last what it refuses.
pub fn sentence(text: &str) -> String {
    let safe_or_sign = |c: char| if SIGNS.contains(&c) { c } else { safe(c) };
    let length = text.chars().count();
    if length <= MAX_SENTENCE {
        return text.chars().map(safe_or_sign).collect();
    }
    let (first, last) = (text.chars().take(MAX_SENTENCE / 2), text.chars());
    let last = last.skip(length + 1 - MAX_SENTENCE / 2);
    first.chain(['…']).chain(last).map(safe_or_sign).collect()
}

/// A text of `width` characters at most; `…` says that there was more.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut shown: String = text.chars().take(width).collect();
    if text.chars().nth(width).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_995, "10.0 µs"),
            (99_949, "99.9 µs"),
            (99_950, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (5_012_345, "5.01 ms"),
            (1_234_000_000, "1.23 s"),
            (999_600_000_000, "1000 s"),
            (86_399_000_000_000, "86399 s"),
            (86_400_000_000_000, "1.00 d"),
            (u64::MAX, "213504 d"),
        ];
        for (ns, shown) in cases {
            assert_eq!(time(ns), shown, "{ns}");
        }
    }

    #[test]
    fn counts_are_exact_up_to_a_million() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (999_999, "999,999"),
            (1_000_000, "1.00M"),
            (999_499_999, "999M"),
            (999_500_000, "1.00G"),
            (u64::MAX, "18.4E"),
        ];
        for (number, shown) in cases {
            assert_eq!(count(number), shown, "{number}");
        }
        assert_eq!(
            (counted(1, "wait"), counted(0, "wait")),
            ("1 wait".into(), "0 waits".into())
        );
    }

    #[test]
    fn shares_are_percent() {
        let cases = [
            (0, 9, Some("0 %")),
            (1, 100_000, Some("<0.1 %")),
            (1, 3, Some("33.3 %")),
            (3, 3, Some("100.0 %")),
            (u64::MAX, 1, Some(">999 %")),
            (1, 0, None),
        ];
        for (part, whole, shown) in cases {
            assert_eq!(share(part, whole).as_deref(), shown, "{part}/{whole}");
        }
    }

    #[test]
    fn sentences_cannot_either() {
        assert_eq!(
            sentence("1 – 2 … é:\n/tmp/\x1b[31m\u{202e}x\r is not Python"),
            "1 – 2 … é:\n/tmp/�[31m�x� is not Python"
        );
        let long = sentence(&format!("first {} last", "x".repeat(9_000)));
        assert_eq!(long.chars().count(), MAX_SENTENCE);
        assert!(long.starts_with("first x") && long.ends_with("x last"));
    }

    #[test]
    fn names_cannot_do_harm() {
        assert_eq!(name("worker-1 (é, 工)", 20), "worker-1 (é, 工)");
        assert_eq!(name("a\x1b[31mb\nc\td\u{7f}", 20), "a�[31mb�c�d�");
        let hidden = "\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{feff}\u{2028}\u{9b}\u{ad}\u{e0041}";
        assert_eq!(name(hidden, 20), "�".repeat(10));
        assert_eq!(
            (name("12345", 5), name("123456", 5)),
            ("12345".into(), "1234…".into())
        );
        assert_eq!(name(&"x".repeat(1 << 20), 3), "xx…");
    }
}
